//! `sidegate flows`: who talks to whom.

use std::fmt::{self, Display};
use std::process::ExitCode;

use runtime::{FlowFilter, FlowList, FlowStatus};

use crate::args::FlowsArgs;
use crate::request::Request;
use crate::show::show;
use crate::table::{Side::Left, Side::Right, Table};
use crate::{Failure, units};

/// Asks, and shows the answer.
pub(crate) fn flows(args: &FlowsArgs) -> Result<ExitCode, Failure> {
    let filter = FlowFilter {
        endpoint: args.endpoint.clone(),
        target_address: args.target.map(|place| place.address),
        target_port: args.target.and_then(|place| place.port),
        client: args.client,
        protocol: args.protocol,
        path: args.path,
        sort: args.sort,
        limit: args.limit,
    };
    show(&args.show, &Request::Flows { filter }, Flows)
}

struct Flows(FlowList);

impl Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FlowList { total, matching, flows } = &self.0;
        match (*total, flows.len()) {
            (0, _) => return writeln!(f, "there are no flows"),
            (_, 0) => return writeln!(f, "none of {} fits", units::number(*total, "flow")),
            _ => {}
        }
        let [shown, fit, all] = [flows.len(), *matching, *total].map(units::count);
        let mut table = Table::new([
            (Left, "FLOW"),
            (Left, "CLIENT"),
            (Left, "ENDPOINT"),
            (Left, "NODE"),
            (Left, "TARGET"),
            (Right, "AGE"),
            (Right, "IDLE"),
            (Right, "BYTES"),
        ]);
        for flow in flows {
            table.row([
                kind(flow),
                flow.client.to_string(),
                format!("{}:{}", flow.endpoint, flow.interface.port()),
                flow.node.to_string(),
                flow.target.to_string(),
                units::span(flow.age),
                units::span(flow.idle),
                units::bytes(flow.sent.bytes + flow.received.bytes),
            ]);
        }
        write!(f, "{table}")?;
        if matching == total {
            writeln!(f, "  {shown} of {}", units::number(*total, "flow"))?;
        } else {
            writeln!(f, "  {shown} of {fit} that fit, of {all} in all")?;
        }
        if flows.len() < *matching {
            writeln!(f, "  --limit N lists more ({} at most)", units::count(FlowFilter::MOST))?;
        }
        Ok(())
    }
}

/// `tcp nat`, and where it is in its life, unless that is where most are.
fn kind(flow: &FlowStatus) -> String {
    let FlowStatus { protocol, path, phase, .. } = flow;
    match phase.as_str() {
        "established" => format!("{protocol} {path}"),
        other => format!("{protocol} {path}, {other}"),
    }
}

#[cfg(test)]
mod tests {
    use runtime::{Carriage, Traffic, Transport};

    use super::*;
    use crate::table::WIDTH;

    fn flow(phase: &str) -> FlowStatus {
        FlowStatus {
            endpoint: "orders-a".into(),
            service: "orders".into(),
            protocol: Transport::Tcp,
            path: Carriage::Nat,
            phase: phase.into(),
            client: "10.1.0.2:40000".parse().unwrap(),
            interface: "10.1.9.50:80".parse().unwrap(),
            node: "10.2.9.1:23456".parse().unwrap(),
            target: "10.2.0.2:8080".parse().unwrap(),
            age: 61.0,
            idle: 0.2,
            sent: Traffic { frames: 10, bytes: 1000 },
            received: Traffic { frames: 10, bytes: 200_000 },
        }
    }

    #[test]
    fn a_row_is_a_flow() {
        let list = FlowList { total: 1, matching: 1, flows: vec![flow("established")] };
        let expected = "  \
  FLOW     CLIENT          ENDPOINT     NODE            TARGET          AGE  IDLE   BYTES
  tcp nat  10.1.0.2:40000  orders-a:80  10.2.9.1:23456  10.2.0.2:8080  61 s   0 s  201 kB
  1 of 1 flow
";
        assert_eq!(Flows(list).to_string(), expected);
    }

    #[test]
    fn it_says_how_many_are_not_shown() {
        let one = |total, matching| {
            Flows(FlowList { total, matching, flows: vec![flow("established")] }).to_string()
        };
        assert!(one(1, 1).ends_with("\n  1 of 1 flow\n"));
        assert!(one(1000, 1).ends_with("\n  1 of 1 that fit, of 1,000 in all\n"));
        let cut = one(4000, 2000);
        assert!(cut.contains("\n  1 of 2,000 that fit, of 4,000 in all\n  --limit N lists more"), "{cut}");
        let none = Flows(FlowList { total: 7, ..FlowList::default() });
        assert_eq!(none.to_string(), "none of 7 flows fits\n");
        assert_eq!(Flows(FlowList::default()).to_string(), "there are no flows\n");
    }

    #[test]
    fn wide_ones_fit() {
        let wide = "[fd02:1234:5678:9abc:def0:1234:5678:9abc]:40000".parse().unwrap();
        let flow = FlowStatus {
            path: Carriage::Terminate,
            client: wide,
            node: wide,
            target: wide,
            endpoint: "an-endpoint-with-a-rather-long-name".into(),
            ..flow("opening")
        };
        let shown = Flows(FlowList { total: 1, matching: 1, flows: vec![flow] }).to_string();
        assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
    }
}
