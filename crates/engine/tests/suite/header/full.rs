//! More flows whose header is not acknowledged than a worker escorts.

use super::*;

/// As many as a flow's path can name.
const PLACES: u32 = 1 << 16;
/// A client that never acknowledges what its target says.
const HALF_OPEN: u32 = 500;
/// From this one on, clients are a third endpoint's, where there is one.
const THIRD: u32 = 200_000;
const THIRD_ENDPOINT: &str = r#"
[[endpoint]]
name = "orders-c"
service = "orders"
namespace = "consumer-c"
interfaces = [{ zone = "a", address = "10.1.9.50" }]
"#;

/// A lab with room for more flows, which go to three targets; with more in its file.
fn roomy(endpoints: &str) -> Lab {
    let more = |n| format!("{{ address = \"10.2.0.{n}\", port = 8080 }}, ");
    let file = headed("").replace("capacity = 4096", "capacity = 200000").replacen(
        "targets = [",
        &format!("targets = [{}{}", more(3), more(4)),
        1,
    );
    Lab::of(&(file + endpoints), 1)
}

/// The `n`th client: its device, address and port. Every other one is the other endpoint's.
fn client(lab: &Lab, n: u32) -> (DeviceId, String, u16) {
    let device = if n < THIRD { lab.consumers[n as usize % 2] } else { third(lab) };
    (device, format!("10.1.{}.9", 10 + n / 50_000), 1000 + (n % 50_000) as u16)
}

fn third(lab: &Lab) -> DeviceId {
    let topology = lab.shared.topology();
    let place = topology.namespaces.iter().position(|namespace| namespace.name == "consumer-c");
    DeviceId(place.unwrap() as u16)
}

/// A segment of the `n`th client's.
fn segment(lab: &Lab, n: u32, flags: u8, numbers: (u32, u32)) -> (DeviceId, Vec<u8>) {
    let (device, address, port) = client(lab, n);
    (device, tcp((&address, port), (INTERFACE, 80), flags, numbers, &[]))
}

/// Gives the lab the `n`th client's SYN: what becomes of it, and who has got it as what.
fn ask(lab: &mut Lab, n: u32) -> (Said, Option<Packet>) {
    let (device, syn) = segment(lab, n, SYN, (ISN, 0));
    let said = lab.input(device, &syn);
    let asked =
        said.sent.iter().map(|(_, bytes)| wire::parse(bytes).unwrap()).find(|packet| packet.flags.syn());
    (said, asked)
}

/// The flow's other end answers, and the consumer acknowledges that and waits.
fn answer(lab: &mut Lab, n: u32, asked: &Packet) {
    let target = asked.destination.ip().to_string();
    let back = tcp((&target, 8080), (NODE, asked.source_port), SYN | ACK, (THEIRS, START), &[]);
    lab.carried(lab.provider, &back);
    let (device, ack) = segment(lab, n, ACK, (START, THEIR_START));
    lab.carried(device, &ack);
}

/// A flow that stands, and waits.
fn connect(lab: &mut Lab, n: u32) {
    let asked = ask(lab, n).1.unwrap();
    answer(lab, n, &asked);
}

fn reset(lab: &mut Lab, n: u32) {
    let (device, reset) = segment(lab, n, RST, (START, 0));
    lab.carried(device, &reset);
}

/// The `n`th client's tuple goes to a flow without a header, so that its record is nobody's.
fn end_unnoticed(lab: &mut Lab, n: u32) {
    reset(lab, n);
    lab.reload(&FILE.replace("capacity = 4096", "capacity = 200000"), lab.now);
    assert!(ask(lab, n).1.is_some());
    lab.reload(&headed("").replace("capacity = 4096", "capacity = 200000"), lab.now);
}

/// Every place is taken: by flows that stand and wait, but for one that is half-open.
fn filled() -> Lab {
    let mut lab = roomy("");
    for n in 0..PLACES {
        if n == HALF_OPEN {
            assert!(ask(&mut lab, n).1.is_some());
        } else {
            connect(&mut lab, n);
        }
    }
    lab
}

fn crowded_out(said: &Said) -> usize {
    let is_it = |event: &&Event| matches!(event, Event::FlowClosed { cause: Cause::CrowdedOut, .. });
    said.events.iter().filter(is_it).count()
}

#[test]
fn who_is_half_open_makes_room_and_who_waits_does_not() {
    let mut lab = filled();
    let (said, asked) = ask(&mut lab, PLACES + 1);
    assert_eq!((said.verdicts[0].reason, asked), (Reason::EscortsFull, None));
    assert_eq!(crowded_out(&said), 0, "its endpoint has its half: another's place would be of no use");
    let (said, asked) = ask(&mut lab, PLACES);
    assert_eq!(crowded_out(&said), 1, "the one that is half-open has made room");
    answer(&mut lab, PLACES, &asked.unwrap());

    let (said, asked) = ask(&mut lab, PLACES + 2);
    assert_eq!((said.verdicts[0].reason, asked), (Reason::EscortsFull, None));
    // One goes, and is forgotten: there is room once more.
    reset(&mut lab, 8);
    assert_eq!(ask(&mut lab, PLACES + 2).0.verdicts[0].reason, Reason::EscortsFull);
    lab.pass(0, Duration::from_secs(30), &mut Said::default());
    lab.now = Duration::from_secs(30);
    assert!(ask(&mut lab, PLACES + 2).1.is_some());
    assert_eq!(
        ask(&mut lab, PLACES + 4).0.events.len(),
        2,
        "which the next one may have, as long as it is half-open"
    );
}

#[test]
fn who_has_ended_makes_room_before_anybody_who_lives() {
    let mut lab = filled();
    end_unnoticed(&mut lab, 8);
    let (said, asked) = ask(&mut lab, PLACES);
    assert!(asked.is_some());
    assert_eq!(crowded_out(&said), 0);
}

/// Whoever connects only to see whether he can is remembered for as long as others who close; but not at the cost of who comes.
#[test]
fn who_has_closed_makes_room_before_anybody_who_lives() {
    let mut lab = roomy("");
    let mine = |nth: u32| 2 * nth;
    assert!(ask(&mut lab, mine(0)).1.is_some(), "half-open");
    connect(&mut lab, mine(1));
    for nth in 2..PLACES / 2 {
        connect(&mut lab, mine(nth));
        reset(&mut lab, mine(nth));
    }
    let theirs = 1;
    connect(&mut lab, theirs);
    reset(&mut lab, theirs);
    for nth in PLACES / 2..PLACES {
        let (said, asked) = ask(&mut lab, mine(nth));
        let asked = asked.unwrap_or_else(|| panic!("{nth}: {:?}", said.verdicts));
        assert_eq!(crowded_out(&said), 0);
        answer(&mut lab, mine(nth), &asked);
        reset(&mut lab, mine(nth));
    }
    // Who lives has his place as before, and so has who has closed where that is of no use.
    let (device, hello) = segment(&lab, mine(1), ACK | PSH, (START + 1, THEIR_START));
    assert_eq!(lab.input(device, &hello).sent.len(), 2, "a header, and what brought it out");
    let (device, late) = segment(&lab, theirs, ACK, (START, THEIR_START));
    assert_eq!(lab.input(device, &late).verdicts[0].reason, Reason::Forwarded);
}

#[test]
fn who_has_ended_is_found_without_waiting_for_its_time() {
    let mut lab = roomy("");
    (0..PLACES).for_each(|n| connect(&mut lab, n));
    end_unnoticed(&mut lab, 40);
    let tried = (0..PLACES).position(|_| ask(&mut lab, PLACES).1.is_some());
    assert!(tried.is_some_and(|tries| tries < 10), "{tried:?}");
}

#[test]
fn where_nobody_has_its_half_it_is_whoever_has_most_that_makes_room() {
    let mut lab = roomy(THIRD_ENDPOINT);
    // The first client of each endpoint is half-open.
    let open = |lab: &mut Lab, n| match ask(lab, n).0.events[..] {
        [Event::FlowOpened { flow, .. }] => flow,
        ref events => panic!("{events:?}"),
    };
    let [most, _, last] = [0, 1, THIRD].map(|n| open(&mut lab, n));
    (1..25_536).for_each(|nth| connect(&mut lab, 2 * nth));
    (1..20_000).for_each(|nth| connect(&mut lab, 2 * nth + 1));
    (1..20_000).for_each(|nth| connect(&mut lab, THIRD + nth));
    // Once nobody of the first one's can be asked any more, the third one has one more than the second.
    for (n, expected) in [(THIRD + PLACES, most), (THIRD + PLACES + 1, last)] {
        let closed = ask(&mut lab, n).0.events.into_iter().find_map(|event| match event {
            Event::FlowClosed { flow, cause: Cause::CrowdedOut, .. } => Some(flow),
            _ => None,
        });
        assert_eq!(closed, Some(expected));
    }
}

#[test]
fn an_endpoint_whose_clients_say_nothing_leaves_room_for_the_others() {
    let mut lab = roomy("");
    let mine = |nth: u32| 2 * nth;
    (0..PLACES / 2).for_each(|nth| connect(&mut lab, mine(nth)));
    let (said, asked) = ask(&mut lab, mine(PLACES / 2));
    assert_eq!((said.verdicts[0].reason, asked), (Reason::EscortsFull, None), "it has its half");
    // The other endpoint's clients have theirs.
    connect(&mut lab, 1);
    assert!(ask(&mut lab, 3).1.is_some());
    // What makes room for more of its own is its own.
    reset(&mut lab, mine(0));
    lab.pass(0, Duration::from_secs(30), &mut Said::default());
    lab.now = Duration::from_secs(30);
    assert_eq!(crowded_out(&ask(&mut lab, mine(PLACES / 2)).0), 0);
    assert_eq!(crowded_out(&ask(&mut lab, mine(PLACES / 2 + 1)).0), 1);
    assert!(ask(&mut lab, 5).1.is_some());
}
