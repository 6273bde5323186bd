//! Whatever a target sends, every probe ends in time, and nothing is left of it.

use etherparse::{PacketBuilder, TcpHeader};
use proptest::prelude::*;
use wire::Addr;

use super::*;

/// A segment beside what a target should send: flags, how far from the right numbers, and bytes.
type Segment = (u8, i32, i32, u16, Vec<u8>);

fn segments() -> impl Strategy<Value = Vec<(u64, Segment)>> {
    let near = || prop_oneof![4 => Just(0), 3 => -3i32..4, 1 => any::<i32>()];
    let flags =
        prop_oneof![3 => Just(ACK), 2 => Just(SYN | ACK), 1 => Just(TcpFlags::FIN | ACK), 2 => 0u8..64];
    let bytes = prop_oneof![
        3 => Just(Vec::new()),
        2 => prop::collection::vec(any::<u8>(), 0..1400),
        1 => Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just([22, 3, 3, 0, 4, 14, 0, 0, 0].to_vec()),
    ];
    let window = prop_oneof![3 => Just(1000u16), 1 => any::<u16>()];
    let segment = (flags, near(), near(), window, bytes);
    prop::collection::vec((0u64..3000, segment), 0..40)
}

fn checks() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(r#"protocol = "tcp""#), Just(r#"protocol = "http""#), Just(r#"protocol = "https""#)]
}

/// A packet with such a segment.
fn packet((from, to): (Addr, Addr), ports: (u16, u16), numbers: (u32, u32), segment: &Segment) -> Vec<u8> {
    let (flags, .., window, bytes) = segment;
    let mut header = TcpHeader::new(ports.0, ports.1, numbers.0, *window);
    header.acknowledgment_number = numbers.1;
    let has = |bit| flags & bit != 0;
    (header.fin, header.syn, header.rst) = (has(1), has(2), has(4));
    (header.psh, header.ack, header.urg) = (has(8), has(16), has(32));
    let ip = if from.is_v4() {
        PacketBuilder::ipv4(from.v4_octets(), to.v4_octets(), 64)
    } else {
        PacketBuilder::ipv6(from.octets(), to.octets(), 64)
    };
    let mut packet = Vec::new();
    ip.tcp_header(header).write(&mut packet, bytes).unwrap();
    packet
}

/// Takes away the target, and sees that nothing is left.
fn ends_clean(world: &mut World) {
    world.manners.clear();
    world.reload(&file("", &["10.2.0.2:8080"]));
    world.pass(seconds(6));
    world.assert_clean();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn segments_of_any_kind(check in checks(), script in segments(), v6: bool) {
        let at = if v6 { "[fd02::2]:8080" } else { "10.2.0.2:8080" };
        let mut world = World::new(&file(&every_ten(check), &[at]));
        world.pass(seconds(1));
        let mut sent = 7000u32;
        for (pause, segment) in script {
            let (flags, ahead, acknowledged, _, bytes) = &segment;
            let Some(last) = world.ours().last().map(|seen| seen.packet) else { break };
            let right = last.sequence.wrapping_add(last.sequence_len());
            let numbers = (sent.wrapping_add_signed(*ahead), right.wrapping_add_signed(*acknowledged));
            let (ends, ports) = ((last.destination, last.source), (8080, last.source_port));
            world.reach_worker(packet(ends, ports, numbers, &segment));
            if *ahead == 0 {
                sent = sent.wrapping_add(bytes.len() as u32 + u32::from(flags & 3 != 0));
            }
            world.pass(millis(pause));
        }
        ends_clean(&mut world);
    }

    #[test]
    fn bytes_of_any_kind_over_a_sound_connection(
        check in checks(),
        banner in prop::collection::vec(any::<u8>(), 0..2000),
        reply in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20_000),
            Just(b"HTTP/1.1 200 OK\r\n".repeat(3000)),
            Just(vec![b'\n'; 20_000]),
        ],
        piece in 1usize..3000,
        closes_first: bool,
        clings: bool,
    ) {
        let manner = Manner { banner, reply, piece: Some(piece), closes_first, clings, ..Manner::open() };
        let mut world = World::of(check, manner);
        world.pass(seconds(3));
        ends_clean(&mut world);
    }

    #[test]
    fn tls_that_is_damaged_on_its_way(at in 0usize..3000, value: u8, old: bool) {
        let version = if old { &rustls::version::TLS12 } else { &rustls::version::TLS13 };
        let good = Manner::replying("HTTP/1.1 200 OK\r\n\r\n").over_tls(&[version]);
        let mut world = World::of(r#"protocol = "https""#, Manner { damages: Some((at, value)), ..good });
        world.pass(seconds(6));
        prop_assert_eq!(world.worker.probes(), 0);
        ends_clean(&mut world);
    }
}
