//! More flows whose header is not acknowledged than a worker escorts.

use super::*;

/// As many as a flow's path can name.
const PLACES: u32 = 1 << 16;

/// A lab with room for more flows, which go to three targets.
fn roomy() -> Lab {
    let more = |n| format!("{{ address = \"10.2.0.{n}\", port = 8080 }}, ");
    let file = headed("").replace("capacity = 4096", "capacity = 200000").replacen(
        "targets = [",
        &format!("targets = [{}{}", more(3), more(4)),
        1,
    );
    Lab::of(&file, 1)
}

/// The `n`th client's address and port.
fn client(n: u32) -> (String, u16) {
    (format!("10.1.{}.9", 10 + n / 50_000), 1000 + (n % 50_000) as u16)
}

/// Gives the lab the `n`th client's SYN: what becomes of it, and who has got it as what.
fn ask(lab: &mut Lab, n: u32) -> (Said, Option<Packet>) {
    let (address, port) = client(n);
    let syn = tcp((&address, port), (INTERFACE, 80), SYN, (ISN, 0), &[]);
    let said = lab.input(lab.consumers[0], &syn);
    let asked =
        said.sent.iter().map(|(_, bytes)| wire::parse(bytes).unwrap()).find(|packet| packet.flags.syn());
    (said, asked)
}

/// The flow's other end answers, and the consumer acknowledges that and waits.
fn answer(lab: &mut Lab, n: u32, asked: &Packet) {
    let target = asked.destination.ip().to_string();
    let (address, port) = client(n);
    let back = tcp((&target, 8080), (NODE, asked.source_port), SYN | ACK, (THEIRS, START), &[]);
    lab.carried(lab.provider, &back);
    lab.carried(lab.consumers[0], &tcp((&address, port), (INTERFACE, 80), ACK, (START, THEIR_START), &[]));
}

#[test]
fn who_is_half_open_makes_room_and_who_waits_does_not() {
    let mut lab = roomy();
    for n in 0..PLACES {
        let asked = ask(&mut lab, n).1.unwrap();
        if n != 500 {
            answer(&mut lab, n, &asked);
        }
    }
    let (said, asked) = ask(&mut lab, PLACES);
    assert!(asked.is_some(), "the one that is half-open has made room");
    let crowded_out = said
        .events
        .iter()
        .filter(|event| matches!(event, Event::FlowClosed { cause: Cause::CrowdedOut, .. }));
    assert_eq!(crowded_out.count(), 1);
    answer(&mut lab, PLACES, &asked.unwrap());

    let (said, asked) = ask(&mut lab, PLACES + 1);
    assert_eq!((said.verdicts[0].reason, asked), (Reason::EscortsFull, None));
    // One goes, and is forgotten: there is room once more.
    let (address, port) = client(9);
    let reset = tcp((&address, port), (INTERFACE, 80), RST, (START, 0), &[]);
    lab.carried(lab.consumers[0], &reset);
    assert_eq!(ask(&mut lab, PLACES + 1).0.verdicts[0].reason, Reason::EscortsFull);
    lab.pass(0, Duration::from_secs(30), &mut Said::default());
    lab.now = Duration::from_secs(30);
    assert!(ask(&mut lab, PLACES + 1).1.is_some());
    assert_eq!(
        ask(&mut lab, PLACES + 2).0.events.len(),
        2,
        "which the next one may have, as long as it is half-open"
    );
}

#[test]
fn who_has_ended_is_found_without_waiting_for_its_time() {
    let mut lab = roomy();
    for n in 0..PLACES {
        let asked = ask(&mut lab, n).1.unwrap();
        answer(&mut lab, n, &asked);
    }
    // Its tuple goes to a flow without a header, so that its record is nobody's.
    let (address, port) = client(40);
    lab.carried(lab.consumers[0], &tcp((&address, port), (INTERFACE, 80), RST, (START, 0), &[]));
    lab.reload(&FILE.replace("capacity = 4096", "capacity = 200000"), lab.now);
    assert!(ask(&mut lab, 40).1.is_some());
    lab.reload(&headed("").replace("capacity = 4096", "capacity = 200000"), lab.now);
    let tried = (0..PLACES).position(|_| ask(&mut lab, PLACES + 1).1.is_some());
    assert!(tried.is_some_and(|tries| tries < 10), "{tried:?}");
}
