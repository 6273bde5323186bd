//! What a reload changes, and what it leaves alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use topology::{Origin, Topology};
use wire::Frame;

use super::*;

fn carried(lab: &mut Lab, port: u16, to: u16) -> Reason {
    let said = lab.input(lab.consumers[0], &tcp((CLIENT, port), (INTERFACE, to), SYN, (1000, 0), &[]));
    said.verdicts[0].reason
}

/// Opens a nat flow, and gives the source port that its target sees.
fn open(lab: &mut Lab, port: u16) -> u16 {
    let (consumer, provider) = (lab.consumers[0], lab.provider);
    let (_, syn) = lab.carried(consumer, &tcp((CLIENT, port), (INTERFACE, NAT), SYN, (1000, 0), &[]));
    let target = format!("10.2.0.{}", last_digit(&syn));
    lab.carried(provider, &tcp((&target, 8080), (NODE, syn.source_port), SYN | ACK, (7000, 1001), &[]));
    lab.carried(consumer, &tcp((CLIENT, port), (INTERFACE, NAT), ACK, (1001, 7001), &[]));
    syn.source_port
}

#[test]
fn a_reload_that_changes_nothing_disturbs_nothing() {
    let setup = Setup::checked(3, "");
    let mut lab = setup.lab();
    found(&lab, [1, 2], Standing::HEALTHY, START);
    open(&mut lab, 40_000);
    let ids: Vec<_> = lab.shared.topology().targets.iter().map(|(id, _)| id).collect();
    let lanes = |lab: &Lab| lab.shared.flows().lanes().iter().count();
    let (sentences, before) = (lab.shared.flows().lanes().sentences(), lanes(&lab));
    let chosen: Vec<u8> = (1..200).map(|port| asks(&mut lab, CLIENT, port).unwrap()).collect();
    for second in 1..=50 {
        let said = lab.reload(&setup.file(), after(second));
        assert!(causes(&said).is_empty() && resets(&said).is_empty());
    }
    assert_eq!(lab.shared.flows().lanes().sentences(), sentences, "nobody's fate has changed");
    assert_eq!(lanes(&lab), before, "and nothing has grown");
    assert!(ids.into_iter().eq(lab.shared.topology().targets.iter().map(|(id, _)| id)));
    lab.carried(lab.consumers[0], &tcp((CLIENT, 40_000), (INTERFACE, NAT), ACK, (1001, 7001), &[]));
    let again = (1001..1200).map(|port| asks(&mut lab, CLIENT, port).unwrap());
    assert!(again.collect::<Vec<_>>().iter().all(|target| [1, 2].contains(target)), "health is as it was");
    let mut fresh = setup.lab();
    found(&fresh, [1, 2], Standing::HEALTHY, START);
    let same = (1..200).map(|port| asks(&mut fresh, CLIENT, port).unwrap());
    assert_eq!(same.collect::<Vec<_>>(), chosen, "and so is the wheel");
}

#[test]
fn a_listener_that_is_removed_takes_its_flows_with_it_and_can_come_back() {
    for door in [NAT, TERMINATED] {
        let setup = Setup::plain(1, "");
        let mut lab = setup.lab();
        let mut talk = setup.clone();
        talk.tcp = false;
        if door == NAT {
            open(&mut lab, 40_000);
        } else {
            assert_eq!(carried(&mut lab, 40_000, TERMINATED), Reason::Terminated);
        }
        asks(&mut lab, CLIENT, 1).unwrap();
        let told = lab.reload(&talk.file(), START);
        let said =
            lab.input(lab.consumers[0], &tcp((CLIENT, 40_000), (INTERFACE, door), ACK, (1001, 7001), &[]));
        if door == NAT {
            assert_eq!((said.verdicts[0].reason, causes(&said)), (Reason::WayRemoved, vec![Cause::Removed]));
            assert_eq!(resets(&said).len(), 2);
        } else {
            assert_eq!(causes(&told), [Cause::Removed]);
        }
        assert_eq!(carried(&mut lab, 40_001, door), Reason::NoListener);
        assert!(asks(&mut lab, CLIENT, 1).is_ok(), "the other one is as it was");
        assert_eq!(lab.shared.flows().live(), 1);
        lab.reload(&setup.file(), START);
        assert_eq!(carried(&mut lab, 40_001, door).outcome(), engine::Outcome::Carried);
        assert_eq!(lab.shared.flows().live(), 2);
    }
}

#[test]
fn a_listener_that_changes_its_path_leaves_what_is_open_and_opens_nothing_on_the_old_one() {
    let setup = Setup::plain(1, "");
    for is_reloaded in [false, true] {
        let mut lab = setup.lab();
        let ports = [40_000, 40_001].map(|port| open(&mut lab, port));
        let end = tcp(("10.2.0.1", 8080), (NODE, ports[0]), RST, (7001, 0), &[]);
        lab.carried(lab.provider, &end);
        let old = format!("port = {NAT}, forward = \"web\"");
        if is_reloaded {
            lab.reload(&setup.file().replace(&old, &format!("{old}, path = \"terminate\"")), START);
        }
        let said = lab.input(lab.consumers[0], &tcp((CLIENT, 40_000), (INTERFACE, NAT), SYN, (5000, 0), &[]));
        let sent = wire::parse(&said.sent[0].1).unwrap();
        let expected = if is_reloaded { Reason::Terminated } else { Reason::Forwarded };
        assert_eq!((said.verdicts[0].reason, sent.source_port == ports[0]), (expected, !is_reloaded));
        assert_eq!(lab.workers[0].terminated(), usize::from(is_reloaded));
        lab.carried(lab.consumers[0], &tcp((CLIENT, 40_001), (INTERFACE, NAT), ACK, (1001, 7001), &[]));
    }
}

#[test]
fn the_flows_of_an_interface_that_is_removed_end_and_their_ends_are_told() {
    let setup = Setup {
        interfaces: "{ zone = \"a\", address = \"10.1.9.50\" }, { zone = \"b\", address = \"10.1.9.60\" }",
        ..Setup::plain(1, "")
    };
    let mut lab = setup.lab();
    open(&mut lab, 40_000);
    let kept = asks_at(&mut lab, CLIENT, 1, ("10.1.9.60", 53), START);
    assert_eq!(kept, Ok(1));
    let without = Setup { interfaces: "{ zone = \"b\", address = \"10.1.9.60\" }", ..setup.clone() };
    let mut said = lab.reload(&without.file(), START);
    lab.pass(0, after(1), &mut said);
    assert_eq!(causes(&said), [Cause::Removed]);
    let told: Vec<DeviceId> = resets(&said).iter().map(|(device, _)| *device).collect();
    assert_eq!(told, [lab.consumers[0], lab.provider], "as long as there is a way to tell them");
    assert_eq!(carried(&mut lab, 40_001, NAT), Reason::UnknownAddress);
    assert_eq!(asks_at(&mut lab, CLIENT, 1, ("10.1.9.60", 53), after(1)), Ok(1));
    lab.reload(&setup.file(), after(2));
    open(&mut lab, 40_002);
}

#[test]
fn the_flows_of_a_node_that_is_removed_end() {
    let two = "{ zone = \"a\", address = \"10.2.9.1\" }, { zone = \"b\", address = \"10.2.9.2\" }";
    let setup = Setup { nodes: two, ..Setup::plain(1, "") };
    let mut lab = setup.lab();
    open(&mut lab, 40_000);
    let without = Setup { nodes: "{ zone = \"b\", address = \"10.2.9.2\" }", ..setup };
    lab.reload(&without.file(), START);
    let said = lab.input(lab.consumers[0], &tcp((CLIENT, 40_000), (INTERFACE, NAT), ACK, (1001, 7001), &[]));
    assert_eq!(said.verdicts[0].reason, Reason::WayRemoved);
    assert_eq!(resets(&said).len(), 2, "from the old node's address");
    let (_, syn) = lab.carried(lab.consumers[0], &tcp((CLIENT, 40_001), (INTERFACE, NAT), SYN, (1, 0), &[]));
    assert_eq!(syn.source, addr("10.2.9.2"));
}

#[test]
fn an_endpoint_in_a_new_namespace_is_served_once_its_device_is_there() {
    let setup = Setup::plain(1, "");
    let mut lab = setup.lab();
    let more = format!(
        "{}\n[[endpoint]]\nname = \"orders-c\"\nservice = \"orders\"\nnamespace = \"consumer-c\"
        interfaces = [{{ zone = \"a\", address = \"10.1.9.50\" }}]",
        setup.file()
    );
    let new = DeviceId(3);
    let question = udp((CLIENT, 1), (INTERFACE, 53), b"who?");
    assert_eq!(lab.refused(new, &question), Reason::UnknownAddress);
    lab.reload(&more, START);
    let said = lab.input(new, &question);
    let sent = wire::parse(&said.sent[0].1).unwrap();
    let answer = udp(("10.2.0.1", 8080), (NODE, sent.source_port), b"me");
    assert_eq!(lab.refused(lab.provider, &answer), Reason::EgressDown, "its device is still to come");
    lab.tell(Message::Attach(new), START);
    assert_eq!(lab.carried(lab.provider, &answer).0, new);
    for port in 1..50 {
        let said = lab.input(new, &tcp((CLIENT, port), (INTERFACE, TERMINATED), SYN, (1, 0), &[]));
        assert_eq!(said.verdicts[0].reason, Reason::Terminated);
    }
    lab.reload(&setup.file(), START);
    lab.tell(Message::Detach(new), START);
    lab.pass(0, after(1), &mut Said::default());
    assert_eq!(lab.shared.flows().live(), 0);
    assert_eq!(lab.refused(new, &question), Reason::UnknownAddress);
}

/// A worker that has not heard of a plan yet meets flows of it.
#[test]
fn a_reload_is_taken_up_by_whoever_meets_a_packet_first() {
    let setup = Setup::plain(1, "");
    let mut lab = Lab::of(&setup.file(), 2);
    let more = Setup { targets: "{ address = \"10.2.0.2\", port = 8080 }".into(), ..setup };
    let fresh = Topology::parse(&more.file(), &Origin::new("/lab.toml")).unwrap();
    lab.shared.adopt(Arc::new(fresh.succeed(&lab.shared.topology()).unwrap()), START);
    for worker in [0, 1] {
        let port = 1 + worker as u16;
        let question = udp((CLIENT, port), (INTERFACE, 53), b"who?");
        let said = lab.input_at(worker, lab.consumers[0], &question, START);
        assert_eq!(last_digit(&wire::parse(&said.sent[0].1).unwrap()), 2);
    }
}

/// Topologies come and go while workers carry: whoever's target stays, or drains, does not notice.
#[test]
fn a_thousand_reloads_under_load_disturb_nobody_and_leave_nothing() {
    let setups = [Setup::plain(2, ""), Setup::plain(3, "")];
    let mut lab = Lab::of(&setups[0].file(), 2);
    let (consumer, shared) = (lab.consumers[0], Arc::clone(&lab.shared));
    let carries = AtomicBool::new(true);
    let mut lanes = 0;
    std::thread::scope(|scope| {
        for (nth, worker) in lab.workers.iter_mut().enumerate() {
            let carries = &carries;
            scope.spawn(move || {
                let ports = 1000 + 100 * nth as u16..1100 + 100 * nth as u16;
                let questions = ports.map(|port| udp((CLIENT, port), (INTERFACE, 53), b"who?"));
                let questions: Vec<_> = questions.collect();
                let mut said = Said::default();
                while carries.load(Ordering::Relaxed) {
                    said.sent.clear();
                    for question in &questions {
                        worker.input(consumer, &mut [Frame::plain(&mut question.clone())], START, &mut said);
                    }
                }
                assert!(said.verdicts.iter().all(|verdict| verdict.reason == Reason::Forwarded));
                assert_eq!(said.events.len(), questions.len(), "each opened once, and never closed");
            });
        }
        for n in 0..1000 {
            let fresh = Topology::parse(&setups[n % 2].file(), &Origin::new("/lab.toml")).unwrap();
            shared.adopt(Arc::new(fresh.succeed(&shared.topology()).unwrap()), START);
            if n == 1 {
                lanes = shared.flows().lanes().iter().count();
            }
        }
        carries.store(false, Ordering::Relaxed);
    });
    assert_eq!(lab.shared.flows().lanes().iter().count(), lanes, "no lane is made twice");
    assert_eq!(lab.shared.flows().live(), 200);
}
