//! What a bad file gets: every mistake at its place, with what to do; and never a panic.

#![cfg(test)]

use proptest::prelude::*;
use topology::{Origin, Problem, Topology};

/// The file that every case spoils in one place.
const GOOD: &str = include_str!("orders.toml");

fn parse(text: &str) -> Result<Topology, Vec<Problem>> {
    Topology::parse(text, &Origin::new("/etc/sidegate/orders.toml"))
}

fn problems(text: &str) -> Vec<Problem> {
    parse(text).map(|topology| panic!("this was accepted:\n{text}\nas\n{topology}")).unwrap_err()
}

fn told(text: &str) -> Vec<String> {
    problems(text).iter().map(ToString::to_string).collect()
}

/// Each paragraph of `refusals.txt` spoils the file in one way.
#[test]
fn each_mistake_is_told_at_its_place() {
    assert!(parse(GOOD).is_ok(), "the file as it stands is good");
    let cases: Vec<_> =
        include_str!("refusals.txt").split("\n\n").filter(|case| case.starts_with('-')).collect();
    for case in &cases {
        let marked = |mark| {
            case.lines().filter_map(move |line| line.strip_prefix(mark)).collect::<Vec<_>>().join("\n")
        };
        let (from, to, expected) = (marked("- "), marked("+ "), marked("! "));
        assert!(GOOD.contains(&from), "orders.toml does not say {from:?}");
        let [found] = problems(&GOOD.replacen(&from, &to, 1)).try_into().expect(case);
        let (place, phrase) = expected.split_once(": ").unwrap();
        assert_eq!(format!("{} {}", found.line, found.key.path), place, "{case}");
        assert!(format!("{}; {}", found.message, found.remedy).contains(phrase), "{found}\nfor\n{case}");
    }
    assert_eq!(cases.len(), 190);
}

/// Both families throughout, over nat.
const DUAL: &str = r#"
[[service]]
name = "s"
namespace = "p"
nodes = [{ address = "10.2.9.1" }, { address = "fd02::9:1" }]
listeners = [{ protocol = "udp", port = 53, forward = "g" }]
[[target_group]]
name = "g"
targets = [{ address = "10.2.0.2", port = 53 }, { address = "fd02::2", port = 53 }]
[[endpoint]]
name = "e"
service = "s"
namespace = "c"
interfaces = [{ address = "10.1.9.50" }, { address = "fd01::9:50" }]
"#;

#[test]
fn nat_needs_a_node_and_a_target_of_each_interfaces_family() {
    assert!(parse(DUAL).is_ok());
    assert_eq!(
        told(&DUAL.replace(r#", { address = "fd02::9:1" }"#, "")),
        [
            r#"14:54: endpoint "e": interfaces[1].address: the service has no IPv6 node, and its nat listener on udp 53 cannot change the family; give the service an IPv6 node, or remove this interface"#
        ]
    );
    assert_eq!(
        told(&DUAL.replace(r#"{ address = "10.2.0.2", port = 53 }, "#, "")),
        [
            r#"6:55: service "s": listeners[0].forward: the group has no IPv4 target for endpoint "e": interfaces[0].address (line 14), and nat cannot change the family; add an IPv4 target, or remove that interface"#
        ]
    );
}

#[test]
fn terminate_needs_a_node_and_a_target_of_one_family() {
    let terminated = DUAL.replace(r#""udp", port = 53"#, r#""tcp", port = 53, path = "terminate""#);
    let only_v4 = terminated
        .replace(r#", { address = "fd02::9:1" }"#, "")
        .replace(r#", { address = "fd02::2", port = 53 }"#, "");
    assert!(parse(&only_v4).is_ok(), "an IPv6 interface may lead to an IPv4 target");
    assert_eq!(
        told(&only_v4.replace("10.2.9.1", "fd02::9:1")),
        [
            r#"6:75: service "s": listeners[0].forward: no target of this group has the family of a node of the service; give the service a node, or the group a target, of the other family"#
        ]
    );
}

#[test]
fn splice_keeps_the_family_as_nat_does() {
    let spliced = DUAL.replace(r#""udp", port = 53"#, r#""tcp", port = 53, path = "splice""#);
    assert!(parse(&spliced).is_ok());
    assert_eq!(
        told(&spliced.replace(r#", { address = "fd02::9:1" }"#, "")),
        [
            r#"14:54: endpoint "e": interfaces[1].address: the service has no IPv6 node, and its splice listener on tcp 53 cannot change the family; give the service an IPv6 node, or remove this interface"#
        ]
    );
    assert_eq!(
        told(&spliced.replace(r#"{ address = "10.2.0.2", port = 53 }, "#, "")),
        [
            r#"6:72: service "s": listeners[0].forward: the group has no IPv4 target for endpoint "e": interfaces[0].address (line 14), and splice cannot change the family; add an IPv4 target, or write path = "terminate""#
        ]
    );
}

/// An endpoint, six lines long, with these ids.
fn door(name: &str, ids: &str) -> String {
    format!(
        "\n[[endpoint]]\nname = \"{name}\"\nservice = \"orders\"\nnamespace = \"{name}\"\nids = {{ {ids} }}\ninterfaces = [{{ address = \"10.1.9.50\" }}]"
    )
}

#[test]
fn no_two_endpoints_have_the_same_id() {
    let two = |first: &str, second: &str| format!("{GOOD}{}{}", door("d", first), door("e", second));
    assert!(parse(&two("aws = \"vpce-1a2b3c4d\", gcp = 7", "azure = 7")).is_ok(), "each has its own words");
    for (id, shown) in [
        ("aws = \"vpce-1a2b3c4d\"", "aws id vpce-1a2b3c4d"),
        ("gcp = 7", "gcp id 7"),
        ("azure = 7", "azure id 7"),
    ] {
        let [found] = problems(&two(id, id)).try_into().unwrap();
        let expected = format!("{shown} is that of another endpoint: endpoint \"d\": ids.");
        assert!(found.message.starts_with(&expected) && found.line == 35, "{found}");
    }
}

#[test]
fn names_that_lead_to_the_same_id_need_another_one_given() {
    // Found by trying: what follows from these is the same in its last 32 bits.
    let two = |ids: &str| format!("{GOOD}{}{}", door("kmvaezbg", ""), door("jafhxorc", ids));
    assert!(parse(&two("azure = 7")).is_ok());
    let [found] = problems(&two("")).try_into().unwrap();
    let told = "azure id 4243450280 is that of another endpoint: endpoint \"kmvaezbg\"";
    assert!(found.message.starts_with(told), "{found}");
    assert_eq!(found.remedy, "give one of the two another: ids = { azure = … }");
    // Those of one name have all ids in common, of which nothing is said.
    let again = format!("{GOOD}{}", door("orders-a", ""));
    let keys: Vec<_> = problems(&again).into_iter().map(|problem| problem.key.path).collect();
    assert_eq!(keys, ["endpoint[1].name"]);
}

#[test]
fn an_unread_address_is_not_held_against_its_family() {
    let text = GOOD.replace("10.2.9.1", "fd00::9::1").replace("10.2.0.2", "10.2.0");
    let keys: Vec<_> = problems(&text).into_iter().map(|problem| problem.key.path).collect();
    assert_eq!(
        keys,
        [
            "service[0].nodes[0].address",
            "target_group[0].targets[0].address",
            "target_group[1].targets[0].address"
        ]
    );
}

#[test]
fn every_odd_link_is_told() {
    let links = r#"answer_on = ["lo", "br0", "", "br0"]"#;
    let text = GOOD.replace(
        "[[target_group]]\nname    = \"web\"",
        &format!("{links}\n\n[[target_group]]\nname = \"web\""),
    ) + links;
    let keys: Vec<_> = problems(&text).into_iter().map(|problem| problem.key.path).collect();
    let odd = |table: &str| [0, 2, 3].map(|index| format!("{table}.answer_on[{index}]"));
    assert_eq!(keys, [odd("service[0]"), odd("endpoint[0]")].concat());
}

#[test]
fn broken_toml_is_told_first_and_once_a_line() {
    let found = problems(&GOOD.replace("[[service]]", "[[service]").replace("\"orders-a\"", "orders"));
    assert_eq!(found.iter().map(|problem| problem.line).collect::<Vec<_>>(), [1, 20]);
    assert_eq!(
        found[0].in_file("sidegate.toml"),
        "sidegate.toml:1:11: unclosed array table, expected `]`; correct the TOML here; the rest is judged after that"
    );
    let found = problems("\u{0}\u{1}nonsense");
    assert_eq!(found.len(), 1);
}

#[test]
fn a_slip_that_leaves_the_shape_does_not_hide_the_rest() {
    let text = GOOD.replace("\"provider\" ", "provider ").replace("port = 80, ", "port = 0, port = 1, ");
    let text = text.replace("\"udp\"", "\"sctp\"");
    let lines: Vec<_> = problems(&text).into_iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [3, 6, 8], "an unquoted string, a key written twice, an unknown word");
}

#[test]
fn an_empty_file_and_a_huge_one() {
    let found = problems("");
    assert_eq!(found[0].to_string(), "1:1: service: missing; declare one under [[service]]");
    assert!(
        parse(&format!("{GOOD}{}", " ".repeat(4 << 20)))
            .is_err_and(|found| found[0].message.starts_with("the file has 41"))
    );
}

#[test]
fn a_problem_is_one_line_with_its_place() {
    let text = GOOD.replace("port = 8443", "port = 0");
    assert_eq!(
        problems(&text)[0].in_file("sidegate.toml"),
        "sidegate.toml:7:30: service \"orders\": listeners[1].port: 0 is not a port; write one from 1 to 65535"
    );
}

#[test]
fn every_mistake_at_once() {
    let text = GOOD
        .replace("10.2.9.1", "127.0.0.1")
        .replace("port = 80,", "port = 0,")
        .replace("port = 8443", "port = 53, prot = 1")
        .replace("forward = \"dns\"", "forward = \"dsn\"")
        .replace("name    = \"dns\"", "name = \"web\"")
        .replace("port = 5353", "")
        .replace("service    = \"orders\"", "service = \"order\"")
        .replace("\"consumer-a\"", "3");
    let found = problems(&text);
    let places: Vec<_> = found.iter().map(|problem| (problem.line, problem.key.path.as_str())).collect();
    assert_eq!(
        places,
        [
            (4, "service[0].nodes[0].address"),
            (6, "service[0].listeners[0].port"),
            (7, "service[0].listeners[1].prot"),
            (8, "service[0].listeners[2].forward"),
            (16, "target_group[1].name"),
            (17, "target_group[1].targets[0].port"),
            (21, "endpoint[0].service"),
            (22, "endpoint[0].namespace"),
        ]
    );
}

/// A parse never panics, and a refusal always says something.
fn parse_holds(text: &str) {
    if let Err(found) = parse(text) {
        assert!(!found.is_empty());
        assert!(found.iter().all(|problem| problem.line >= 1 && problem.column >= 1));
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        parse_holds(&text);
    }

    #[test]
    fn any_slip_of_the_pen_is_read_or_refused(
        slips in prop::collection::vec((0..GOOD.len(), 0..12_usize, "[\\[\\]{}=,.\"'a-z0-9#\n ]{0,4}"), 1..4)
    ) {
        let mut text = GOOD.to_owned();
        for (at, length, with) in slips {
            let end = (at + length).min(text.len());
            text.replace_range(at.min(end)..end, &with);
        }
        parse_holds(&text);
    }

    #[test]
    fn any_value_is_read_or_refused(
        place in prop::sample::select(&[
            "\"orders\"", "\"provider\"", "\"tcp\"", "80", "\"web\"", "\"terminate\"", "53", "\"a\"", "\"10.2.9.1\"",
            "[{ zone = \"a\", address = \"10.1.9.50\" }]", "{ address = \"10.2.0.2\", port = 5353 }", "\"consumer-a\"",
        ][..]),
        value in prop_oneof![
            any::<i128>().prop_map(|number| number.to_string()),
            any::<std::net::IpAddr>().prop_map(|address| format!("\"{address}\"")),
            any::<String>().prop_map(|text| format!("{text:?}")),
            prop::sample::select(&["[]", "{}", "[[1], {}]", "1979-05-27", "0.5", "true", "{ name.a = 1 }"][..])
                .prop_map(str::to_owned),
        ],
    ) {
        parse_holds(&GOOD.replacen(place, &value, 1));
    }
}
