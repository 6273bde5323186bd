//! `sidegate explain`: what would become of a new connection, and why.

use std::fmt::{self, Display};
use std::process::ExitCode;

use runtime::{
    Carriage, Entrance, Explanation, GroupShare, Header, Question, Refusal, Speech, TargetShare, Transport,
    Way,
};

use crate::args::ExplainArgs;
use crate::request::Request;
use crate::table::{Side::Left, Side::Right, Table, WIDTH, wrap};
use crate::{Failure, output, units};

/// Asks, and tells the answer.
pub(crate) fn explain(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let question = Question {
        endpoint: args.endpoint.clone(),
        protocol: if args.udp { Transport::Udp } else { Transport::Tcp },
        from: args.from,
        to: args.to,
        isn: args.isn,
    };
    let explanation: Explanation = args.whom.ask(&Request::Explain { question: question.clone() })?;
    if args.json {
        output::print_json(&explanation)?;
    } else {
        output::print(Story { question: &question, explanation: &explanation })?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Story<'a> {
    question: &'a Question,
    explanation: &'a Explanation,
}

impl Display for Story<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Question { protocol, from, to, .. } = self.question;
        let Explanation { refused, known, entrance, way } = self.explanation;
        match refused {
            None => writeln!(f, "{protocol} from {from} to {to}: admitted")?,
            Some(Refusal { reason, remedy }) => {
                writeln!(f, "{protocol} from {from} to {to}: refused ({reason})")?;
                write_wrapped(f, remedy)?;
            }
        }
        if *known {
            writeln!(
                f,
                "  such a flow is open, and goes on as it is (`sidegate flows` shows it); a new one:"
            )?;
        }
        if let Some(Entrance { endpoint, interface, zone, service }) = entrance {
            let interface = units::in_zone(interface, zone.as_deref());
            writeln!(f, "  endpoint  {endpoint}, {interface}, of service {service}")?;
        }
        if let Some(way) = way {
            write_way(f, way)?;
        }
        if refused.is_none() {
            writeln!(f)?;
            self.write_choice(f)?;
        }
        Ok(())
    }
}

impl Story<'_> {
    /// The target, or what would have to be known for it to be certain.
    fn write_choice(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.explanation.way.as_ref().and_then(|way| way.choice), self.question) {
            (Some(target), _) => writeln!(f, "would go to {target}"),
            (None, Question { protocol: Transport::Tcp, isn: None, .. }) => writeln!(
                f,
                "where it would go depends on the SYN's sequence number, another one for each connection:\n\
                 say it with --isn N"
            ),
            (None, _) => writeln!(f, "no target takes new flows now"),
        }
    }
}

fn write_way(f: &mut fmt::Formatter<'_>, way: &Way) -> fmt::Result {
    writeln!(f, "  listener  {} {}, path {}", way.protocol, way.port, way.path)?;
    for group in &way.groups {
        writeln!(f)?;
        write_group(f, group)?;
        if way.path == Carriage::Splice {
            group.targets.iter().try_for_each(|target| write_acquaintance(f, target))?;
        }
    }
    Ok(())
}

fn write_group(f: &mut fmt::Formatter<'_>, group: &GroupShare) -> fmt::Result {
    let GroupShare { name, weight, .. } = group;
    let node = units::in_zone(group.node, group.node_zone.as_deref());
    let share = units::share(group.share);
    writeln!(f, "  group {name}: {share} of new flows (weight {weight}), from node {node}")?;
    if group.sticky {
        writeln!(f, "  it is sticky: the client's address alone chooses the target")?;
    }
    if group.fails_open {
        writeln!(f, "  it fails open: too few of its targets are healthy, so all are used")?;
    }
    if let Some(Header { placement, tlv, endpoint_id }) = &group.header {
        writeln!(f, "  its targets get a header ({placement}) that names the client")?;
        writeln!(f, "  and, in the words of {tlv}, the endpoint: {endpoint_id}")?;
    }
    if group.targets.is_empty() {
        return writeln!(f, "  it has no targets");
    }
    write!(f, "{}", targets(group))
}

/// All of a group, each with its share of the group's new flows.
fn targets(group: &GroupShare) -> Table {
    let mut table = Table::new([
        (Left, "TARGET"),
        (Left, "ZONE"),
        (Right, "WEIGHT"),
        (Right, "SHARE"),
        (Left, "USE"),
        (Left, "STATE"),
        (Left, "REASON"),
    ]);
    for target in &group.targets {
        table.row([
            target.address.to_string(),
            units::or_dash(target.zone.as_deref()),
            target.weight.to_string(),
            units::share(target.share),
            target.eligibility.clone(),
            target.state.clone(),
            target.description.clone(),
        ]);
    }
    table
}

/// Whether enough is known of a target's TCP for its flows to be spliced.
fn write_acquaintance(f: &mut fmt::Formatter<'_>, target: &TargetShare) -> fmt::Result {
    let TargetShare { address, speech, .. } = target;
    let told = match speech {
        Some(speech) => format!("flows to {address} are spliced ({})", offer_of(speech)),
        None => format!(
            "{address} has not answered a SYN of sidegate's own yet: its flows are terminated until it has"
        ),
    };
    write_wrapped(f, &told)
}

fn offer_of(speech: &Speech) -> String {
    let Speech { mss, window_scale, sack, timestamps } = *speech;
    let words = [
        mss.map(|mss| format!("MSS {mss}")),
        window_scale.map(|scale| format!("window scale {scale}")),
        sack.then(|| "SACK".into()),
        timestamps.then(|| "timestamps".into()),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() { "it offers no options".into() } else { format!("it offers {}", words.join(", ")) }
}

/// A sentence, over as many lines as it takes.
fn write_wrapped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    wrap(text, WIDTH - 2).iter().filter(|line| !line.is_empty()).try_for_each(|line| writeln!(f, "  {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        let [from, to] = ["10.1.0.2:40000", "10.1.9.50:80"].map(|address| address.parse().unwrap());
        Question { endpoint: None, protocol: Transport::Tcp, from, to, isn: None }
    }

    fn target(address: &str, share: f64, state: &str, description: &str) -> TargetShare {
        TargetShare {
            address: address.parse().unwrap(),
            zone: Some("a".into()),
            weight: 1,
            state: state.into(),
            reason: None,
            description: description.into(),
            eligibility: if share > 0.0 { "in service" } else { "out of service" }.into(),
            share,
            speech: None,
        }
    }

    fn admitted(choice: Option<&str>) -> Explanation {
        let group = GroupShare {
            name: "web".into(),
            node: "10.2.9.1".parse().unwrap(),
            node_zone: None,
            weight: 1,
            share: 1.0,
            fails_open: false,
            sticky: false,
            header: None,
            targets: vec![
                target("10.2.0.2:8080", 1.0, "healthy", ""),
                target("10.2.0.3:8080", 0.0, "unhealthy", "no answer came in time"),
            ],
        };
        let entrance = Entrance {
            endpoint: "orders-a".into(),
            interface: "10.1.9.50".parse().unwrap(),
            zone: Some("a".into()),
            service: "orders".into(),
        };
        let way = Way {
            protocol: Transport::Tcp,
            port: 80,
            path: Carriage::Nat,
            groups: vec![group],
            choice: choice.map(|target| target.parse().unwrap()),
        };
        Explanation { refused: None, known: false, entrance: Some(entrance), way: Some(way) }
    }

    fn story(question: &Question, explanation: &Explanation) -> String {
        let told = Story { question, explanation }.to_string();
        assert!(told.lines().all(|line| line.chars().count() <= WIDTH), "{told}");
        told
    }

    #[test]
    fn a_determined_choice_is_told() {
        let expected = "\
tcp from 10.1.0.2:40000 to 10.1.9.50:80: admitted
  endpoint  orders-a, 10.1.9.50 (zone a), of service orders
  listener  tcp 80, path nat

  group web: 100.0 % of new flows (weight 1), from node 10.2.9.1
  TARGET         ZONE  WEIGHT    SHARE  USE             STATE      REASON
  10.2.0.2:8080  a          1  100.0 %  in service      healthy
  10.2.0.3:8080  a          1    0.0 %  out of service  unhealthy  no answer came in time

would go to 10.2.0.2:8080
";
        assert_eq!(story(&question(), &admitted(Some("10.2.0.2:8080"))), expected);
    }

    #[test]
    fn what_the_choice_depends_on_is_told() {
        let open = story(&question(), &admitted(None));
        assert!(open.ends_with("say it with --isn N\n"), "{open}");
        let numbered = story(&Question { isn: Some(7), ..question() }, &admitted(None));
        assert!(numbered.ends_with("no target takes new flows now\n"), "{numbered}");
    }

    #[test]
    fn what_is_special_about_a_group_is_told() {
        let mut explanation = admitted(None);
        let way = explanation.way.as_mut().unwrap();
        let group = &mut way.groups[0];
        (group.sticky, group.fails_open) = (true, true);
        let empty = GroupShare { name: "empty".into(), targets: vec![], ..group.clone() };
        way.groups.push(empty);
        let told = story(&question(), &explanation);
        for phrase in ["it is sticky", "it fails open", "group empty", "it has no targets"] {
            assert!(told.contains(phrase), "{phrase} is not in\n{told}");
        }
    }

    #[test]
    fn what_targets_are_told_of_a_client_is_told() {
        let mut explanation = admitted(None);
        assert!(!story(&question(), &explanation).contains("header"));
        explanation.way.as_mut().unwrap().groups[0].header = Some(Header {
            placement: "on_first_ack_with_payload".into(),
            tlv: "aws".into(),
            endpoint_id: "vpce-08d2bf15fac5001c9".into(),
        });
        let told = story(&question(), &explanation);
        let expected = "
  its targets get a header (on_first_ack_with_payload) that names the client
  and, in the words of aws, the endpoint: vpce-08d2bf15fac5001c9
";
        assert!(told.contains(expected), "{told}");
    }

    #[test]
    fn whether_a_flow_is_spliced_is_told_of_each_target() {
        let mut explanation = admitted(None);
        let way = explanation.way.as_mut().unwrap();
        let modern = Speech { mss: Some(1460), window_scale: Some(7), sack: true, timestamps: true };
        way.groups[0].targets[0].speech = Some(modern);
        assert!(!story(&question(), &explanation).contains("spliced"), "on nat it does not matter");
        explanation.way.as_mut().unwrap().path = Carriage::Splice;
        let told = story(&question(), &explanation);
        let expected = "
  flows to 10.2.0.2:8080 are spliced (it offers MSS 1460, window scale 7, SACK, timestamps)
  10.2.0.3:8080 has not answered a SYN of sidegate's own yet: its flows are terminated until it has
";
        assert!(told.contains(expected), "{told}");
        let plain = Speech { mss: None, window_scale: None, sack: false, timestamps: false };
        assert_eq!(offer_of(&plain), "it offers no options");
    }

    #[test]
    fn a_refusal_comes_with_its_remedy() {
        let remedy = "no listener of the service has this protocol and port: connect to one that it has, or add one to the \
                      service in the operator's file";
        let refused = Some(Refusal { reason: "no_listener".into(), remedy: remedy.into() });
        let told = story(&question(), &Explanation { refused, way: None, ..admitted(None) });
        assert!(
            told.starts_with("tcp from 10.1.0.2:40000 to 10.1.9.50:80: refused (no_listener)\n  no listener")
        );
        assert!(told.ends_with("  endpoint  orders-a, 10.1.9.50 (zone a), of service orders\n"), "{told}");
        assert!(remedy.split_whitespace().all(|word| told.contains(word)), "{told}");
    }
}
