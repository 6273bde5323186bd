//! `sidegate services`: what is published, and how the target groups behind it are.

use std::fmt::{self, Display};
use std::process::ExitCode;

use runtime::{ForwardStatus, ListenerStatus, NodeStatus, ServiceStatus};

use crate::args::ShowArgs;
use crate::request::Request;
use crate::show::show;
use crate::table::{Side::Left, Side::Right, Table};
use crate::{Failure, units};

/// Asks, and shows the answer.
pub(crate) fn services(args: &ShowArgs) -> Result<ExitCode, Failure> {
    show(args, &Request::Services {}, Services)
}

struct Services(Vec<ServiceStatus>);

impl Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "there are no services");
        }
        for (index, service) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let ServiceStatus { name, namespace, endpoints, flows, .. } = service;
            let state = if service.up { "up" } else { "down" };
            let [endpoints, flows] = [units::number(*endpoints, "endpoint"), units::number(*flows, "flow")];
            writeln!(f, "service {name} in {namespace}: {state}, {endpoints}, {flows}")?;
            let nodes: Vec<String> = service.nodes.iter().map(node).collect();
            writeln!(f, "  nodes: {}", nodes.join(", "))?;
            write!(f, "{}", listeners(&service.listeners))?;
        }
        Ok(())
    }
}

fn node(node: &NodeStatus) -> String {
    units::in_zone(node.address, node.zone.as_deref())
}

/// A row for each group behind a listener.
fn listeners(listeners: &[ListenerStatus]) -> Table {
    let mut table = Table::new([
        (Left, "LISTENER"),
        (Left, "PATH"),
        (Right, "IDLE TIME-OUT"),
        (Right, "FLOWS"),
        (Left, "TARGET GROUP"),
        (Right, "WEIGHT"),
        (Left, "HEALTHY"),
    ]);
    for listener in listeners {
        let mut what = [
            format!("{} {}", listener.protocol, listener.port),
            listener.path.to_string(),
            units::span(listener.idle_timeout),
            units::count(listener.flows),
        ];
        for ForwardStatus { group, weight, healthy, targets } in &listener.forward {
            // What the groups of a listener share is said once.
            let [name, path, idle, flows] = std::mem::take(&mut what);
            let health = format!("{healthy} of {targets}");
            table.row([name, path, idle, flows, group.clone(), weight.to_string(), health]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use runtime::{Carriage, Transport};

    use super::*;
    use crate::table::WIDTH;

    fn listener(forward: &[(&str, u16)]) -> ListenerStatus {
        let forward = forward.iter().map(|(group, weight)| ForwardStatus {
            group: (*group).into(),
            weight: *weight,
            healthy: 2,
            targets: 3,
        });
        ListenerStatus {
            protocol: Transport::Tcp,
            port: 80,
            path: Carriage::Nat,
            idle_timeout: 350.0,
            forward: forward.collect(),
            flows: 12,
        }
    }

    fn service(listeners: Vec<ListenerStatus>) -> ServiceStatus {
        let node = |zone: Option<&str>, address: &str| NodeStatus {
            zone: zone.map(Into::into),
            address: address.parse().unwrap(),
        };
        ServiceStatus {
            name: "orders".into(),
            namespace: "provider".into(),
            up: true,
            nodes: vec![node(Some("a"), "10.2.9.1"), node(None, "fd02::9:1")],
            listeners,
            endpoints: 1,
            flows: 12,
        }
    }

    #[test]
    fn a_listener_has_a_row_for_each_group() {
        let shown = Services(vec![service(vec![listener(&[("web", 3), ("canary", 1)])])]).to_string();
        let expected = "\
service orders in provider: up, 1 endpoint, 12 flows
  nodes: 10.2.9.1 (zone a), fd02::9:1
  LISTENER  PATH  IDLE TIME-OUT  FLOWS  TARGET GROUP  WEIGHT  HEALTHY
  tcp 80    nat           350 s     12  web                3  2 of 3
                                        canary             1  2 of 3
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn several_stand_apart_and_none_is_said() {
        let two = Services(vec![service(vec![]), service(vec![])]).to_string();
        assert_eq!(two.matches("\n\nservice").count(), 1, "{two}");
        assert_eq!(Services(vec![]).to_string(), "there are no services\n");
    }

    #[test]
    fn long_ones_fit() {
        let name = "a-target-group-with-a-name-that-is-longer-than-names-usually-are".repeat(2);
        let shown = Services(vec![service(vec![listener(&[(&name, 999)])])]).to_string();
        assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
    }
}
