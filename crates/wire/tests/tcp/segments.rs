//! Segments of our own, read by somebody else.

use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use proptest::prelude::*;
use wire::{
    SEGMENT_CAPACITY, Segment, SynOptions, TcpFlags, checksum_is_valid, header_checksum_is_valid, parse,
};

use crate::model::{Sent, sent};

fn options() -> impl Strategy<Value = SynOptions> {
    use prop::option::of;
    (of(any::<u16>()), of(0..=14u8), any::<bool>(), of(any::<[u32; 2]>())).prop_map(
        |(mss, window_scale, sack_permitted, timestamps)| SynOptions {
            mss,
            window_scale,
            sack_permitted,
            timestamps,
        },
    )
}

/// What etherparse reads among the options.
fn read(tcp: &etherparse::TcpSlice<'_>) -> SynOptions {
    let mut read = SynOptions::default();
    for option in tcp.options_iterator() {
        match option.unwrap() {
            TcpOptionElement::MaximumSegmentSize(mss) => read.mss = Some(mss),
            TcpOptionElement::WindowScale(scale) => read.window_scale = Some(scale),
            TcpOptionElement::SelectiveAcknowledgementPermitted => read.sack_permitted = true,
            TcpOptionElement::Timestamp(value, echo) => read.timestamps = Some([value, echo]),
            _ => {}
        }
    }
    read
}

proptest! {
    #[test]
    fn a_segment_is_read_as_it_was_meant(sent in sent(), options in options()) {
        let Sent { source, destination, flags, sequence, acknowledgement, window, payload, .. } = &sent;
        let segment = Segment {
            flags: TcpFlags::new(*flags),
            sequence: *sequence,
            acknowledgement: *acknowledgement,
            window: *window,
            options,
            payload,
        };
        // What was in the buffer before is not seen.
        let mut buffer = [0xaa; SEGMENT_CAPACITY];
        let len = segment.write_between(*source, *destination, &mut buffer);
        let bytes = &buffer[..len];
        let packet = parse(bytes).unwrap();
        prop_assert!(checksum_is_valid(bytes, &packet) && header_checksum_is_valid(bytes));
        prop_assert_eq!(SynOptions::read(bytes, &packet), options);

        let whole = SlicedPacket::from_ip(bytes).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = whole.transport else { panic!("no TCP") };
        prop_assert_eq!((tcp.source_port(), tcp.destination_port()), (source.1, destination.1));
        prop_assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (*sequence, *acknowledgement));
        prop_assert_eq!((tcp.slice()[13], tcp.window_size(), tcp.urgent_pointer()), (*flags, *window, 0));
        prop_assert_eq!(read(&tcp), options);
        prop_assert_eq!(tcp.payload(), &payload[..payload.len().min(100)]);
        let addresses = match whole.net {
            Some(NetSlice::Ipv4(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            Some(NetSlice::Ipv6(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            _ => panic!("no IP"),
        };
        prop_assert_eq!(addresses, (source.0.ip(), destination.0.ip()));
    }
}

#[test]
fn the_largest_segment_fits() {
    let options =
        SynOptions { mss: Some(1), window_scale: Some(2), sack_permitted: true, timestamps: Some([3, 4]) };
    let segment = Segment { options, payload: &[7; 2000], ..Segment::default() };
    let end = (wire::Addr::v6([0xfd; 16]), 1);
    assert_eq!(segment.write_between(end, end, &mut [0; SEGMENT_CAPACITY]), SEGMENT_CAPACITY);
}
