//! What must hold for every frame that leaves, and for one that was rewritten beside the one that it was.

use std::net::IpAddr;

use wire::{Checksum, Offload};

use crate::invariants::Arrived;
use crate::making::{INTERFACE, NODE, Shifting, address, kind_of};
use crate::packets::{ICMP, ICMP_V6, Layout, TCP, UDP, double_word, word};
use crate::world::{PROVIDER, Sent};

const SYN: u8 = 2;
const ACK: u8 = 16;

/// The most that an ICMP error may take (RFC 1812, RFC 4443).
const LONGEST_REPORT: [usize; 2] = [576, 1280];

/// What a frame that leaves may be.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The longest packet on the wire.
    pub(crate) mtu: usize,
    /// Whether the devices take finished frames only.
    pub(crate) plain: bool,
}

/// Judges a frame that leaves; `right` is one that must have right checksums.
pub(crate) fn judge(sent: &Sent, right: bool, limits: Limits) {
    let bytes = &sent.bytes;
    let layout = Layout::of(bytes).expect("what leaves is as long as it says");
    let v6 = layout.source.is_ipv6();
    let own = if sent.device.index() == PROVIDER { NODE } else { INTERFACE };
    assert_eq!(layout.source, address(own, v6), "what leaves carries our address on that side, and no other");
    assert!(hops(bytes) > 0, "what leaves can still go somewhere");
    assert!(lengths_agree(bytes, &layout), "the transport header fits the packet");
    if right {
        assert!(layout.header_is_right(bytes), "a wrong IPv4 header checksum");
        let partial = sent.offload.checksum == Checksum::Partial;
        let whole = layout.fragment.is_none();
        assert!(!whole || layout.checksum_is_right(bytes, partial), "a wrong checksum");
    }
    if is_report(bytes, &layout) {
        assert!(bytes.len() <= LONGEST_REPORT[usize::from(v6)], "an ICMP error of {} bytes", bytes.len());
    }
    judge_offload(sent, &layout, limits);
}

/// The kernel can make sense of the offload header.
fn judge_offload(sent: &Sent, layout: &Layout, limits: Limits) {
    let (bytes, offload) = (&sent.bytes, sent.offload);
    assert!(!limits.plain || offload == Offload::NONE, "work left to a device that does none");
    let raw = offload.encode(bytes);
    assert_eq!(Offload::decode(&raw), Ok(offload));
    if offload.checksum == Checksum::Partial {
        let [start, offset] = [6, 8].map(|at| usize::from(u16::from_ne_bytes([raw[at], raw[at + 1]])));
        assert_eq!(start, layout.transport);
        assert!(start + offset + 2 <= bytes.len(), "a checksum beyond the packet's end");
    }
    let len = match offload.segmentation {
        Some(segmentation) => {
            assert_eq!(offload.checksum, Checksum::Partial, "the kernel cuts only what has no checksum yet");
            assert_eq!(Some(segmentation.kind), kind_of(layout));
            bytes.len().min(payload_at(bytes, layout) + usize::from(segmentation.size))
        }
        None => bytes.len(),
    };
    assert!(len <= limits.mtu, "{len} bytes on the wire");
}

/// Judges a frame that was rewritten: only what must change has changed. Where its sides differ, a consumer's SYN may have lost
/// what it carried, and numbers and windows may be others.
pub(crate) fn judge_rewrite(arrived: &Arrived, sent: &Sent, shifting: Option<Shifting>) {
    let (old, new) = (&arrived.bytes, &sent.bytes);
    let layout = arrived.layout.expect("what is forwarded has a layout");
    let at = layout.transport;
    let payload = payload_at(old, &layout);
    let is_reply = arrived.device.index() == PROVIDER;
    let is_cut = shifting.is_some() && !is_reply && old[at + 13] & SYN != 0 && new.len() == payload;
    assert!(!sent.built && (is_cut || sent.offload == arrived.offload && old.len() == new.len()));
    assert_eq!(hops(old) - 1, hops(new), "one hop");
    if layout.source.is_ipv4() {
        assert_eq!((old[1], &old[4..8]), (new[1], &new[4..8]), "TOS, IP id and DF are the sender's");
        assert_eq!(old[20..at], new[20..at], "IP options are the sender's");
    } else {
        assert_eq!(old[..4], new[..4], "traffic class and flow label are the sender's");
    }
    if layout.protocol == TCP {
        assert_eq!(old[at + 12..at + 14], new[at + 12..at + 14], "length and flags are the sender's");
        match shifting {
            None => {
                assert_eq!(old[at + 4..at + 16], new[at + 4..at + 16], "numbers and window are the sender's")
            }
            Some(shifting) => judge_numbers(&old[at..], &new[at..], shifting, is_reply),
        }
    }
    assert!(is_cut || old[payload..] == new[payload..], "the payload is the sender's");
    let summed = arrived.offload.checksum != Checksum::Partial && layout.checksum(old) != Some(0);
    if summed || layout.protocol == TCP && arrived.offload.checksum != Checksum::Partial {
        let after = Layout::of(new).map(|layout| layout.total_sum(new));
        assert_eq!(Some(layout.total_sum(old)), after, "a right checksum stays right, a wrong one wrong");
    }
}

/// Judges the numbers of a segment of a flow whose sides differ: by a header's length, and where its handshake was the engine's
/// own by what the target's numbers are.
fn judge_numbers(old: &[u8], new: &[u8], shifting: Shifting, is_reply: bool) {
    let [sequence, acknowledgement] =
        [4, 8].map(|at| double_word(new, at).wrapping_sub(double_word(old, at)));
    let header = shifting.header as u32;
    if is_reply {
        assert!(acknowledgement.wrapping_neg() <= header, "a consumer is told of its own bytes only");
        let is_own = sequence == 0 && word(new, 14) <= word(old, 14);
        assert!(shifting.spliced || is_own, "numbers are the target's, and it has no more room than it said");
    } else {
        // To a target that has forgotten a flow with a header, its consumer's SYN goes on with a number of ours.
        let begins_anew = header > 0 && old[13] & (SYN | ACK) == SYN;
        assert!(
            begins_anew || [0, header].contains(&sequence),
            "a target's numbers are the consumer's, and a header's length"
        );
        assert!(shifting.spliced || acknowledgement == 0, "what is acknowledged is what the target has sent");
        assert_eq!(word(old, 14), word(new, 14), "the window is the consumer's");
    }
}

/// Whether the packet goes from `source` to `destination`.
pub(crate) fn is_between(sent: &Sent, source: IpAddr, destination: IpAddr) -> bool {
    Layout::of(&sent.bytes).is_some_and(|layout| (layout.source, layout.destination) == (source, destination))
}

fn lengths_agree(bytes: &[u8], layout: &Layout) -> bool {
    match layout.protocol {
        _ if layout.fragment.is_some() => true,
        TCP => (layout.transport + 20..=bytes.len()).contains(&payload_at(bytes, layout)),
        UDP => usize::from(word(bytes, layout.transport + 4)) == bytes.len() - layout.transport,
        ICMP | ICMP_V6 => bytes.len() >= layout.transport + 8,
        _ => false,
    }
}

fn payload_at(bytes: &[u8], layout: &Layout) -> usize {
    match layout.protocol {
        TCP => layout.transport + usize::from(bytes[layout.transport + 12] >> 4) * 4,
        _ => layout.transport + 8,
    }
}

fn is_report(bytes: &[u8], layout: &Layout) -> bool {
    let kind = bytes.get(layout.transport).copied();
    match layout.protocol {
        ICMP => kind != Some(0),
        ICMP_V6 => kind.is_some_and(|kind| kind < 128),
        _ => false,
    }
}

fn hops(bytes: &[u8]) -> u8 {
    bytes[if bytes[0] >> 4 == 4 { 8 } else { 7 }]
}
