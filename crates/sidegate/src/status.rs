//! `sidegate status`: what a running one says about itself.

use std::fmt::{self, Display};
use std::process::ExitCode;

use runtime::{DeviceState, DeviceStatus, Snapshot, TerminateStatus, Traffic, VerdictCount};

use crate::args::StatusArgs;
use crate::request::Request;
use crate::table::{Side::Left, Side::Right, Table};
use crate::{Failure, output, units};

/// Asks, and prints the answer.
pub(crate) fn status(args: &StatusArgs) -> Result<ExitCode, Failure> {
    let snapshot: Snapshot = args.whom.ask(&Request::Status {})?;
    if args.json {
        output::print_json(&snapshot)?;
    } else {
        output::print(Tables { snapshot: &snapshot, all: args.all })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A snapshot as tables. Of the counters only those that count something, unless `all`.
struct Tables<'a> {
    snapshot: &'a Snapshot,
    all: bool,
}

impl Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Snapshot { instance, pid, uptime, reload_in, .. } = self.snapshot;
        writeln!(f, "instance {instance}, pid {pid}, up {}", units::age(*uptime as u64))?;
        if let Some(seconds) = reload_in {
            writeln!(f, "a reload takes effect in {}", units::until(*seconds))?;
        }
        writeln!(f)?;
        self.write_devices(f)?;
        writeln!(f, "\n{}\n{}", self.endpoints(), self.workers())?;
        self.write_flows(f)?;
        if let Some(pools) = self.pools() {
            write!(f, "\n{pools}")?;
        }
        write!(f, "\n{}", self.verdicts())
    }
}

impl Tables<'_> {
    fn write_devices(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            (Left, "DEVICE"),
            (Left, "NAMESPACE"),
            (Left, "STATE"),
            (Right, "QUEUES"),
            (Right, "RECEIVED"),
            (Right, "SENT"),
            (Right, "ERRORS"),
        ]);
        for device in &self.snapshot.devices {
            let state = if device.is_up() { "up" } else { "down" };
            table.row([
                device.name.clone(),
                device.namespace.clone(),
                state.into(),
                units::count(device.queues as u64),
                traffic(device.received),
                traffic(device.sent),
                units::count(device.receive_errors + device.send_errors),
            ]);
        }
        write!(f, "{table}")?;
        // All that are up have the same.
        if let Some(DeviceStatus { offloads, .. }) =
            self.snapshot.devices.iter().find(|device| device.is_up())
        {
            writeln!(f, "  offloads: {offloads}\n  steering: {}", self.snapshot.steering())?;
        }
        for DeviceStatus { namespace, state, .. } in &self.snapshot.devices {
            if let DeviceState::Down(why) = state {
                writeln!(f, "  {namespace} is down: {why}")?;
            }
        }
        Ok(())
    }

    fn endpoints(&self) -> Table {
        let mut table = Table::new([(Left, "ENDPOINT"), (Left, "SERVICE"), (Left, "STATE")]);
        for endpoint in &self.snapshot.endpoints {
            let state = if endpoint.up { "up" } else { "down" };
            table.row([endpoint.name.clone(), endpoint.service.clone(), state.into()]);
        }
        table
    }

    fn workers(&self) -> Table {
        let mut table = Table::new([
            (Right, "WORKER"),
            (Right, "FRAMES"),
            (Right, "SHARE"),
            (Right, "PER BATCH"),
            (Right, "WAKE-UPS"),
            (Right, "HANDED OVER"),
        ]);
        let all: u64 = self.snapshot.workers.iter().map(|worker| worker.frames).sum();
        for (index, worker) in self.snapshot.workers.iter().enumerate() {
            table.row([
                index.to_string(),
                units::count(worker.frames),
                format!("{:.0} %", worker.frames as f64 * 100.0 / all.max(1) as f64),
                format!("{:.1}", worker.frames as f64 / worker.batches.max(1) as f64),
                units::count(worker.wakeups),
                units::count(worker.handed_over),
            ]);
        }
        table
    }

    fn write_flows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flows = &self.snapshot.flows;
        writeln!(
            f,
            "  flows: {} of {} at most, {} opened so far, {} source ports in use",
            units::count(flows.live as u64),
            units::count(flows.capacity as u64),
            units::count(flows.opened),
            units::count(flows.ports_in_use as u64),
        )?;
        let closed = flows.closed.iter().filter(|(_, number)| self.all || **number > 0);
        let closed: Vec<String> =
            closed.map(|(cause, number)| format!("{cause} {}", units::count(*number))).collect();
        if !closed.is_empty() {
            writeln!(f, "  closed: {}", closed.join(", "))?;
        }
        self.write_terminated(f)
    }

    fn write_terminated(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TerminateStatus { live, memory, memory_limit } = self.snapshot.terminate;
        if !self.all && live == 0 && memory == 0 {
            return Ok(());
        }
        let [memory, limit] = [memory, memory_limit].map(|bytes| units::bytes(bytes as u64));
        writeln!(f, "  terminated: {}, with buffers of {memory} ({limit} at most)", units::count(live))
    }

    /// Source ports: of every pool, or of those that newcomers have found empty.
    fn pools(&self) -> Option<Table> {
        let pools: Vec<_> =
            self.snapshot.flows.pools.iter().filter(|pool| self.all || pool.exhausted > 0).collect();
        let mut table = Table::new([
            (Left, "NODE"),
            (Left, "TARGET"),
            (Right, "SOURCE PORTS IN USE"),
            (Right, "TIMES EXHAUSTED"),
        ]);
        for pool in &pools {
            table.row([
                pool.node.to_string(),
                format!("{} {}", pool.protocol, pool.target),
                units::count(pool.in_use as u64),
                units::count(pool.exhausted),
            ]);
        }
        (!pools.is_empty()).then_some(table)
    }

    fn verdicts(&self) -> Table {
        let mut table =
            Table::new([(Left, "REASON"), (Left, "OUTCOME"), (Right, "COUNT"), (Left, "WHAT TO DO")]);
        for verdict in self.snapshot.verdicts.iter().filter(|verdict| self.all || verdict.count > 0) {
            let VerdictCount { reason, outcome, count, remedy } = verdict;
            table.row([reason.clone(), outcome.clone(), units::count(*count), remedy.clone()]);
        }
        table
    }
}

fn traffic(traffic: Traffic) -> String {
    format!("{} / {}", units::count(traffic.frames), units::bytes(traffic.bytes))
}

#[cfg(test)]
mod tests {
    use runtime::{EndpointStatus, FlowsStatus, PoolStatus, WorkerStatus};

    use super::*;
    use crate::table::WIDTH;

    fn device(namespace: &str, state: DeviceState) -> DeviceStatus {
        DeviceStatus {
            namespace: namespace.into(),
            name: "sg-orders-3fa2b1".into(),
            state,
            offloads: "csum tso4 tso6 ecn (lowered: the kernel refused a UDP super-packet)".into(),
            steering: "by flow".into(),
            queues: 2,
            received: Traffic { frames: 123_456_789, bytes: 5_000_000_000_000 },
            sent: Traffic { frames: 123_456_789, bytes: 5_000_000_000_000 },
            send_errors: 3,
            receive_errors: 1,
        }
    }

    fn verdict(reason: &str, outcome: &str, count: u64, remedy: &str) -> VerdictCount {
        VerdictCount { reason: reason.into(), outcome: outcome.into(), count, remedy: remedy.into() }
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            instance: "orders-3fa2b1c4".into(),
            pid: 4711,
            uptime: 192.3,
            reload_in: Some(89.5),
            devices: vec![
                device("/var/run/netns/a-consumer-with-a-rather-long-name", DeviceState::Up),
                device("provider", DeviceState::Down("the namespace is gone".into())),
            ],
            endpoints: vec![EndpointStatus { name: "orders-a".into(), service: "orders".into(), up: false }],
            workers: vec![WorkerStatus { frames: 1000, batches: 250, wakeups: 200, handed_over: 1 }],
            flows: FlowsStatus {
                live: 12,
                capacity: 262_144,
                opened: 345,
                closed: [("finished".into(), 333), ("idle".into(), 0)].into(),
                ports_in_use: 12,
                pools: vec![PoolStatus {
                    protocol: "tcp".into(),
                    node: "fd02:1234:5678:9abc:def0:1234:5678:9abc".parse().unwrap(),
                    target: "[fd02:1234:5678:9abc:def0:1234:5678:9abd]:8080".parse().unwrap(),
                    in_use: 55_000,
                    exhausted: 1_234_567,
                }],
            },
            terminate: TerminateStatus { live: 3, memory: 456_000, memory_limit: 1 << 30 },
            verdicts: vec![
                verdict("forwarded", "carried", 999, ""),
                verdict("ping", "dropped", 0, "the real service answers no ping; test with TCP or UDP"),
                verdict(
                    "one_way",
                    "dropped",
                    7,
                    "the path is one way: only the consumer's side opens connections",
                ),
            ],
        }
    }

    #[test]
    fn tables_fit_and_say_what_matters() {
        let shown = Tables { snapshot: &snapshot(), all: false }.to_string();
        assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
        for phrase in [
            "instance orders-3fa2b1c4, pid 4711, up 3 min 12 s\na reload takes effect in 1 min 30 s\n\n",
            "\n  offloads: csum tso4 tso6 ecn (lowered: the kernel refused a UDP super-packet)\n",
            "\n  steering: by flow\n",
            "provider is down: the namespace is gone",
            "12 of 262,144 at most",
            "closed: finished 333",
            "\n  terminated: 3, with buffers of 456 kB (1.1 GB at most)\n",
            "TIMES EXHAUSTED",
            "1,234,567",
            "one_way    dropped      7  the path is one way",
        ] {
            assert!(shown.contains(phrase), "{phrase} is not in\n{shown}");
        }
    }

    #[test]
    fn no_blank_line_ends_it() {
        for all in [false, true] {
            let shown = Tables { snapshot: &snapshot(), all }.to_string();
            assert!(shown.ends_with('\n') && !shown.ends_with("\n\n"), "{shown:?}");
        }
    }

    #[test]
    fn what_never_happened_is_shown_on_demand() {
        let snapshot = snapshot();
        let show = |all| Tables { snapshot: &snapshot, all }.to_string();
        assert!(!show(false).contains("ping") && !show(false).contains("idle"));
        assert!(show(true).contains("ping") && show(true).contains("idle 0"));
    }
}
