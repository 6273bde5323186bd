//! Edits of a TCP header in place: the ceilings of MSS and window, SACK blocks that are not for the receiver, what a SYN asks for
//! beyond an ordinary connection. Every one patches the checksum, as a rewrite does.

use std::ops::Range;

use crate::checksum::raw_sum;
use crate::options::{Options, WINDOW, pair_at};
use crate::patch::Patch;
use crate::rewrite::{negated, patch_complemented, patch_transport};
use crate::{Checksum, Frame, Packet, TcpOption, find_option, mss_of};

const V6_HEADER: usize = 40;
/// Where a TCP header says how long it is, and, in the last bit, whether its sender speaks of accurate ECN.
const OFFSET_AND_AE: usize = 12;

/// Lowers the MSS option of a SYN or SYN-ACK to `ceiling` if it is above. Returns whether it was.
pub fn clamp_mss(frame: &mut Frame<'_>, packet: &Packet, ceiling: u16) -> bool {
    let Some(value) = find_option(frame.bytes, packet, TcpOption::Mss) else { return false };
    if mss_of(frame.bytes, packet) <= Some(ceiling) {
        return false;
    }
    let mut patch = Patch::begin(frame, packet);
    patch.write(value.start, ceiling.to_be_bytes());
    patch.finish();
    true
}

/// Takes so much from the window field of a TCP packet, or all that there is.
pub fn lower_window(frame: &mut Frame<'_>, packet: &Packet, by: u16) {
    let mut patch = Patch::begin(frame, packet);
    patch.map_u16(packet.transport + WINDOW, |window| window.saturating_sub(by));
    patch.finish();
}

/// Keeps of a TCP packet's SACK blocks, the left and the right edge of each, those that are to be kept. NOPs take the place of
/// the others.
pub fn retain_sack(frame: &mut Frame<'_>, packet: &Packet, mut keep: impl FnMut([u32; 2]) -> bool) {
    let mut patch = Patch::begin(frame, packet);
    let mut options = Options::of(packet);
    while let Some((option, blocks)) = options.next(patch.bytes()) {
        if option == TcpOption::Sack {
            retain_blocks(&mut patch, blocks, &mut keep);
        }
    }
    patch.finish();
}

/// The same for the blocks of one option. Those that stay move together, in their order.
fn retain_blocks(patch: &mut Patch<'_>, blocks: Range<usize>, keep: &mut impl FnMut([u32; 2]) -> bool) {
    let option = blocks.start - 2;
    let mut end = blocks.start;
    for at in blocks.clone().step_by(8) {
        let edges = pair_at(patch.bytes(), at);
        if !keep(edges) {
            continue;
        }
        if end != at {
            patch.write(end, edges[0].to_be_bytes());
            patch.write(end + 4, edges[1].to_be_bytes());
        }
        end += 8;
    }
    if end == blocks.start {
        patch.blank(option..blocks.end);
    } else if end != blocks.end {
        patch.write(option + 1, [(end - option) as u8]);
        patch.blank(end..blocks.end);
    }
}

/// Makes an ordinary SYN of one that wants more: without Fast Open (RFC 7413), a cookie or the wish for one; without payload, which
/// is sent again once the connection is open; without MPTCP (RFC 8684), whose own numbers a shift would leave behind; and with no
/// more than ECN as it always was (RFC 3168), since accurate ECN (RFC 9768) counts on both sides what only one of them has.
pub fn make_ordinary(frame: &mut Frame<'_>, packet: &mut Packet) {
    let mut patch = Patch::begin(frame, packet);
    let at = packet.transport + OFFSET_AND_AE;
    let without_ae = patch.bytes()[at] & !1;
    patch.write(at, [without_ae]);
    let mut options = Options::of(packet);
    while let Some((option, value)) = options.next(patch.bytes()) {
        if matches!(option, TcpOption::FastOpen | TcpOption::Multipath) {
            patch.blank(value.start - 2..value.end);
        }
    }
    patch.finish();
    if packet.payload_len() > 0 {
        cut_payload(frame, packet);
    }
}

/// Cuts a packet off where its payload begins.
fn cut_payload(frame: &mut Frame<'_>, packet: &mut Packet) {
    let (bytes, payload) = std::mem::take(&mut frame.bytes).split_at_mut(packet.payload);
    let shorter = negated(payload.len() as u64);
    let delta = match frame.offload.checksum {
        Checksum::Partial => shorter,
        // The payload begins with a whole word: a TCP header has no odd length.
        Checksum::Complete | Checksum::Verified => shorter + negated(raw_sum(payload)),
    };
    patch_transport(bytes, packet, frame.offload.checksum, delta);
    let len = bytes.len();
    if packet.source.is_v4() {
        bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        patch_complemented(bytes, 10, shorter);
    } else {
        bytes[4..6].copy_from_slice(&((len - V6_HEADER) as u16).to_be_bytes());
    }
    packet.len = len;
    frame.bytes = bytes;
    frame.offload.segmentation = None;
}
