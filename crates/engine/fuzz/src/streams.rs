//! What targets are told first: of a client, its header, whole and right, ahead of every byte of its own; of one whose handshake
//! is the engine's own, nothing before that is done.

use std::collections::HashMap;
use std::net::IpAddr;

use engine::Reason;

use crate::invariants::{Arrived, Side};
use crate::making::{VPCES, is_told, shifting};
use crate::packets::{Layout, TCP, double_word};
use crate::world::{PROVIDER, Sent};

/// How long a header is, as AWS writes it.
pub(crate) const HEADER: usize = 100;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What a target has got on one connection.
#[derive(Default)]
struct Stream {
    /// Whose it is.
    client: Option<Side>,
    /// The numbers of its SYNs.
    syns: Vec<u32>,
    /// Where the target has said last that it begins: after one of them, if it is honest, and whoever spoke to it.
    answered: Option<u32>,
    /// Where its header begins, and how many bytes of that were sent.
    header: Option<(u32, usize)>,
    /// The target has acknowledged its header.
    is_heard: bool,
}

/// Every target's, by its side of the connection; and what clients were told in a target's name.
#[derive(Default)]
pub(crate) struct Streams {
    streams: HashMap<Side, Stream>,
    greeted: HashMap<Side, u32>,
}

/// The TCP segment of a packet.
struct Tcp<'a> {
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    payload: &'a [u8],
}

impl Streams {
    /// A packet has arrived: perhaps a target has answered, or acknowledged its header.
    pub(crate) fn hear(&mut self, arrived: &Arrived) {
        let tcp = arrived.layout.and_then(|layout| Tcp::of(&arrived.bytes, &layout));
        let Some((tcp, from)) = tcp.zip(arrived.sender()) else { return };
        let Some(stream) = self.streams.get_mut(&from).filter(|_| tcp.flags & ACK != 0) else { return };
        if tcp.flags & SYN != 0 {
            stream.answered = Some(tcp.acknowledgement);
        }
        if let Stream { header: Some((start, _)), is_heard, .. } = stream {
            *is_heard |= past(tcp.acknowledgement, *start) >= HEADER as i32;
        }
    }

    /// What has been known of this target's connection is of an earlier one.
    pub(crate) fn begin(&mut self, target: &Side) {
        self.streams.remove(target);
    }

    /// Judges a frame that leaves; `cause` is the packet that made it leave, and what became of that, unless it was a clock.
    pub(crate) fn watch(&mut self, sent: &Sent, cause: Option<(&Arrived, Reason)>) {
        let Some(layout) = Layout::of(&sent.bytes) else { return };
        let Some(tcp) = Tcp::of(&sent.bytes, &layout) else { return };
        let Some(to) = Side::receiver(sent.device, &sent.bytes, &layout) else { return };
        let is_spliced = || shifting(to.local.1).is_some_and(|shifting| shifting.spliced);
        if to.device.index() != PROVIDER {
            if sent.built && tcp.flags & (SYN | ACK) == SYN | ACK && is_spliced() {
                self.greeted.insert(to, tcp.sequence);
            }
            return;
        }
        let asks = sent.built && tcp.flags & (SYN | ACK) == SYN;
        let by_splice = cause.filter(|(_, reason)| asks && *reason == Reason::SpliceHandshake);
        if let Some((arrived, _)) = by_splice {
            self.judge_dial(arrived);
        }
        if is_told(to.remote.1) {
            let client = cause.and_then(|(arrived, _)| arrived.sender());
            let client = client.filter(|client| client.device.index() != PROVIDER);
            let stream = self.streams.entry(to).or_default();
            if asks && (by_splice.is_some() || !stream.syns.contains(&tcp.sequence)) {
                assert!(client.is_some(), "who asks a target does so for a client");
                *stream = Stream::default();
            }
            if tcp.flags & SYN != 0 {
                stream.client = stream.client.or(client);
            }
            stream.take(&tcp);
        }
    }

    /// A target is asked when its client has acknowledged what it was told, and not before.
    fn judge_dial(&self, arrived: &Arrived) {
        let tcp = arrived.layout.and_then(|layout| Tcp::of(&arrived.bytes, &layout));
        let (tcp, client) = tcp.zip(arrived.sender()).expect("what is greeted is TCP");
        let is_met = tcp.flags & (SYN | ACK) == ACK
            && self.greeted.get(&client).is_some_and(|told| told.wrapping_add(1) == tcp.acknowledgement);
        assert!(is_met, "a target is asked for one who may not be there");
    }
}

impl Stream {
    /// The target gets one more segment.
    fn take(&mut self, tcp: &Tcp<'_>) {
        if tcp.flags & SYN != 0 {
            if !self.syns.contains(&tcp.sequence) {
                self.syns.push(tcp.sequence);
            }
            return;
        }
        // What a RST carries is nobody's data.
        if tcp.flags & RST != 0 {
            return;
        }
        let mut starts = self.syns.iter().map(|syn| syn.wrapping_add(1)).chain(self.answered);
        let begins = starts.any(|start| start == tcp.sequence);
        let is_another = self.header.is_none_or(|(start, _)| start != tcp.sequence);
        if begins && is_another && tcp.payload.starts_with(SIGNATURE) {
            (self.header, self.is_heard) = (Some((tcp.sequence, 0)), false);
        }
        match &mut self.header {
            Some((start, told)) if !self.is_heard => {
                let header = expected(&self.client.expect("a header is somebody's"));
                let begin = past(tcp.sequence, *start);
                for (place, byte) in (begin..).zip(tcp.payload) {
                    let right = usize::try_from(place).ok().and_then(|place| header.get(place));
                    assert!(right.is_none_or(|right| right == byte), "a wrong byte {place} in a header");
                }
                let end = begin.saturating_add(tcp.payload.len() as i32);
                if (0..=*told as i32).contains(&begin) {
                    *told = (*told).max(end.clamp(0, HEADER as i32) as usize);
                }
                let goes_beyond = !tcp.payload.is_empty() && end > HEADER as i32;
                assert!(!goes_beyond || *told == HEADER, "a client's bytes before all of its header");
            }
            Some(_) => {}
            None => {
                // Where it was tried with several, only the target's answer tells which it is.
                if let [syn] = self.syns[..] {
                    let end =
                        past(tcp.sequence, syn.wrapping_add(1)).saturating_add(tcp.payload.len() as i32);
                    assert!(tcp.payload.is_empty() || end <= 0, "a client's bytes before its header");
                }
            }
        }
    }
}

impl<'a> Tcp<'a> {
    fn of(bytes: &'a [u8], layout: &Layout) -> Option<Self> {
        let segment = bytes.get(layout.transport..).filter(|_| layout.protocol == TCP && layout.begins())?;
        let header = segment.first_chunk::<20>()?;
        Some(Self {
            sequence: double_word(header, 4),
            acknowledgement: double_word(header, 8),
            flags: header[13],
            payload: segment.get(usize::from(header[12] >> 4) * 4..)?,
        })
    }
}

/// The header that tells who this client is.
fn expected(client: &Side) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend(if client.remote.0.is_ipv4() { [0x21, 0x11, 0, 84] } else { [0x21, 0x21, 0, 84] });
    for (address, _) in [client.remote, client.local] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend([client.remote.1, client.local.1].map(u16::to_be_bytes).concat());
    let checksum = bytes.len() + 3;
    bytes.extend([3, 0, 4, 0, 0, 0, 0, 0xea, 0, 23, 1]);
    bytes.extend(VPCES[client.device.index() - 1].bytes());
    let filling = HEADER - bytes.len() - 3;
    bytes.extend([4, 0, filling as u8]);
    bytes.resize(HEADER, 0);
    let sum = crc32c(&bytes);
    bytes[checksum..checksum + 4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Castagnoli's, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let shifted = |sum: u32| sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| shifted(sum)))
}

/// How far a number is past another.
fn past(number: u32, start: u32) -> i32 {
    number.wrapping_sub(start) as i32
}
