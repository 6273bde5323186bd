//! A script: what the peers do to two relayed connections, as types and as the bytes that the fuzzer mutates. Every byte
//! string is a script (one that ends in the middle of a step ends before it), and every script has its bytes.

/// How the relay is set up, and what happens to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// The set-up.
    pub setting: Setting,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// How the relay is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Setting {
    /// The consumer speaks IPv6.
    pub consumer_v6: bool,
    /// The target speaks IPv6.
    pub target_v6: bool,
    /// The devices have no offloads: every frame leaves finished.
    pub plain_devices: bool,
    /// There is memory for little more than the beginning.
    pub little_memory: bool,
}

/// One of the two peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Whoever has opened the connection.
    Consumer,
    /// Whoever is dialled.
    Target,
}

/// Something happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A peer sends a segment.
    Send(Side, Segment),
    /// A peer acknowledges all that it has heard, and sends so much more.
    Answer(Side, u16),
    /// Hundredths of a second go by.
    Pass(u16),
    /// A router says that something this far behind what is under way was too big for this MTU.
    TooBig(Side, i16, u16),
    /// The connections are quiet, says their owner.
    Rest,
    /// Their owner has had enough.
    Abort,
}

/// What a sequence number is counted from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Base {
    /// What comes after all that the peer has sent in order.
    #[default]
    Next,
    /// What the relay has acknowledged.
    Acknowledged,
    /// The end of the window that the relay grants.
    Edge,
    /// The beginning.
    Initial,
}

/// A segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// TCP's flags.
    pub flags: u8,
    /// What its sequence number is counted from,
    pub base: Base,
    /// and how far it lies beside that.
    pub shift: i16,
    /// How far its acknowledgement lies beside what the peer has heard.
    pub acknowledgement: i16,
    /// Its window.
    pub window: u16,
    /// Its options, at most 40 bytes.
    pub options: Vec<u8>,
    /// How much payload.
    pub payload: u16,
    /// How it arrives.
    pub left: Left,
}

/// What the kernel says about a checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Left {
    /// Nothing; it is right.
    #[default]
    Nothing,
    /// Nothing; and it is wrong, because somebody else has made up the payload.
    Forged,
    /// That it is right.
    Verified,
    /// That it is not there yet.
    Checksum,
}

const BASES: [Base; 4] = [Base::Next, Base::Acknowledged, Base::Edge, Base::Initial];
const LEFTS: [Left; 4] = [Left::Nothing, Left::Forged, Left::Verified, Left::Checksum];

impl Script {
    /// The script that these bytes are.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut input = Input(bytes);
        let setting = Setting::from_bits(input.byte().unwrap_or(0));
        Self { setting, steps: std::iter::from_fn(|| Step::decode(&mut input)).collect() }
    }

    /// The bytes that are this script.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.setting.to_bits()];
        self.steps.iter().for_each(|step| step.encode(&mut out));
        out
    }
}

impl Setting {
    fn from_bits(bits: u8) -> Self {
        Self {
            consumer_v6: bits & 1 != 0,
            target_v6: bits & 2 != 0,
            plain_devices: bits & 4 != 0,
            little_memory: bits & 8 != 0,
        }
    }

    fn to_bits(self) -> u8 {
        u8::from(self.consumer_v6)
            | u8::from(self.target_v6) << 1
            | u8::from(self.plain_devices) << 2
            | u8::from(self.little_memory) << 3
    }
}

impl Step {
    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let kind = input.byte()?;
        let side = if kind & 8 == 0 { Side::Consumer } else { Side::Target };
        Some(match kind & 7 {
            0..=2 => Self::Send(side, Segment::decode(input)?),
            3 => Self::Answer(side, input.word()?),
            4 => Self::Pass(input.word()?),
            5 => Self::TooBig(side, input.word()? as i16, input.word()?),
            6 => Self::Rest,
            _ => Self::Abort,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let kind = |kind: u8, side: Side| kind | if side == Side::Target { 8 } else { 0 };
        match self {
            Self::Send(side, segment) => {
                out.push(kind(0, *side));
                segment.encode(out);
            }
            Self::Answer(side, payload) => {
                out.push(kind(3, *side));
                out.extend(payload.to_be_bytes());
            }
            Self::Pass(hundredths) => {
                out.push(4);
                out.extend(hundredths.to_be_bytes());
            }
            Self::TooBig(side, behind, mtu) => {
                out.push(kind(5, *side));
                out.extend(behind.to_be_bytes());
                out.extend(mtu.to_be_bytes());
            }
            Self::Rest => out.push(6),
            Self::Abort => out.push(7),
        }
    }
}

impl Segment {
    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (flags, places) = (input.byte()?, input.byte()?);
        let (shift, acknowledgement) = (input.word()? as i16, input.word()? as i16);
        let (window, payload) = (input.word()?, input.word()?);
        let options = input.byte()? % 41;
        Some(Self {
            flags,
            base: BASES[usize::from(places & 3)],
            shift,
            acknowledgement,
            window,
            options: input.bytes(options.into())?.to_vec(),
            payload,
            left: LEFTS[usize::from(places >> 2 & 3)],
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.flags, self.base as u8 | (self.left as u8) << 2]);
        for word in [self.shift as u16, self.acknowledgement as u16, self.window, self.payload] {
            out.extend(word.to_be_bytes());
        }
        out.push(self.options.len() as u8);
        out.extend(&self.options);
    }
}

/// What is left to decode.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(len)?;
        self.0 = left;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    fn word(&mut self) -> Option<u16> {
        self.bytes(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}
