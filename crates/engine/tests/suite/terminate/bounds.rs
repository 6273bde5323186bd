//! What is bounded: half-open relays, relays, memory.

use super::*;

/// What half-open relays an endpoint of the lab may have: its share of a quarter of the flows.
const SHARE: u16 = 4096 / 4 / 2;

#[test]
fn a_flood_of_syns_takes_room_from_its_own_endpoint_and_from_nobody_established() {
    let mut lab = Lab::new(1);
    let mut old = Talk::open(&mut lab, 0, 1, Duration::ZERO);
    let (_, elsewhere) = Talk::begin(&mut lab, 1, 1, Duration::ZERO);
    assert_eq!(reason(&elsewhere), Reason::Terminated);
    let mut flood = Vec::new();
    for n in 0..SHARE {
        let (talk, said) = Talk::begin(&mut lab, 0, 1000 + n, Duration::ZERO);
        assert_eq!((reason(&said), closed(&said)), (Reason::Terminated, vec![]), "there is room");
        flood.push(talk);
    }
    // The second one's target has answered, and still its consumer is silent.
    flood[1].say(&mut lab, Who::Far, SYN | ACK, &[], Duration::ZERO);
    for oldest in &flood[..2] {
        let (_, said) = Talk::begin(&mut lab, 0, 10_000 + oldest.near.own.1, Duration::ZERO);
        assert_eq!((reason(&said), closed(&said)), (Reason::Terminated, vec![Cause::CrowdedOut]));
        let [reset] = oldest.far.heard(&said)[..] else { panic!("{:?}", said.sent) };
        assert!(reset.flags.rst() && reset.sequence == oldest.far.expected, "its target is told");
        assert!(oldest.near.heard(&said).is_empty(), "its consumer is not");
    }
    let mut new = Talk::open(&mut lab, 1, 2, Duration::ZERO);
    for talk in [&mut old, &mut new] {
        let said = talk.say(&mut lab, Who::Near, ACK, b"hello", Duration::ZERO);
        assert_eq!(talk.far.heard(&said)[0].payload_len(), 5, "others go on");
    }
    assert_eq!(lab.workers[0].terminated(), usize::from(SHARE) + 3);
}

#[test]
fn who_has_answered_is_not_half_open_any_more() {
    let mut lab = Lab::new(1);
    for n in 0..SHARE + 100 {
        Talk::open(&mut lab, 0, 1000 + n, Duration::ZERO);
    }
    assert_eq!(lab.workers[0].terminated(), usize::from(SHARE) + 100);
}

#[test]
fn ten_thousand_silent_connections_are_one_workers() {
    let mut lab = Lab::of(&FILE.replacen("capacity = 4096", "capacity = 65536", 1), 1);
    let mut last = None;
    for n in 0..10_000 {
        let now = Duration::from_millis(n.into());
        last = Some(Talk::open(&mut lab, usize::from(n % 2), 1000 + n, now));
        lab.pass(0, now, &mut Said::default());
    }
    let mut said = Said::default();
    lab.pass(0, seconds(300), &mut said);
    assert_eq!((lab.workers[0].terminated(), closed(&said).len()), (10_000, 0));
    let mut last = last.unwrap();
    let said = last.say(&mut lab, Who::Far, ACK, b"hello", seconds(300));
    assert_eq!(last.near.heard(&said)[0].payload_len(), 5);
    let mut said = Said::default();
    lab.pass(0, seconds(2000), &mut said);
    assert_eq!(closed(&said), [Cause::Idle; 10_000]);
    assert_eq!(lab.workers[0].terminated(), 0);
}

#[test]
fn where_places_are_short_a_half_open_connection_makes_room_and_an_open_one_does_not() {
    const CAPACITY: u16 = 16_384;
    let mut lab = Lab::of(&FILE.replacen("capacity = 4096", "capacity = 65536", 1), 1);
    for n in 1..CAPACITY {
        Talk::open(&mut lab, 0, 1000 + n, Duration::ZERO);
    }
    let (mut last, said) = Talk::begin(&mut lab, 0, 1, Duration::ZERO);
    assert_eq!(reason(&said), Reason::Terminated);
    let (mut next, said) = Talk::begin(&mut lab, 1, 1, Duration::ZERO);
    assert_eq!((reason(&said), closed(&said)), (Reason::Terminated, vec![Cause::CrowdedOut]));
    assert!(last.far.heard(&said)[0].flags.rst());
    next.say(&mut lab, Who::Far, SYN | ACK, &[], Duration::ZERO);
    next.say(&mut lab, Who::Near, ACK, &[], Duration::ZERO);
    let said = last.say(&mut lab, Who::Near, SYN, &[], Duration::ZERO);
    assert_eq!((reason(&said), closed(&said)), (Reason::TerminateFull, vec![]));
    assert_eq!(lab.workers[0].terminated(), usize::from(CAPACITY));
}

#[test]
fn where_the_table_is_full_a_half_open_connection_makes_room_and_an_open_one_does_not() {
    const CAPACITY: u16 = 1024;
    let mut lab = Lab::of(&FILE.replacen("capacity = 4096", "capacity = 1024", 1), 1);
    for n in 2..CAPACITY {
        Talk::open(&mut lab, 0, 1000 + n, Duration::ZERO);
    }
    let half_open = [1, 2].map(|port| Talk::begin(&mut lab, 0, port, Duration::ZERO).0);
    let crowded_out = |old: &Talk, said: &Said| {
        assert_eq!(closed(said), [Cause::CrowdedOut]);
        assert!(old.far.heard(said)[0].flags.rst(), "its target is told");
    };
    let (mut new, said) = Talk::begin(&mut lab, 1, 1, Duration::ZERO);
    assert_eq!(reason(&said), Reason::Terminated);
    crowded_out(&half_open[0], &said);
    new.say(&mut lab, Who::Far, SYN | ACK, &[], Duration::ZERO);
    new.say(&mut lab, Who::Near, ACK, &[], Duration::ZERO);
    let said = lab.input(lab.consumers[1], &tcp((CLIENT, 2), (INTERFACE, 80), SYN, (1000, 0), &[]));
    assert_eq!(reason(&said), Reason::Forwarded, "for a newcomer on nat alike");
    crowded_out(&half_open[1], &said);
    let port = wire::parse(&said.sent.last().unwrap().1).unwrap().source_port;
    lab.carried(lab.provider, &tcp((TARGET, 8080), (NODE, port), SYN | ACK, (7000, 1001), &[]));
    lab.carried(lab.consumers[1], &tcp((CLIENT, 2), (INTERFACE, 80), ACK, (1001, 7001), &[]));
    let (_, said) = Talk::begin(&mut lab, 1, 3, Duration::ZERO);
    assert_eq!((reason(&said), closed(&said)), (Reason::TableFull, vec![]));
    assert_eq!((lab.shared.flows().len(), lab.workers[0].terminated()), (1024, 1023));
}

/// Consumers send to targets that take nothing, until there is no more room in memory for a newcomer.
#[test]
fn newcomers_are_refused_at_the_limit_of_memory_and_let_in_below_it() {
    let mut lab = Lab::of(&format!("{FILE}\n[terminate]\nmemory = \"16 MiB\""), 1);
    let limit = 16 << 20;
    let mut talks = Vec::new();
    let (mut half_open, _) = Talk::begin(&mut lab, 1, 3, Duration::ZERO);
    for n in 0..1000 {
        let (mut talk, said) = Talk::begin(&mut lab, 0, 1000 + n, Duration::ZERO);
        if reason(&said) == Reason::TerminateMemory {
            assert!(said.sent.is_empty() && said.events.is_empty());
            break;
        }
        talk.say(&mut lab, Who::Far, SYN | ACK, &[], Duration::ZERO);
        for _ in 0..8 {
            talk.say(&mut lab, Who::Near, ACK, &[7; 8000], Duration::ZERO);
        }
        talks.push(talk);
    }
    assert!((100..1000).contains(&talks.len()), "{} have come in", talks.len());
    let memory = lab.shared.terminate_memory().clone();
    assert!(memory.used() > limit / 4 * 3 && memory.used() <= limit + talks.len() * (16 << 10), "{memory:?}");
    let (_, said) = Talk::begin(&mut lab, 1, 1, Duration::ZERO);
    assert_eq!((reason(&said), closed(&said)), (Reason::TerminateMemory, vec![]));
    let said = half_open.say(&mut lab, Who::Far, SYN | ACK, &[], Duration::ZERO);
    assert_eq!(half_open.near.heard(&said).len(), 1, "a half-open one would make no room, and is let be");
    for mut talk in talks {
        talk.say(&mut lab, Who::Near, RST, &[], Duration::ZERO);
    }
    let (_, said) = Talk::begin(&mut lab, 1, 2, Duration::ZERO);
    assert_eq!(reason(&said), Reason::Terminated);
}

#[test]
fn who_is_silent_for_a_second_keeps_no_memory() {
    let mut lab = Lab::new(1);
    let memory = lab.shared.terminate_memory().clone();
    let mut talks: Vec<_> = (0..100).map(|n| Talk::open(&mut lab, 0, 1000 + n, Duration::ZERO)).collect();
    for talk in &mut talks {
        talk.say(&mut lab, Who::Near, ACK, &[7; 1000], Duration::ZERO);
        talk.say(&mut lab, Who::Far, ACK, &[], Duration::ZERO);
    }
    let mut said = Said::default();
    lab.pass(0, Duration::from_millis(999), &mut said);
    assert!(memory.used() > 0);
    lab.pass(0, seconds(1), &mut said);
    assert_eq!(memory.used(), 0);
    for talk in &mut talks {
        let said = talk.say(&mut lab, Who::Far, ACK, &[8; 1000], seconds(2));
        assert_eq!(talk.near.heard(&said)[0].payload_len(), 1000, "and is there when it is spoken to");
    }
}
