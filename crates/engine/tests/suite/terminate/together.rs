//! What comes for terminated connections in one batch: each connection is moved on once, when all of it is in.

use wire::Frame;

use super::*;

/// Gives worker 0 these packets at once, and says what became of them.
fn batch(lab: &mut Lab, device: DeviceId, packets: &[Vec<u8>], now: Duration) -> Said {
    let mut packets = packets.to_vec();
    let mut frames: Vec<_> = packets.iter_mut().map(|bytes| Frame::plain(bytes)).collect();
    let mut said = Said::default();
    lab.workers[0].input(device, &mut frames, now, &mut said);
    assert_eq!(said.verdicts.len(), packets.len(), "each has its verdict");
    said
}

fn flags(packet: &wire::Packet) -> (bool, bool, bool) {
    (packet.flags.syn(), packet.flags.fin(), packet.flags.rst())
}

#[test]
fn bytes_and_a_fin_that_come_together_leave_together_and_are_acknowledged_with_the_answer() {
    let mut lab = Lab::new(1);
    let mut talk = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
    let greeting = talk.far.packet(ACK, b"!");
    talk.far.next += 1;
    let last = talk.far.packet(FIN | ACK, &[]);
    talk.far.next += 1;
    let said = batch(&mut lab, talk.far.device, &[greeting, last], Duration::ZERO);
    let [packet] = talk.near.heard(&said)[..] else { panic!("{:?}", said.sent) };
    assert_eq!((packet.payload_len(), packet.flags.fin(), said.sent.len()), (1, true, 1));
    talk.hear(&said);
    let said = talk.say(&mut lab, Who::Near, FIN | ACK, &[], Duration::ZERO);
    let [packet] = talk.far.heard(&said)[..] else { panic!("{:?}", said.sent) };
    assert_eq!((packet.flags.fin(), packet.acknowledgement), (true, talk.far.next));
    assert_eq!(talk.near.heard(&said).len(), 1, "the last FIN is acknowledged at once");
    let said = talk.say(&mut lab, Who::Far, ACK, &[], Duration::ZERO);
    assert_eq!(closed(&said), [Cause::Finished]);
}

#[test]
fn connections_in_one_batch_do_not_mix() {
    let mut lab = Lab::new(1);
    let talks = [1000, 1001, 1002].map(|port| Talk::open(&mut lab, 0, port, Duration::ZERO));
    let packets: Vec<_> =
        talks.iter().zip([b"a", b"b", b"c"]).map(|(talk, text)| talk.near.packet(ACK, text)).collect();
    let said = batch(&mut lab, talks[0].near.device, &packets, Duration::ZERO);
    let texts: Vec<_> = said.sent.iter().map(|(_, bytes)| bytes[bytes.len() - 1]).collect();
    assert_eq!(texts, b"abc", "each once, in order");
    for talk in &talks {
        assert_eq!(talk.far.heard(&said).len(), 1);
    }
}

/// More than the engine brings near at once.
#[test]
fn a_batch_may_be_of_any_length() {
    let mut lab = Lab::new(1);
    let talk = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
    let packets: Vec<_> = (0..20u8)
        .map(|n| End { next: talk.near.next + u32::from(n), ..talk.near }.packet(ACK, &[n]))
        .collect();
    let said = batch(&mut lab, talk.near.device, &packets, Duration::ZERO);
    let bytes: usize = talk.far.heard(&said).iter().map(wire::Packet::payload_len).sum();
    assert_eq!(bytes, packets.len());
}

/// As of a server that has not read everything when it closes.
#[test]
fn a_reset_takes_nothing_along_that_came_before_it() {
    let mut lab = Lab::new(1);
    let talk = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
    let last = End { next: talk.far.next + 1, ..talk.far }.packet(RST | ACK, &[]);
    let said = batch(&mut lab, talk.far.device, &[talk.far.packet(ACK, b"!"), last], Duration::ZERO);
    let [bytes, reset] = talk.near.heard(&said)[..] else { panic!("{:?}", said.sent) };
    assert_eq!((bytes.payload_len(), reset.flags.rst(), closed(&said)), (1, true, vec![Cause::Reset]));
}

#[test]
fn who_resets_a_connection_and_opens_it_anew_is_heard_in_that_order() {
    let mut lab = Lab::new(1);
    let talk = Talk::open(&mut lab, 0, 1000, Duration::ZERO);
    let syn = tcp(talk.near.own, talk.near.other, SYN, (900_000, 0), &[]);
    let said = batch(&mut lab, talk.near.device, &[talk.near.packet(RST, &[]), syn], Duration::ZERO);
    assert_eq!((closed(&said), lab.workers[0].terminated()), (vec![Cause::Reset], 1));
    let to_target: Vec<_> = said.sent.iter().map(|(_, bytes)| flags(&wire::parse(bytes).unwrap())).collect();
    assert_eq!(to_target, [(false, false, true), (true, false, false)], "a RST, and then a SYN");
}
