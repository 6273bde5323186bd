//! `sidegate endpoints`: where consumers come in, through which nodes they go on, and what targets are told of that.

use std::fmt::{self, Display};
use std::process::ExitCode;

use runtime::{EndpointDetail, EndpointIds};

use crate::args::ShowArgs;
use crate::request::Request;
use crate::show::show;
use crate::table::{Side::Left, Side::Right, Table};
use crate::{Failure, units};

/// Asks, and shows the answer.
pub(crate) fn endpoints(args: &ShowArgs) -> Result<ExitCode, Failure> {
    show(args, &Request::Endpoints {}, Endpoints)
}

struct Endpoints(Vec<EndpointDetail>);

impl Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "there are no endpoints");
        }
        let mut table = Table::new([
            (Left, "ENDPOINT"),
            (Left, "SERVICE"),
            (Left, "NAMESPACE"),
            (Left, "STATE"),
            (Left, "INTERFACE"),
            (Left, "ZONE"),
            (Left, "NODE"),
            (Right, "FLOWS"),
        ]);
        for endpoint in &self.0 {
            let mut what = [
                endpoint.name.clone(),
                endpoint.service.clone(),
                endpoint.namespace.clone(),
                if endpoint.up { "up" } else { "down" }.into(),
            ];
            for interface in &endpoint.interfaces {
                // What its interfaces share is said once.
                let [name, service, namespace, state] = std::mem::take(&mut what);
                let node = interface.node.map(|node| node.to_string());
                table.row([
                    name,
                    service,
                    namespace,
                    state,
                    interface.address.to_string(),
                    units::or_dash(interface.zone.as_deref()),
                    units::or_dash(node.as_deref()),
                    units::count(interface.flows),
                ]);
            }
        }
        write!(f, "{table}\n{}", ids(&self.0))
    }
}

/// As whom targets that get a header know the endpoints.
fn ids(endpoints: &[EndpointDetail]) -> Table {
    let mut table =
        Table::new([(Left, "ENDPOINT"), (Left, "AWS ID"), (Right, "GCP ID"), (Right, "AZURE ID")]);
    for EndpointDetail { name, ids: EndpointIds { aws, gcp, azure }, .. } in endpoints {
        table.row([name.clone(), aws.clone(), gcp.to_string(), azure.to_string()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use runtime::InterfaceStatus;

    use super::*;
    use crate::table::WIDTH;

    fn endpoint(name: &str) -> EndpointDetail {
        let interface = |zone: Option<&str>, address: &str, node: Option<&str>| InterfaceStatus {
            zone: zone.map(Into::into),
            address: address.parse().unwrap(),
            node: node.map(|node| node.parse().unwrap()),
            flows: 3,
        };
        EndpointDetail {
            name: name.into(),
            service: "orders".into(),
            namespace: "consumer-a".into(),
            up: true,
            interfaces: vec![
                interface(Some("a"), "10.1.9.50", Some("10.2.9.1")),
                interface(None, "fd01::50", None),
            ],
            flows: 6,
            ids: EndpointIds { aws: "vpce-08d2bf15fac5001c9".into(), gcp: u64::MAX, azure: u32::MAX },
        }
    }

    #[test]
    fn an_endpoint_has_a_row_for_each_interface_and_one_for_its_ids() {
        let expected = "  \
  ENDPOINT  SERVICE  NAMESPACE   STATE  INTERFACE  ZONE  NODE      FLOWS
  orders-a  orders   consumer-a  up     10.1.9.50  a     10.2.9.1      3
                                        fd01::50   -     -             3

  ENDPOINT  AWS ID                                GCP ID    AZURE ID
  orders-a  vpce-08d2bf15fac5001c9  18446744073709551615  4294967295
";
        assert_eq!(Endpoints(vec![endpoint("orders-a")]).to_string(), expected);
        assert_eq!(Endpoints(vec![]).to_string(), "there are no endpoints\n");
    }

    #[test]
    fn long_ones_fit() {
        let mut endpoint = endpoint(&"an-endpoint-with-a-name-that-is-long".repeat(3));
        endpoint.namespace = "/var/run/netns/a-consumer-with-a-rather-long-name".into();
        for interface in &mut endpoint.interfaces {
            interface.address = "fd02:1234:5678:9abc:def0:1234:5678:9abc".parse().unwrap();
        }
        let shown = Endpoints(vec![endpoint]).to_string();
        assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
    }
}
