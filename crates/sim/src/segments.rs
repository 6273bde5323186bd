//! What a kernel does with a frame that leaves work undone, for a device that wants none: it completes the checksum, and cuts
//! a super-packet into its segments.

use wire::{Offload, Packet, Protocol, TcpFlags, parse};

use crate::packet::{OwnedFrame, Shape, TcpHeader, route_of, tcp, udp};

/// On the last of a super-packet's segments only.
const LAST: u8 = TcpFlags::FIN | 0x08;

/// The whole frames that a host's frame stands for.
pub fn finish(frame: OwnedFrame) -> Vec<OwnedFrame> {
    match parse(&frame.bytes) {
        Ok(packet) if frame.offload != Offload::NONE => match packet.protocol {
            Protocol::Udp => vec![udp(route_of(&packet), &frame.bytes[packet.payload..], Shape::Plain)],
            Protocol::Tcp => segments(&frame, &packet),
        },
        _ => vec![frame],
    }
}

fn segments(frame: &OwnedFrame, packet: &Packet) -> Vec<OwnedFrame> {
    let (bytes, payload) = (&frame.bytes, &frame.bytes[packet.payload..]);
    let size = frame.offload.segmentation.map_or(bytes.len(), |segmentation| segmentation.size.into());
    let window = packet.transport + 14;
    let segment = |start: usize| {
        let end = payload.len().min(start + size);
        let flags = packet.flags.bits() & if end == payload.len() { u8::MAX } else { !LAST };
        let header = TcpHeader {
            sequence: packet.sequence.wrapping_add(start as u32),
            acknowledgement: packet.acknowledgement,
            flags,
            window: u16::from_be_bytes([bytes[window], bytes[window + 1]]),
            options: bytes[packet.transport + 20..packet.payload].to_vec(),
        };
        tcp(route_of(packet), &header, &payload[start..end], Shape::Plain)
    };
    (0..payload.len().max(1)).step_by(size).map(segment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Route, checksums_are_right};

    fn frame(len: usize, shape: Shape) -> OwnedFrame {
        let route = Route { source: ([10, 0, 0, 1], 1).into(), destination: ([10, 0, 0, 2], 2).into() };
        let header = TcpHeader {
            sequence: u32::MAX - 5,
            flags: TcpFlags::ACK | TcpFlags::FIN,
            ..TcpHeader::default()
        };
        let payload: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
        tcp(route, &header, &payload, shape)
    }

    #[test]
    fn a_super_packet_becomes_its_segments() {
        let parts = finish(frame(250, Shape::Super(100)));
        let packets: Vec<Packet> = parts.iter().map(|part| parse(&part.bytes).unwrap()).collect();
        assert_eq!(packets.iter().map(Packet::payload_len).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(packets.iter().map(|part| part.flags.fin()).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(packets[1].sequence, 94, "the numbers go on");
        let payload = parts.iter().zip(&packets).flat_map(|(part, packet)| &part.bytes[packet.payload..]);
        assert!(payload.copied().eq((0..250).map(|byte| byte as u8)));
        assert!(
            parts
                .iter()
                .zip(&packets)
                .all(|(part, packet)| { part.offload == Offload::NONE && checksums_are_right(part, packet) })
        );
    }

    #[test]
    fn what_is_one_packet_stays_one() {
        for len in [0, 100] {
            for shape in [Shape::Plain, Shape::Partial] {
                let finished = finish(frame(len, shape));
                assert_eq!((finished.len(), &finished[0].bytes), (1, &frame(len, Shape::Plain).bytes));
            }
        }
    }
}
