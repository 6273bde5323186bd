//! A script: what the network does to the engine, as types and as the bytes that the fuzzer mutates. Every byte string is
//! a script (one that ends in the middle of a step ends before it), and every script has its bytes.

/// How the engine is set up, and what happens to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// The set-up.
    pub setting: Setting,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// How the engine is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Setting {
    /// `run.icmp = "helpful"`.
    pub helpful: bool,
    /// Two workers instead of one.
    pub two_workers: bool,
    /// A table for eight flows only.
    pub small_table: bool,
    /// Whoever is handed a frame has no room for it.
    pub full_rings: bool,
    /// The devices have no offloads: every frame is finished.
    pub plain_devices: bool,
    /// Targets are checked.
    pub checked: bool,
}

/// Something happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A packet is made, treated and handed in.
    Send(Making, Treatment),
    /// Tenths of a second go by, and the workers do what is due.
    Pass(u16),
    /// A device goes.
    Detach(u8),
    /// A device comes.
    Attach(u8),
    /// Somebody finds out how a target is.
    Judge {
        /// Which.
        target: u8,
        /// Whether it is well.
        well: bool,
    },
    /// Another file is put in force: see [`crate::world`].
    Reload(u8),
}

/// How a packet is made. A number that names something is taken modulo how many there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Making {
    /// A consumer sends something that it has not been asked for.
    Ask {
        /// Which consumer, family, address and port: see [`Asker`].
        asker: Asker,
        /// Which of the interface's ports.
        door: u8,
        /// What it says.
        segment: Segment,
    },
    /// Whoever got the packet that left so many packets ago answers it.
    Answer {
        /// Counted from the latest, which is 0.
        back: u8,
        /// What it says.
        segment: Segment,
    },
    /// A router on the way of the packet that left so many packets ago sends an ICMP error about it.
    Report {
        /// Counted from the latest, which is 0.
        back: u8,
        /// ICMP's type and code.
        kind: [u8; 2],
        /// The last half of the header's second word: where a next-hop MTU stands.
        word: u16,
        /// How much of the packet is quoted.
        quoted: u16,
    },
    /// The packet that left so many packets ago arrives again, as it was routed.
    Again {
        /// Counted from the latest, which is 0.
        back: u8,
        /// From which device.
        device: u8,
    },
    /// These very bytes arrive.
    Raw {
        /// From which device.
        device: u8,
        /// The packet, or what is meant to be one.
        bytes: Vec<u8>,
    },
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asker {
    /// The second of the two consumers.
    pub second: bool,
    /// Over IPv6.
    pub v6: bool,
    /// Which source address: the usual one, another, one like a node's, none.
    pub address: u8,
    /// Which of eight source ports.
    pub port: u8,
}

/// What a TCP segment or a datagram says; where it is neither, only the payload counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// TCP's flags.
    pub flags: u8,
    /// How far its sequence number lies beside the right one.
    pub shift: i8,
    /// TCP's options, at most 40 bytes.
    pub options: Vec<u8>,
    /// How much payload.
    pub payload: u16,
}

/// What happens to a packet after it was made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Treatment {
    /// The second worker gets it, if there is one.
    pub second_worker: bool,
    /// Its pieces go to the workers in turn.
    pub spread: bool,
    /// Its checksums are made right after it was damaged.
    pub mend: bool,
    /// What the kernel has left undone.
    pub left: Left,
    /// Bytes that are overwritten: where, and with what.
    pub patches: Vec<(u16, u8)>,
    /// It is cut into these pieces: offset and length, in units of eight bytes. None: it stays whole.
    pub pieces: Vec<(u16, u16)>,
    /// Its identification, if it is cut.
    pub id: u8,
}

/// What the kernel has left undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Left {
    /// Nothing; nobody has verified the checksum.
    #[default]
    Nothing,
    /// Nothing, and the checksum is right.
    Verified,
    /// The checksum.
    Checksum,
    /// The checksum, and to cut it into segments of this size.
    Segments(u16),
}

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
            helpful: bits & 1 != 0,
            two_workers: bits & 2 != 0,
            small_table: bits & 4 != 0,
            full_rings: bits & 8 != 0,
            plain_devices: bits & 16 != 0,
            checked: bits & 32 != 0,
        }
    }

    fn to_bits(self) -> u8 {
        u8::from(self.helpful)
            | u8::from(self.two_workers) << 1
            | u8::from(self.small_table) << 2
            | u8::from(self.full_rings) << 3
            | u8::from(self.plain_devices) << 4
            | u8::from(self.checked) << 5
    }
}

impl Step {
    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let making = match input.byte()? % 10 {
            0 => {
                let asker = Asker::from_bits(input.byte()?);
                Making::Ask { asker, door: input.byte()?, segment: Segment::decode(input)? }
            }
            1 => Making::Answer { back: input.byte()?, segment: Segment::decode(input)? },
            2 => Making::Report {
                back: input.byte()?,
                kind: [input.byte()?, input.byte()?],
                word: input.word()?,
                quoted: input.word()?,
            },
            3 => {
                let (device, len) = (input.byte()?, input.word()?);
                Making::Raw { device, bytes: input.bytes(len.into())?.to_vec() }
            }
            4 => return Some(Self::Pass(input.word()?)),
            5 => return Some(Self::Detach(input.byte()?)),
            6 => return Some(Self::Attach(input.byte()?)),
            8 => {
                let judged = input.byte()?;
                return Some(Self::Judge { target: judged >> 1, well: judged & 1 != 0 });
            }
            9 => return Some(Self::Reload(input.byte()?)),
            _ => Making::Again { back: input.byte()?, device: input.byte()? },
        };
        Some(Self::Send(making, Treatment::decode(input)?))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Send(making, treatment) => {
                making.encode(out);
                treatment.encode(out);
            }
            Self::Pass(tenths) => {
                out.push(4);
                out.extend(tenths.to_be_bytes());
            }
            Self::Detach(device) => out.extend([5, *device]),
            Self::Attach(device) => out.extend([6, *device]),
            Self::Judge { target, well } => out.extend([8, target << 1 | u8::from(*well)]),
            Self::Reload(variant) => out.extend([9, *variant]),
        }
    }
}

impl Making {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ask { asker, door, segment } => {
                out.extend([0, asker.to_bits(), *door]);
                segment.encode(out);
            }
            Self::Answer { back, segment } => {
                out.extend([1, *back]);
                segment.encode(out);
            }
            Self::Report { back, kind, word, quoted } => {
                out.extend([2, *back, kind[0], kind[1]]);
                out.extend(word.to_be_bytes());
                out.extend(quoted.to_be_bytes());
            }
            Self::Again { back, device } => out.extend([7, *back, *device]),
            Self::Raw { device, bytes } => {
                out.extend([3, *device]);
                out.extend((bytes.len() as u16).to_be_bytes());
                out.extend(bytes);
            }
        }
    }
}

impl Asker {
    fn from_bits(bits: u8) -> Self {
        Self { second: bits & 1 != 0, v6: bits & 2 != 0, address: bits >> 2 & 3, port: bits >> 4 & 7 }
    }

    fn to_bits(self) -> u8 {
        u8::from(self.second) | u8::from(self.v6) << 1 | self.address << 2 | self.port << 4
    }
}

impl Segment {
    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (flags, shift, options) = (input.byte()?, input.byte()? as i8, input.byte()? % 41);
        Some(Self { flags, shift, options: input.bytes(options.into())?.to_vec(), payload: input.word()? })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.flags, self.shift as u8, self.options.len() as u8]);
        out.extend(&self.options);
        out.extend(self.payload.to_be_bytes());
    }
}

impl Treatment {
    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (bits, counts) = (input.byte()?, input.byte()?);
        let left = match bits >> 3 & 3 {
            0 => Left::Nothing,
            1 => Left::Verified,
            2 => Left::Checksum,
            _ => Left::Segments(input.word()?),
        };
        let patches =
            (0..counts & 15).map(|_| Some((input.word()?, input.byte()?))).collect::<Option<_>>()?;
        let pieces = (0..counts >> 4).map(|_| Some((input.word()?, input.word()?))).collect::<Option<_>>()?;
        Some(Self {
            second_worker: bits & 1 != 0,
            spread: bits & 2 != 0,
            mend: bits & 4 != 0,
            left,
            patches,
            pieces,
            id: input.byte()?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let left = match self.left {
            Left::Nothing => 0,
            Left::Verified => 1,
            Left::Checksum => 2,
            Left::Segments(_) => 3,
        };
        let flags = u8::from(self.second_worker) | u8::from(self.spread) << 1 | u8::from(self.mend) << 2;
        out.extend([flags | left << 3, (self.pieces.len() as u8) << 4 | self.patches.len() as u8]);
        if let Left::Segments(size) = self.left {
            out.extend(size.to_be_bytes());
        }
        for (at, value) in &self.patches {
            out.extend(at.to_be_bytes());
            out.push(*value);
        }
        for (offset, len) in &self.pieces {
            out.extend(offset.to_be_bytes());
            out.extend(len.to_be_bytes());
        }
        out.push(self.id);
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
