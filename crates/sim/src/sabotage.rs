//! Planted bugs: what a broken forwarder might do, put between the engine and the network. Each must be caught, by the
//! invariant that is there for it.

mod bouncer;
mod edges;
mod numbers;
mod squatter;
mod steering;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use engine::{Message, Shared};
use flow::{FlowPath, Key, NewFlow, Place};
use topology::Id;
use wire::{Addr, Packet, Protocol, parse};

use crate::invariants::Invariant;
use crate::ledger::{Ledger, Sight};
use crate::packet::{OwnedFrame, Talk, mend_checksum};
use crate::recorder::{Batch, Departure};
use crate::stream::{WORD, tag_in};

use bouncer::Bouncer;
use edges::{Copyist, Coward};
use squatter::Squatter;

/// Where the buffers of all terminated connections may take less than this, memory is scarce.
const LITTLE: usize = 1 << 20;
/// With bytes in the buffers of so many, scarce memory is overspent.
const MANY: usize = 128;

/// A planted bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// A consumer's frame goes to another consumer, that has the same tuple in use.
    Misdeliver,
    /// Two bytes of a payload that was relayed change places; the checksum is right.
    SwapBytes,
    /// A second flow to a target takes the first one's source port.
    ShareAPort,
    /// A frame's verdict is never said.
    SwallowAVerdict,
    /// A checksum is not brought up to date.
    SpoilAChecksum,
    /// What is answered to consumers is never sent.
    SwallowAnswers,
    /// A source port is taken and never given back.
    LeakAPort,
    /// An error goes on in the name of the router that it comes from.
    LeaveTheRouter,
    /// An error goes on with the quoted addresses as they came.
    LeaveTheQuote,
    /// An error quotes more than every network carries.
    QuoteTooMuch,
    /// A damaged error goes on with a right checksum.
    HealTheDamaged,
    /// An error is passed on again and again.
    FloodErrors,
    /// A flow ends when there is an error about it.
    EndOnAnError,
    /// An error about nothing is passed on.
    PassOnTheUnknown,
    /// Fragments go out with the identifiers that they came with.
    KeepIdentifiers,
    /// A fragment goes out again, some bytes further on.
    LetOverlap,
    /// A fragment goes to another consumer, or to nobody.
    MisdeliverAFragment,
    /// A fragment that was kept is never sent, and nobody is told.
    LoseAKeptFragment,
    /// What should leave by a device that is gone is forwarded nevertheless.
    ForwardToNowhere,
    /// No worker is told that a device is gone.
    KeepTheGone,
    /// No worker is told that work may not be left undone any more.
    KeepOffloading,
    /// What the forwarder builds has no timestamps, whatever was agreed upon.
    LeaveOutTimestamps,
    /// What the forwarder builds is cut as if its receiver took segments of any length.
    IgnoreTheMss,
    /// Windows are taken to be larger than their hosts have announced.
    MisreadWindows,
    /// A connection ends in a panic.
    Panic,
    /// Memory of terminated connections is taken and never given back.
    LeakMemory,
    /// Where memory is scarce, more of it is taken than there is.
    OverspendMemory,
    /// A target that has fallen ill is taken to be well.
    CallTheSickWell,
    /// No health check leaves.
    AskNobody,
    /// A newcomer is sent to a target that takes none.
    SendToTheSick,
    /// Flows that are to end go on.
    PardonAll,
    /// Flows that are to go on end.
    EndTheInnocent,
    /// Nobody is told that his connection was ended.
    EndInSilence,
    /// A header names another client.
    TellOfAnother,
    /// A header comes before its client has said anything.
    TellTooEarly,
    /// A health check is announced as a client's connection.
    AnnounceAChecker,
    /// A target's acknowledgement of the header goes on to its consumer.
    AcknowledgeTheHeader,
    /// What a target says of what has come out of order goes on in its own numbers.
    LeaveTheBlocks,
    /// A consumer is told of all the room that its target has, the header's too.
    GrantTheWholeWindow,
    /// A target's clock goes on as if it were the one that its consumer was told of.
    LeaveTheClock,
    /// A packet of a spliced flow goes on with its sender's number.
    LeaveTheNumber,
    /// A target is dialled by whoever has sent a SYN.
    DialAtOnce,
    /// An error quotes what its receiver has sent in the numbers of the other side.
    QuoteTheOtherSide,
    /// What was never sent is acknowledged.
    AcknowledgeTheUnsent,
    /// When room was made, it is somebody else who is turned away.
    TurnAwayAnother,
}

impl Sabotage {
    /// What the forwarder makes of the operator's file.
    pub fn misread_file(self, file: &str) -> Cow<'_, str> {
        numbers::misread(self, file)
    }

    /// The invariant that must notice.
    pub const fn caught_by(self) -> Invariant {
        match self {
            Self::Misdeliver | Self::MisdeliverAFragment => Invariant::OwnSideOnly,
            Self::SwapBytes => Invariant::BytesInOrder,
            Self::TellOfAnother | Self::TellTooEarly | Self::AnnounceAChecker => Invariant::HeaderRight,
            Self::AcknowledgeTheHeader
            | Self::LeaveTheBlocks
            | Self::GrantTheWholeWindow
            | Self::LeaveTheClock
            | Self::LeaveTheNumber => Invariant::NumbersTranslated,
            Self::DialAtOnce => Invariant::HandshakeFirst,
            Self::AcknowledgeTheUnsent => Invariant::AgreementsKept,
            Self::ShareAPort => Invariant::PortsUnique,
            Self::SwallowAVerdict => Invariant::OneVerdict,
            Self::SpoilAChecksum => Invariant::FaithfulFrames,
            Self::SwallowAnswers | Self::EndOnAnError | Self::TurnAwayAnother => Invariant::AllEndAsPlanned,
            Self::LeakAPort | Self::LoseAKeptFragment | Self::LeakMemory => Invariant::NothingLeft,
            Self::LeaveTheRouter
            | Self::LeaveTheQuote
            | Self::QuoteTooMuch
            | Self::HealTheDamaged
            | Self::QuoteTheOtherSide => Invariant::ErrorsTranslated,
            Self::FloodErrors => Invariant::ErrorsLimited,
            Self::PassOnTheUnknown => Invariant::IntrudersKnown,
            Self::KeepIdentifiers => Invariant::NothingMixed,
            Self::LetOverlap => Invariant::NoOverlap,
            Self::ForwardToNowhere | Self::KeepTheGone => Invariant::DeviceThere,
            Self::KeepOffloading => Invariant::NothingUndone,
            Self::LeaveOutTimestamps | Self::IgnoreTheMss | Self::MisreadWindows => Invariant::AgreementsKept,
            Self::Panic => Invariant::NobodyPanics,
            Self::OverspendMemory => Invariant::MemoryBounded,
            Self::CallTheSickWell | Self::AskNobody => Invariant::HealthFollowsTable,
            Self::SendToTheSick => Invariant::NewcomersWelcome,
            Self::PardonAll | Self::EndTheInnocent | Self::EndInSilence => {
                Invariant::FlowsEndAsTheirAttributesSay
            }
        }
    }
}

/// Whoever commits a sabotage.
pub struct Saboteur {
    sabotage: Sabotage,
    shared: Arc<Shared>,
    /// What a target has seen of the first flow.
    first: Option<Sight>,
    coward: Coward,
    copyist: Copyist,
    bouncer: Bouncer,
    #[expect(dead_code, reason = "they have only to be there")]
    squatters: Vec<Squatter>,
}

impl Saboteur {
    /// Begins. Some things are best done before the first packet.
    pub fn new(sabotage: Sabotage, shared: &Arc<Shared>) -> Self {
        if sabotage == Sabotage::LeakAPort {
            leak_a_port(shared);
        }
        let memory = shared.terminate_memory();
        let squatters = match sabotage {
            Sabotage::LeakMemory if memory.limit() >= LITTLE => 1,
            Sabotage::OverspendMemory if memory.limit() < LITTLE => MANY,
            _ => 0,
        };
        Self {
            sabotage,
            shared: Arc::clone(shared),
            first: None,
            coward: Coward::default(),
            copyist: Copyist::default(),
            bouncer: Bouncer::default(),
            squatters: (0..squatters).map_while(|_| Squatter::settle(memory)).collect(),
        }
    }

    /// What is planted.
    pub fn sabotage(&self) -> Sabotage {
        self.sabotage
    }

    /// Whether the workers do not get a message.
    pub fn swallows(&self, message: Message) -> bool {
        match message {
            Message::Detach(_) => self.sabotage == Sabotage::KeepTheGone,
            Message::Offload(_) => self.sabotage == Sabotage::KeepOffloading,
            Message::Attach(_) | Message::Planned => false,
        }
    }

    /// Tampers with what the control side has put in force.
    pub fn meddle(&self) {
        steering::meddle(self.sabotage, &self.shared);
    }

    /// Tampers with what a host has sent.
    pub fn misread(&self, frame: &mut OwnedFrame) {
        if self.sabotage == Sabotage::MisreadWindows
            && frame.is_honest()
            && let Ok(packet) = parse(&frame.bytes)
            && packet.protocol == Protocol::Tcp
        {
            frame.bytes[packet.transport + 14..packet.transport + 16].fill(0xff);
            mend_checksum(frame, &packet);
        }
    }

    /// Tampers with what a worker has said.
    pub fn tamper(&mut self, batch: &mut Batch, ledger: &Ledger) {
        numbers::tamper(self.sabotage, batch, ledger);
        match self.sabotage {
            Sabotage::SwallowAVerdict => drop(batch.said.verdicts.pop()),
            Sabotage::SwallowAnswers => {
                batch.said.departures.retain(|departure| !goes_to_a_consumer(departure, ledger));
            }
            Sabotage::EndOnAnError => self.coward.tamper(batch),
            Sabotage::KeepIdentifiers => self.copyist.tamper(batch),
            Sabotage::TurnAwayAnother => self.bouncer.tamper(batch),
            Sabotage::CallTheSickWell
            | Sabotage::AskNobody
            | Sabotage::SendToTheSick
            | Sabotage::EndInSilence => steering::tamper(self.sabotage, batch, &self.shared),
            _ => edges::tamper(self.sabotage, batch, ledger),
        }
        for departure in batch.said.departures.iter_mut().filter(|departure| !departure.frame.damaged) {
            if let Ok(packet) = parse(&departure.frame.bytes) {
                self.tamper_with(departure, &packet, ledger);
            }
        }
    }

    fn tamper_with(&mut self, departure: &mut Departure, packet: &Packet, ledger: &Ledger) {
        match self.sabotage {
            Sabotage::Misdeliver => misdeliver(departure, packet, ledger),
            Sabotage::SwapBytes if departure.slot.is_none() => swap_bytes(departure, packet),
            Sabotage::IgnoreTheMss if departure.slot.is_none() => {
                if let Some(cut) = &mut departure.frame.offload.segmentation {
                    cut.size = u16::MAX;
                }
            }
            Sabotage::LeaveOutTimestamps if departure.slot.is_none() => {
                leave_out_timestamps(departure, packet);
            }
            Sabotage::ShareAPort => self.share_a_port(departure, packet, ledger),
            Sabotage::SpoilAChecksum => {
                departure.frame.bytes[packet.transport + packet.protocol.checksum_offset()] ^= 1;
            }
            _ => {}
        }
    }

    fn share_a_port(&mut self, departure: &mut Departure, packet: &Packet, ledger: &Ledger) {
        let Some(sight) = ledger.sight_of(departure.device, &Talk::from(packet)) else { return };
        let first = *self.first.get_or_insert(sight);
        if ledger.holder_of(&first).is_none() {
            self.first = Some(sight);
        } else if (first.protocol, first.target, first.node.ip())
            == (sight.protocol, sight.target, sight.node.ip())
        {
            let port = first.node.port().to_be_bytes();
            departure.frame.bytes[packet.transport..packet.transport + 2].copy_from_slice(&port);
            mend_checksum(&mut departure.frame, packet);
        }
    }
}

/// Opens a flow that no worker knows to be its own.
fn leak_a_port(shared: &Shared) {
    let original = Key {
        place: Place::Interface(Id::new(0)),
        protocol: Protocol::Tcp,
        local_port: 1,
        remote: Addr::v4([10, 9, 9, 9]),
        remote_port: 1,
    };
    let path = FlowPath::Terminated { worker: 0, relay: 0 };
    let lane = shared.flows().lanes().iter().next().map(|(lane, _)| lane);
    let opened = lane.map(|lane| {
        let new = NewFlow { original, lane, path, preference: 0 };
        shared.flows().turn(0).open(&new, Duration::ZERO, |_| ())
    });
    debug_assert!(matches!(opened, Some(Ok(_))), "the table is empty");
}

fn goes_to_a_consumer(departure: &Departure, ledger: &Ledger) -> bool {
    parse(&departure.frame.bytes)
        .is_ok_and(|packet| ledger.sight_of(departure.device, &Talk::from(&packet)).is_none())
}

/// To another namespace where it looks right: only what it says gives it away.
fn misdeliver(departure: &mut Departure, packet: &Packet, ledger: &Ledger) {
    if packet.protocol == Protocol::Tcp && !packet.flags.ack()
        || ledger.sight_of(departure.device, &Talk::from(packet)).is_some()
    {
        return;
    }
    let mut others = ledger.devices().filter(|device| *device != departure.device);
    if let Some(other) = others.find(|other| ledger.side_of(*other, &Talk::from(packet)).is_some()) {
        departure.device = other;
    }
}

/// From every segment but the SYN, in which they were agreed upon.
fn leave_out_timestamps(departure: &mut Departure, packet: &Packet) {
    if !packet.flags.syn() {
        departure.frame.bytes[packet.transport + 20..packet.payload].fill(1);
        mend_checksum(&mut departure.frame, packet);
    }
}

/// Two bytes at the same place of two words: the sum does not change.
fn swap_bytes(departure: &mut Departure, packet: &Packet) {
    let payload = &mut departure.frame.bytes[packet.payload..];
    if tag_in(payload).is_none() {
        return;
    }
    let differ = (0..payload.len().saturating_sub(WORD)).find(|at| payload[*at] != payload[at + WORD]);
    if let Some(at) = differ {
        payload.swap(at, at + WORD);
    }
}
