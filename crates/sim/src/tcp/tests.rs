use wire::parse;

use super::*;

const PLAIN: Extensions =
    Extensions { scale: None, timestamps: false, fast_open: false, sack: false, reneges: false };
const ALL: Extensions =
    Extensions { scale: Some(3), timestamps: true, fast_open: true, sack: true, reneges: true };
const MANNER: Manner =
    Manner { mss: Some(1440), window: 20_000, appetite: Appetite::Keen, extensions: PLAIN, offloads: true };

/// Carries what `from` says to `to`, but for every `lost`th frame.
fn carry(from: &mut Tcp, to: &mut Tcp, now: Duration, lost: usize, count: &mut usize) {
    for frame in from.poll(now) {
        *count += 1;
        if !count.is_multiple_of(lost) {
            to.input(&parse(&frame.bytes).unwrap(), &frame.bytes, now);
        }
    }
}

#[test]
fn bytes_arrive_both_ways_whatever_is_lost() {
    for lost in [usize::MAX, 7, 3] {
        exchange(MANNER, MANNER, lost);
        exchange(Manner { extensions: ALL, ..MANNER }, Manner { extensions: ALL, ..MANNER }, lost);
    }
}

#[test]
fn bytes_arrive_however_awkward_the_receiver_is() {
    let slow = Appetite::Slow { bite: 15_000, pause: Duration::from_millis(900) };
    let awkward = [
        Manner { appetite: slow, ..MANNER },
        Manner { appetite: slow, extensions: ALL, window: 100_000, ..MANNER },
        Manner { appetite: Appetite::Fickle, extensions: ALL, ..MANNER },
        Manner { mss: Some(0), ..MANNER },
        Manner { mss: Some(1), extensions: ALL, ..MANNER },
        Manner { mss: None, ..MANNER },
    ];
    for other in awkward {
        exchange(other, Manner { extensions: ALL, ..MANNER }, 7);
        exchange(MANNER, other, 7);
    }
}

/// 100,000 bytes there, 50,000 back.
fn exchange(client: Manner, server: Manner, lost: usize) {
    let there = Route { source: ([10, 0, 0, 1], 1).into(), destination: ([10, 0, 0, 2], 2).into() };
    let back = Route { source: there.destination, destination: there.source };
    let mut client = Tcp::dial(there, client, Rng::new(1));
    let syn = client.poll(Duration::ZERO).remove(0).bytes;
    let mut server = Tcp::answer(back, server, Rng::new(2), &parse(&syn).unwrap(), &syn);
    let [question, answer] = [100_000, 50_000].map(|len| (0..len).map(|n| n as u8).collect::<Vec<_>>());
    client.write(&question);
    client.finish();
    let (mut count, mut heard, mut got) = (0, Vec::new(), Vec::new());
    for now in (0..100_000).map(Duration::from_millis) {
        carry(&mut client, &mut server, now, lost, &mut count);
        heard.extend(server.read());
        if server.is_closed_by_peer() && !server.is_finishing() {
            server.write(&answer);
            server.finish();
        }
        carry(&mut server, &mut client, now, lost, &mut count);
        got.extend(client.read());
    }
    assert!(heard == question && got == answer, "{} and {} bytes", heard.len(), got.len());
    assert_eq!((client.end_of_it(), server.end_of_it()), (Some(End::Finished), Some(End::Finished)));
    assert_eq!((client.complaint(), server.complaint()), (None, None));
}

#[test]
fn whoever_breaks_an_agreement_is_told_on() {
    let there = Route { source: ([10, 0, 0, 1], 1).into(), destination: ([10, 0, 0, 2], 2).into() };
    let back = Route { source: there.destination, destination: there.source };
    let stamped = Manner { extensions: ALL, offloads: false, ..MANNER };
    let mut client = Tcp::dial(there, stamped, Rng::new(1));
    let syn = client.poll(Duration::ZERO).remove(0).bytes;
    let mut server = Tcp::answer(back, stamped, Rng::new(2), &parse(&syn).unwrap(), &syn);
    let answer = server.poll(Duration::ZERO).remove(0).bytes;
    client.input(&parse(&answer).unwrap(), &answer, Duration::ZERO);
    let mut hear = |from: &mut Tcp, len: usize| {
        from.sender.data = vec![7; len];
        from.sender.window = u32::MAX / 2;
        from.sender.next = from.sender.acknowledged;
        for frame in from.poll(Duration::ZERO) {
            server.input(&parse(&frame.bytes).unwrap(), &frame.bytes, Duration::ZERO);
        }
        server.complaint().map(str::to_owned)
    };
    assert_eq!(hear(&mut client, 19_000), None);
    assert!(hear(&mut client, 21_000).unwrap().contains("no window"));
    client.agreed.timestamps = false;
    assert!(hear(&mut client, 21_000).unwrap().contains("timestamps"));
}

#[test]
fn a_refusal_is_told_from_a_stray_reset() {
    let there = Route { source: ([10, 0, 0, 1], 1).into(), destination: ([10, 0, 0, 2], 2).into() };
    let back = Route { source: there.destination, destination: there.source };
    let mut client = Tcp::dial(there, MANNER, Rng::new(1));
    let syn = parse(&client.poll(Duration::ZERO)[0].bytes).unwrap();
    let mut hear = |syn: &Packet| {
        let rst = refusal(back, syn).unwrap();
        client.input(&parse(&rst.bytes).unwrap(), &rst.bytes, Duration::ZERO);
        client.end_of_it()
    };
    assert_eq!(hear(&Packet { sequence: syn.sequence.wrapping_add(1), ..syn }), None);
    assert_eq!(hear(&syn), Some(End::Refused));
}
