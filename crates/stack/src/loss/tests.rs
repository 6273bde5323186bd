use wire::{Addr, Protocol, TcpFlags};

use super::*;

const SEGMENT: u32 = 1000;
const MS: Duration = Duration::from_millis(1);

/// A packet of ours without options, and what it carries behind a TCP header.
fn packet(flags: u8, sequence: u32, acknowledgement: u32, len: usize) -> (Packet, Vec<u8>) {
    let packet = Packet {
        source: Addr::v4([10, 0, 0, 1]),
        destination: Addr::v4([10, 0, 0, 2]),
        protocol: Protocol::Tcp,
        source_port: 1,
        destination_port: 2,
        ttl: 64,
        flags: TcpFlags::new(TcpFlags::ACK | flags),
        sequence,
        acknowledgement,
        transport: 0,
        payload: 20,
        len: 20 + len,
    };
    (packet, vec![0; 20 + len])
}

/// Lets smoltcp build a packet; whether it leaves.
fn build(sender: &mut Sender, leave: Leave, (mut packet, mut bytes): (Packet, Vec<u8>)) -> bool {
    sender.passes(&mut packet, &mut bytes, leave, MS)
}

/// A sender that has sent ten bytes, and a FIN in a packet of its own.
fn sender() -> Sender {
    let mut sender = Sender::new(0, SEGMENT, None);
    assert!(build(&mut sender, Leave::Send(SEGMENT), packet(0, 0, 5, 10)));
    assert!(build(&mut sender, Leave::Send(SEGMENT), packet(TcpFlags::FIN, 10, 5, 0)));
    sender
}

#[test]
fn a_fin_that_is_lost_leaves_with_bytes_that_are_not() {
    for is_lost in [true, false] {
        let mut sender = sender();
        sender.board.condemn_tail(u32::from(is_lost));
        sender.cursor = 0;
        let leave = sender.leave();
        assert_eq!(leave, Leave::Skip(if is_lost { 10 } else { 11 }));
        assert_eq!(build(&mut sender, leave, packet(TcpFlags::FIN, 0, 5, 10)), is_lost);
        assert_eq!(sender.board.lost(), 0);
        assert!(!sender.is_behind());
    }
}

#[test]
fn what_a_packet_that_stays_has_acknowledged_is_owed_until_another_leaves() {
    let mut sender = sender();
    assert!(!build(&mut sender, Leave::Send(SEGMENT), packet(0, 0, 5, 10)));
    assert!(!sender.takes_debt(), "it said nothing new");
    assert!(!build(&mut sender, Leave::Send(SEGMENT), packet(0, 0, 6, 10)));
    assert!(!build(&mut sender, Leave::Nothing, packet(0, 11, 6, 0)));
    assert!(sender.takes_debt());
    assert!(!sender.takes_debt(), "once");
    assert!(!build(&mut sender, Leave::Send(SEGMENT), packet(0, 0, 7, 10)));
    assert!(build(&mut sender, Leave::Send(SEGMENT), packet(0, 11, 7, 3)));
    assert!(!sender.takes_debt());
}

#[test]
fn bytes_that_were_overtaken_acknowledge_as_much_as_what_overtook_them() {
    let mut sender = sender();
    let window = |(packet, mut bytes): (Packet, Vec<u8>), window: u8| {
        bytes[15] = window;
        (packet, bytes)
    };
    let (packet_heard, bytes) = window(packet(0, 5, 10, 0), 9);
    sender.heard(10, &packet_heard, &bytes, true, 2 * MS);
    let version = |acknowledgement, len, field| {
        let (packet, bytes) = window(packet(0, 5, acknowledgement, len), field);
        sender.version(&packet, &bytes, 8)
    };
    assert_eq!(version(10, 3, 7), None);
    assert_eq!(version(4, 3, 7), Some((10, 9)));
    assert_eq!(version(4, 3, 0), Some((10, 9)));
    assert_eq!(version(4, 0, 7), None, "it brings nothing");
    assert_eq!(version(1, 3, 7), None, "it is too old");
    assert_eq!(version(10, 3, 0), Some((10, 1)), "the FIN is under way");
    assert_eq!(version(11, 3, 0), None);
}
