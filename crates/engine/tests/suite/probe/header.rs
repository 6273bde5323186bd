//! Checks of targets that expect to be told who their clients are: a check has none, and says so first of all.

use engine::Speech;
use wire::PROXY_LOCAL;

use super::*;

const TOLD: &str = "attributes = { \"proxy_protocol_v2.enabled\" = true }";
const KINDS: [&str; 3] = [r#"protocol = "tcp""#, r#"protocol = "http""#, r#"protocol = "https""#];

/// One target that behaves like this, of a group with these attributes.
fn world(check: &str, attributes: &str, manner: Manner) -> World {
    let mut world = World::new(&told(check, attributes));
    world.behaves("10.2.0.2:8080", manner);
    world
}

fn told(check: &str, attributes: &str) -> String {
    file(&format!("{}\n{attributes}", every_ten(check)), &["10.2.0.2:8080"])
}

/// What a target that is well does when it is asked like this.
fn well(check: &str) -> Manner {
    let reply = Manner::replying("HTTP/1.1 200 OK\r\n\r\n");
    if check.contains("https") { reply.over_tls(rustls::ALL_VERSIONS) } else { reply }
}

#[test]
fn whatever_is_asked_a_target_is_told_first_that_no_client_is_behind_it() {
    for check in KINDS {
        let expecting = Manner { expects: &PROXY_LOCAL, ..well(check) };
        for (attributes, manner) in [("", well(check)), (TOLD, expecting)] {
            let mut world = world(check, attributes, manner);
            world.pass(seconds(2));
            assert_eq!(world.standing(), Standing::HEALTHY, "{check} {attributes}");
            let local = if attributes == TOLD { &PROXY_LOCAL[..] } else { b"" };
            let [(first, asked, _)] = &world.asked[..] else { panic!("{:?}", world.asked) };
            assert_eq!((&first[..], asked.is_empty()), (local, check.contains("tcp")), "{check}");
            assert!(world.flags().iter().all(|flags| flags & RST == 0), "it ends politely");
            assert_eq!(world.flags()[..2], [SYN, ACK], "the connection stands before a word is said");
            world.assert_clean();
        }
    }
}

#[test]
fn a_target_that_expects_it_and_is_not_told_is_unwell() {
    for check in &KINDS[1..] {
        let expecting = Manner { expects: &PROXY_LOCAL, ..well(check) };
        let mut world = world(check, "", expecting);
        world.pass(seconds(25));
        assert_eq!(world.standing().state, State::Unhealthy, "{check}");
    }
}

#[test]
fn a_reload_decides_how_the_next_check_begins() {
    let mut world = world(KINDS[0], "", Manner::open());
    world.pass_until_begun(1);
    world.pass(seconds(1));
    world.reload(&told(KINDS[0], TOLD));
    world.behaves("10.2.0.2:8080", Manner { expects: &PROXY_LOCAL, ..Manner::open() });
    world.pass_until_begun(2);
    world.pass(seconds(1));
    let first: Vec<&[u8]> = world.asked.iter().map(|(first, ..)| &first[..]).collect();
    assert_eq!(first, [&b""[..], &PROXY_LOCAL]);
    assert_eq!(world.standing(), Standing::HEALTHY);
}

#[test]
fn a_check_teaches_what_its_target_speaks_if_it_asks_where_clients_go() {
    let known = |check: &str, at: &str| {
        let mut world = World::of(check, Manner::open());
        world.behaves(at, Manner::open());
        assert_eq!(world.shared.speech(world.target("10.2.0.2:8080")), None);
        world.pass(seconds(2));
        assert_eq!(world.standing(), Standing::HEALTHY);
        world.shared.speech(world.target("10.2.0.2:8080"))
    };
    let ours = Speech { mss: Some(1460), window_scale: Some(3), sack: true, timestamps: true };
    assert_eq!(known(r#"protocol = "tcp""#, "10.2.0.2:8080"), Some(ours));
    assert_eq!(known(r#"protocol = "tcp", port = 8080"#, "10.2.0.2:8080"), Some(ours));
    assert_eq!(known(r#"protocol = "tcp", port = 9000"#, "10.2.0.2:9000"), None, "it may be somebody else");
}
