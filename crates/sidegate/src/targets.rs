//! `sidegate targets`: the state of each target, and why.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::process::ExitCode;

use runtime::TargetStatus;

use crate::args::TargetsArgs;
use crate::request::Request;
use crate::show::show;
use crate::table::{Side::Left, Side::Right, Table};
use crate::{Failure, units};

/// Asks, and shows the answer.
pub(crate) fn targets(args: &TargetsArgs) -> Result<ExitCode, Failure> {
    show(&args.show, &Request::Targets { group: args.group.clone() }, Targets)
}

struct Targets(Vec<TargetStatus>);

impl Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "there are no targets");
        }
        let mut table = Table::new([
            (Left, "GROUP"),
            (Left, "TARGET"),
            (Left, "ZONE"),
            (Right, "WEIGHT"),
            (Left, "STATE"),
            (Left, "REASON"),
            (Right, "FLOWS"),
            (Right, "SINCE"),
        ]);
        for target in &self.0 {
            table.row([
                target.group.clone(),
                SocketAddr::new(target.address, target.port).to_string(),
                units::or_dash(target.zone.as_deref()),
                target.weight.to_string(),
                target.state.clone(),
                target.description.clone(),
                units::count(target.flows),
                units::span(target.since),
            ]);
        }
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::WIDTH;

    fn target(address: &str, state: &str, description: &str) -> TargetStatus {
        TargetStatus {
            group: "web".into(),
            address: address.parse().unwrap(),
            port: 8080,
            zone: None,
            weight: 1,
            state: state.into(),
            reason: None,
            description: description.into(),
            since: 192.5,
            flows: 1234,
            ports_in_use: 1240,
            ports_exhausted: 0,
            checked_from: None,
        }
    }

    #[test]
    fn a_row_says_what_and_why() {
        let shown = Targets(vec![
            TargetStatus { zone: Some("a".into()), ..target("10.2.0.2", "healthy", "") },
            target("10.2.0.3", "unhealthy", "no answer came in time"),
        ])
        .to_string();
        let expected = "  \
  GROUP  TARGET         ZONE  WEIGHT  STATE      REASON                  FLOWS  SINCE
  web    10.2.0.2:8080  a          1  healthy                            1,234  192 s
  web    10.2.0.3:8080  -          1  unhealthy  no answer came in time  1,234  192 s
";
        assert_eq!(shown, expected);
        assert_eq!(Targets(vec![]).to_string(), "there are no targets\n");
    }

    #[test]
    fn long_ones_fit() {
        let shown = Targets(vec![TargetStatus {
            group: "a-group-with-a-rather-long-name-for-a-group".into(),
            zone: Some("eu-central-1a".into()),
            ..target(
                "fd02:1234:5678:9abc:def0:1234:5678:9abc",
                "unhealthy.draining",
                "the answer's status is not one of those that mean health",
            )
        }])
        .to_string();
        assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
    }
}
