//! `sidegate flows`: who talks to whom.

use std::fmt::{self, Display};
use std::process::ExitCode;

use runtime::{Carriage, FlowFilter, FlowList, FlowStatus, HeaderState};

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

/// `tcp nat`; then what is special: that it could not be spliced, that its target is told of its client, and where it is in its
/// life, unless that is where most are.
fn kind(flow: &FlowStatus) -> String {
    let FlowStatus { protocol, path, listener_path, phase, header, .. } = flow;
    let mut words = match (path, listener_path) {
        (Carriage::Terminate, Carriage::Splice) => vec![format!("{protocol} splice"), "terminated".into()],
        _ => vec![format!("{protocol} {path}")],
    };
    words.extend(header.as_ref().map(|header| match header.state {
        HeaderState::Waiting => "header waits".into(),
        HeaderState::Sent => "header".into(),
        // Whatever its target hears begins with it; whether that was anything yet, only its relay knows.
        HeaderState::Relayed => "header first".into(),
    }));
    if phase != "established" {
        words.push(phase.clone());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use runtime::{FlowHeader, Traffic, Transport};

    use super::*;
    use crate::table::WIDTH;

    fn flow(phase: &str) -> FlowStatus {
        FlowStatus {
            endpoint: "orders-a".into(),
            service: "orders".into(),
            protocol: Transport::Tcp,
            path: Carriage::Nat,
            listener_path: Carriage::Nat,
            phase: phase.into(),
            header: None,
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
    fn what_is_special_about_a_flow_is_told() {
        let with = |state| Some(FlowHeader { state, endpoint_id: Some("vpce-1a2b3c4d".into()) });
        let on = |listener_path, path| FlowStatus { listener_path, path, ..flow("established") };
        let spliced = on(Carriage::Splice, Carriage::Splice);
        let terminated = on(Carriage::Splice, Carriage::Terminate);
        for (flow, expected) in [
            (flow("closing"), "tcp nat, closing"),
            (FlowStatus { header: with(HeaderState::Sent), ..flow("established") }, "tcp nat, header"),
            (
                FlowStatus { header: with(HeaderState::Waiting), ..flow("opening") },
                "tcp nat, header waits, opening",
            ),
            (FlowStatus { header: with(HeaderState::Sent), ..spliced.clone() }, "tcp splice, header"),
            (spliced, "tcp splice"),
            (
                FlowStatus { header: with(HeaderState::Relayed), ..terminated.clone() },
                "tcp splice, terminated, header first",
            ),
            (terminated, "tcp splice, terminated"),
            (on(Carriage::Terminate, Carriage::Terminate), "tcp terminate"),
            (on(Carriage::Nat, Carriage::Terminate), "tcp terminate"),
        ] {
            assert_eq!(kind(&flow), expected);
        }
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
            listener_path: Carriage::Splice,
            header: Some(FlowHeader { state: HeaderState::Relayed, endpoint_id: None }),
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
