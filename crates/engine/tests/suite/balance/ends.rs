//! Whose flows end with their target, and who is told.

use super::*;

/// A TCP flow whose both ends have spoken.
struct Flow {
    client: (&'static str, u16),
    /// What the client connects to.
    door: u16,
    node: (&'static str, u16),
    target: (String, u16),
    id: TargetId,
    /// Our first number towards the target (on nat the client's own), and towards the client.
    ours: [u32; 2],
}

impl Flow {
    /// Opens one, on the path of this port.
    fn open(lab: &mut Lab, port: u16, door: u16, now: Duration) -> Self {
        let (consumer, provider) = (lab.consumers[0], lab.provider);
        let (client, interface) = ((CLIENT, port), (INTERFACE, door));
        let said = lab.input_at(0, consumer, &tcp(client, interface, SYN, (1000, 0), &[]), now);
        let id = said.events.iter().find_map(|event| match event {
            Event::FlowOpened { target, .. } => Some(*target),
            _ => None,
        });
        let syn = wire::parse(&said.sent.last().unwrap().1).unwrap();
        let target = (format!("10.2.0.{}", last_digit(&syn)), 8080);
        let node = (NODE, syn.source_port);
        let next = syn.sequence.wrapping_add(1);
        let answer = tcp((&target.0, 8080), node, SYN | ACK, (7000, next), &[]);
        let said = lab.input_at(0, provider, &answer, now);
        let to_client = said.sent.iter().find(|(device, _)| *device == consumer).unwrap();
        let theirs = wire::parse(&to_client.1).unwrap().sequence.wrapping_add(1);
        let flow = Self { client, door, node, target, id: id.unwrap(), ours: [next, theirs] };
        let said = flow.ask(lab, now);
        assert!(matches!(said.verdicts[0].reason, Reason::Forwarded | Reason::Terminated));
        flow
    }

    /// The client says that it has heard everything.
    fn ask(&self, lab: &mut Lab, now: Duration) -> Said {
        let bytes = tcp(self.client, (INTERFACE, self.door), ACK, (1001, self.ours[1]), &[]);
        lab.input_at(0, lab.consumers[0], &bytes, now)
    }

    /// The target does.
    fn answer(&self, lab: &mut Lab, now: Duration) -> Said {
        let bytes = tcp((&self.target.0, 8080), self.node, ACK, (7001, self.ours[0]), &[]);
        lab.input_at(0, lab.provider, &bytes, now)
    }

    /// Whether it goes on, in both directions.
    fn lives(&self, lab: &mut Lab, now: Duration) -> bool {
        let ends = [self.ask(lab, now), self.answer(lab, now)];
        ends.iter().all(|said| {
            matches!(said.verdicts[0].reason, Reason::Forwarded | Reason::Terminated)
                && causes(said).is_empty()
                && resets(said).is_empty()
        })
    }

    /// Both its ends are told, where they expect it.
    fn assert_told(&self, lab: &Lab, said: &Said) {
        let told = resets(said);
        let at = |device: DeviceId, port: u16| {
            let to = told.iter().filter(move |(to, packet)| *to == device && packet.destination_port == port);
            to.map(|(_, packet)| packet.sequence).collect::<Vec<_>>()
        };
        assert!(at(lab.consumers[0], self.client.1).contains(&self.ours[1]), "the client: {told:?}");
        assert!(at(lab.provider, 8080).contains(&self.ours[0]), "the target: {told:?}");
    }
}

/// One target that is well, and another that takes over when it falls.
fn pair(attributes: &str) -> Lab {
    let lab = Setup::checked(2, attributes).lab();
    found(&lab, [1, 2], Standing::HEALTHY, START);
    lab
}

/// What time and messages make a worker say.
fn wait(lab: &mut Lab, until: Duration) -> Said {
    let mut said = lab.tell(Message::Planned, until - Duration::from_secs(1));
    lab.pass(0, until, &mut said);
    said
}

fn fall(lab: &Lab, flow: &Flow, now: Duration) -> Duration {
    lab.shared.health().set(flow.id, UNWELL);
    lab.shared.review(now)
}

#[test]
fn when_a_target_falls_the_next_packet_tells_both_ends() {
    for is_client_first in [true, false] {
        let mut lab = pair("");
        let flow = Flow::open(&mut lab, 40_000, NAT, START);
        assert!(flow.lives(&mut lab, START));
        fall(&lab, &flow, START);
        let said = if is_client_first { flow.ask(&mut lab, START) } else { flow.answer(&mut lab, START) };
        assert_eq!(said.verdicts[0].reason, Reason::TargetUnhealthy);
        assert_eq!((causes(&said), resets(&said).len()), (vec![Cause::Unhealthy], 2));
        flow.assert_told(&lab, &said);
        let reason = |said: Said| said.verdicts[0].reason;
        assert_eq!(reason(flow.ask(&mut lab, START)), Reason::NoFlowReset, "it is gone");
        assert_eq!(reason(flow.answer(&mut lab, START)), Reason::OneWayReset);
        assert!(!Reason::TargetUnhealthy.remedy().is_empty());
    }
}

/// A peer that has received and not yet acknowledged expects more than it has said.
#[test]
fn who_has_more_than_it_has_acknowledged_is_told_where_it_is() {
    let mut lab = pair("");
    let flow = Flow::open(&mut lab, 40_000, NAT, START);
    let bytes = tcp(flow.client, (INTERFACE, NAT), ACK, (1001, 7001), &[7; 100]);
    lab.carried(lab.consumers[0], &bytes);
    fall(&lab, &flow, START);
    let said = flow.ask(&mut lab, START);
    let to_target = resets(&said).into_iter().filter(|(device, _)| *device == lab.provider);
    assert_eq!(to_target.map(|(_, packet)| packet.sequence).collect::<Vec<_>>(), [1001, 1101]);
}

#[test]
fn a_silent_flow_of_a_fallen_target_ends_within_a_second() {
    for door in [NAT, TERMINATED] {
        let mut lab = pair("");
        let flow = Flow::open(&mut lab, 40_000, door, START);
        fall(&lab, &flow, START);
        let said = wait(&mut lab, after(1));
        assert_eq!(causes(&said), [Cause::Unhealthy], "port {door}");
        flow.assert_told(&lab, &said);
        assert_eq!(lab.workers[0].terminated(), 0);
    }
}

#[test]
fn a_terminated_flow_ends_at_once_when_the_worker_is_told() {
    let mut lab = pair("");
    let flow = Flow::open(&mut lab, 40_000, TERMINATED, START);
    assert!(flow.lives(&mut lab, START));
    fall(&lab, &flow, START);
    let said = lab.tell(Message::Planned, START);
    assert_eq!(causes(&said), [Cause::Unhealthy]);
    flow.assert_told(&lab, &said);
}

#[test]
fn flows_are_kept_where_the_attributes_say_so() {
    let kept = "\"target_health_state.unhealthy.connection_termination.enabled\" = false";
    for door in [NAT, TERMINATED] {
        let mut lab = pair(kept);
        let flow = Flow::open(&mut lab, 40_000, door, START);
        fall(&lab, &flow, START);
        wait(&mut lab, after(100));
        assert!(flow.lives(&mut lab, after(100)), "for as long as it lasts");

        let draining = format!("{kept}, \"target_health_state.unhealthy.draining_interval_seconds\" = 60");
        let mut lab = pair(&draining);
        let flow = Flow::open(&mut lab, 40_000, door, START);
        let due = fall(&lab, &flow, after(10));
        assert_eq!(due, after(70));
        assert!(flow.lives(&mut lab, after(69)));
        lab.shared.review(due);
        assert_eq!(causes(&wait(&mut lab, after(72))), [Cause::Unhealthy], "port {door}");
    }
}

#[test]
fn where_all_have_fallen_nobody_is_cut_off() {
    for door in [NAT, TERMINATED] {
        let mut lab = pair("");
        let flow = Flow::open(&mut lab, 40_000, door, START);
        found(&lab, [1, 2], UNWELL, START);
        wait(&mut lab, after(5));
        assert!(flow.lives(&mut lab, after(5)), "it fails open");
        let other = if flow.id == target(&lab, 1) { 2 } else { 1 };
        found(&lab, [other], Standing::HEALTHY, after(5));
        assert_eq!(causes(&wait(&mut lab, after(7))), [Cause::Unhealthy], "until another is well");
    }
}

#[test]
fn datagrams_go_on_to_another_target() {
    let mut lab = pair("");
    let first = asks(&mut lab, CLIENT, 1000).unwrap();
    found(&lab, [first], UNWELL, START);
    let said = lab.input(lab.consumers[0], &udp((CLIENT, 1000), (INTERFACE, 53), b"who?"));
    assert_eq!((said.verdicts[0].reason, causes(&said)), (Reason::Forwarded, vec![Cause::Unhealthy]));
    let sent = wire::parse(&said.sent[0].1).unwrap();
    assert_eq!((said.sent.len(), last_digit(&sent)), (1, 3 - first));
    let late = udp((&format!("10.2.0.{first}"), 8080), (NODE, sent.source_port), b"me");
    assert_eq!(lab.refused(lab.provider, &late), Reason::OneWay, "the old one is not heard any more");
}

#[test]
fn datagrams_in_fragments_go_on_to_another_target() {
    let mut lab = pair("");
    let first = asks(&mut lab, CLIENT, 1000).unwrap();
    found(&lab, [first], UNWELL, START);
    for piece in crate::fragments::cut(&udp((CLIENT, 1000), (INTERFACE, 53), &[7; 3000]), 7, 1480) {
        let said = lab.input(lab.consumers[0], &piece);
        assert_eq!(said.verdicts[0].reason, Reason::FragmentForwarded);
        assert_eq!(said.sent[0].1[19], 3 - first);
    }
}

#[test]
fn a_syn_that_comes_again_is_sent_to_a_target_that_is_well() {
    let mut lab = pair("");
    let syn = tcp((CLIENT, 40_000), (INTERFACE, NAT), SYN, (1000, 0), &[]);
    let first = last_digit(&lab.carried(lab.consumers[0], &syn).1);
    found(&lab, [first], UNWELL, START);
    let said = lab.input(lab.consumers[0], &syn);
    assert_eq!((said.verdicts[0].reason, causes(&said)), (Reason::Forwarded, vec![Cause::Unhealthy]));
    assert_eq!(last_digit(&wire::parse(&said.sent[0].1).unwrap()), 3 - first);
}

/// A number that nobody has told is none.
#[test]
fn the_ends_of_a_half_open_flow_are_told_where_they_are() {
    let mut lab = pair("");
    let (_, syn) = lab.carried(lab.consumers[0], &tcp((CLIENT, 1), (INTERFACE, NAT), SYN, (1000, 0), &[]));
    let target = format!("10.2.0.{}", last_digit(&syn));
    let answer = tcp((&target, 8080), (NODE, syn.source_port), SYN | ACK, (7000, 1001), &[]);
    lab.carried(lab.provider, &answer);
    found(&lab, [last_digit(&syn)], UNWELL, START);
    let said = wait(&mut lab, after(1));
    let told: Vec<_> = resets(&said).iter().map(|(device, packet)| (*device, packet.sequence)).collect();
    assert_eq!(told, [(lab.consumers[0], 7001), (lab.provider, 1001)]);
}

#[test]
fn a_terminated_connection_that_is_still_opening_ends_with_its_target_too() {
    for has_answered in [false, true] {
        let mut lab = pair("");
        let syn = tcp((CLIENT, 1), (INTERFACE, TERMINATED), SYN, (1000, 0), &[]);
        let dialled = wire::parse(&lab.input(lab.consumers[0], &syn).sent[0].1).unwrap();
        let (first, next) = (last_digit(&dialled), dialled.sequence.wrapping_add(1));
        if has_answered {
            let target = format!("10.2.0.{first}");
            let answer = tcp((&target, 8080), (NODE, dialled.source_port), SYN | ACK, (7000, next), &[]);
            assert_eq!(lab.input(lab.provider, &answer).verdicts[0].reason, Reason::Terminated);
        }
        found(&lab, [first], UNWELL, START);
        let said = lab.tell(Message::Planned, START);
        assert_eq!((causes(&said), lab.workers[0].terminated()), (vec![Cause::Unhealthy], 0));
        let to_target = resets(&said).into_iter().filter(|(device, _)| *device == lab.provider);
        let told: Vec<u32> = to_target.map(|(_, packet)| packet.sequence).collect();
        assert!(!has_answered || told == [next], "{told:?}");
        let again = wire::parse(&lab.input(lab.consumers[0], &syn).sent[0].1).unwrap();
        assert_eq!(last_digit(&again), 3 - first);
    }
}

/// Where flows would go instead nobody has said: the target is looked after for others, and this way to it is open no more.
#[test]
fn nobody_is_cut_off_for_a_target_to_which_no_flows_of_its_kind_go_any_more() {
    let others = "[[service]]\nname = \"others\"\nnamespace = \"provider\"
        nodes = [{ zone = \"a\", address = \"10.2.9.7\" }]
        listeners = [{ protocol = \"udp\", port = 53, forward = \"web\" }]
        [[target_group]]\nname = \"rest\"\ntargets = [{ address = \"10.2.0.9\", port = 8080 }]";
    for (forward, is_ended) in [("\"web\"", true), ("\"rest\"", false)] {
        for door in [NAT, TERMINATED] {
            let setup = Setup { more: others, ..Setup::checked(2, "") };
            let mut lab = setup.lab();
            found(&lab, [1, 2], Standing::HEALTHY, START);
            let flow = Flow::open(&mut lab, 40_000, door, START);
            lab.reload(&Setup { forward, ..setup }.file(), START);
            assert!(flow.lives(&mut lab, START), "it goes on");
            fall(&lab, &flow, START);
            wait(&mut lab, after(2));
            assert_eq!(flow.lives(&mut lab, after(2)), !is_ended, "port {door}, now to {forward}");
        }
    }
}

#[test]
fn a_target_that_is_removed_drains() {
    let delay = "\"deregistration_delay.timeout_seconds\" = 30";
    let ends = "\"deregistration_delay.connection_termination.enabled\" = true";
    for (attributes, is_ended) in [(delay.to_owned(), false), (format!("{delay}, {ends}"), true)] {
        for door in [NAT, TERMINATED] {
            let mut lab = Setup::plain(2, &attributes).lab();
            let flow = Flow::open(&mut lab, 40_000, door, START);
            let removed = flow.target.0.as_bytes().last().unwrap() - b'0';
            let mut setup = Setup::plain(2, &attributes);
            setup.targets = format!("{{ address = \"10.2.0.{}\", port = 8080 }}", 3 - removed);
            lab.reload(&setup.file(), START);
            assert_eq!((1..50).filter(|n| asks(&mut lab, CLIENT, *n) == Ok(removed)).count(), 0);
            assert!(flow.lives(&mut lab, after(29)), "it drains");
            assert_eq!(lab.shared.review(after(29)), after(30));
            lab.shared.review(after(30));
            let said = wait(&mut lab, after(32));
            let expected = if is_ended { vec![Cause::Deregistered] } else { vec![] };
            let ours = causes(&said).into_iter().filter(|cause| *cause == Cause::Deregistered);
            assert_eq!(ours.collect::<Vec<_>>(), expected);
            assert_eq!(flow.lives(&mut lab, after(33)), !is_ended, "{attributes}, port {door}");
        }
    }
}

#[test]
fn a_packet_of_a_deregistered_target_is_counted_as_that() {
    let attributes = "\"deregistration_delay.timeout_seconds\" = 0,
        \"deregistration_delay.connection_termination.enabled\" = true"
        .replace('\n', " ");
    let setup = Setup::plain(2, &attributes);
    let mut lab = setup.lab();
    let flow = Flow::open(&mut lab, 40_000, NAT, START);
    let kept = 3 - (flow.target.0.as_bytes().last().unwrap() - b'0');
    let targets = format!("{{ address = \"10.2.0.{kept}\", port = 8080 }}");
    lab.reload(&Setup { targets, ..setup.clone() }.file(), START);
    lab.shared.review(START);
    assert_eq!(flow.ask(&mut lab, START).verdicts[0].reason, Reason::TargetDeregistered);
    lab.reload(&setup.file(), after(1));
    let again = (1..100).map(|port| asks_at(&mut lab, CLIENT, port, (INTERFACE, 53), after(1)).unwrap());
    assert!(again.collect::<Vec<_>>().contains(&(3 - kept)), "added again, it takes flows again");
    assert_eq!(target(&lab, 3 - kept), flow.id, "and is who it was");
}

#[test]
fn what_real_flows_meet_is_overheard_where_that_is_wanted() {
    for is_wanted in [true, false] {
        for door in [NAT, TERMINATED] {
            let mut setup = Setup::checked(1, "");
            setup.group = format!(
                "health_check = {{ protocol = \"tcp\", port = {CHECKED}, interval = 300, timeout = 120, passive = {is_wanted} }}"
            );
            let mut lab = setup.lab();
            found(&lab, [1], Standing::HEALTHY, START);
            let one = target(&lab, 1);
            let failures = |lab: &Lab, expected: u32| {
                let expected = if is_wanted { expected } else { 0 };
                assert_eq!(lab.shared.health().failures(one), expected, "port {door}");
            };
            let consumer = lab.consumers[0];
            let said = lab.input(consumer, &tcp((CLIENT, 1), (INTERFACE, door), SYN, (1, 0), &[]));
            let dialled = wire::parse(&said.sent[0].1).unwrap();
            let node = (NODE, dialled.source_port);
            let expected = dialled.sequence.wrapping_add(1);
            lab.input(lab.provider, &tcp(("10.2.0.1", 8080), node, RST | ACK, (0, expected), &[]));
            failures(&lab, 1);
            Flow::open(&mut lab, 2, door, START);
            failures(&lab, 0);
            // Who has answered does not refuse any more.
            let said = lab.input(consumer, &tcp((CLIENT, 4), (INTERFACE, door), SYN, (1, 0), &[]));
            let dialled = wire::parse(&said.sent[0].1).unwrap();
            let node = (NODE, dialled.source_port);
            let expected = dialled.sequence.wrapping_add(1);
            for (flags, sequence) in [(SYN | ACK, 7000), (RST | ACK, 7001)] {
                lab.input(lab.provider, &tcp(("10.2.0.1", 8080), node, flags, (sequence, expected), &[]));
            }
            failures(&lab, 0);
            lab.input(consumer, &tcp((CLIENT, 3), (INTERFACE, door), SYN, (1, 0), &[]));
            lab.pass(0, after(29), &mut Said::default());
            failures(&lab, 0);
            lab.pass(0, after(32), &mut Said::default());
            failures(&lab, u32::from(door == TERMINATED)); // on nat it may be the SYN that is to blame
        }
    }
}
