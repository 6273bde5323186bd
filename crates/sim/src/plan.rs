//! What one connection is meant to do. Both of its ends know the plan: the client follows it from the start, the server
//! from the moment when the first bytes tell it which connection this is.

use std::time::Duration;

use wire::Protocol;

use crate::packet::Route;
use crate::shop::{GREETING, Shop};
use crate::stream::{ConnectionId, WORD};
use crate::tcp::Manner;

/// What happens on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// The client sends, the server answers when it has everything, the client closes when it has the answer.
    Exchange,
    /// The server sends back as much as it has got, as it gets it.
    Echo,
    /// The client says FIN after its bytes; only then does the server answer.
    HalfClose,
    /// As an exchange, but the server says FIN first.
    ServerClosesFirst,
    /// The server says everything and FIN at once; the client goes on, and says FIN when it has heard the server's.
    ServerHalfCloses,
    /// Both say everything and FIN at once.
    CloseTogether,
    /// The client resets when half of its bytes are acknowledged.
    ClientResets,
    /// The server resets when it has half of the client's bytes; the client asks now and then whether it is still there.
    ServerResets,
    /// As an exchange, with a rest in the middle; the client sends keep-alives.
    KeptAlive,
    /// As an exchange with a rest that is longer than any idle time-out, and no keep-alives: what comes after it must be
    /// answered with a RST.
    Forgotten,
    /// Nobody answers at the target's address: the client must be refused all the same.
    Silent,
    /// Nobody listens at the target: the client must be refused.
    Refused,
    /// The server speaks first, and the client only says FIN when it has heard that.
    Mute,
    /// The client resets as soon as it has said everything, whoever has heard it.
    HangsUp,
    /// The server resets at the first byte that it hears; the client asks now and then whether it is still there.
    Snubbed,
    /// The server answers the SYN, and nothing after that: nobody will ever say that he has got the header.
    Unheard,
    /// Questions and answers over UDP; `upload` counts them, and `download` is the longest one's length.
    Datagrams,
    /// A question over UDP to a target's port that is not open: the client must hear so.
    Unreachable,
}

impl Behaviour {
    /// What it speaks.
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Datagrams | Self::Unreachable => Protocol::Udp,
            _ => Protocol::Tcp,
        }
    }

    /// Whether the target has all of the client's bytes when it is over.
    pub const fn is_whole(self) -> bool {
        match self {
            Self::Exchange
            | Self::Echo
            | Self::HalfClose
            | Self::ServerClosesFirst
            | Self::ServerHalfCloses
            | Self::CloseTogether
            | Self::Mute
            | Self::KeptAlive => true,
            Self::ClientResets
            | Self::ServerResets
            | Self::HangsUp
            | Self::Snubbed
            | Self::Unheard
            | Self::Forgotten
            | Self::Silent
            | Self::Refused
            | Self::Datagrams
            | Self::Unreachable => false,
        }
    }

    /// Whether the client rests when half of its bytes have arrived.
    pub const fn has_a_rest(self) -> bool {
        matches!(self, Self::KeptAlive | Self::Forgotten)
    }
}

/// When a connection begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At this moment.
    At(Duration),
    /// This long after another one, whose tuple it uses again, is over.
    After(ConnectionId, Duration),
}

/// One connection, planned.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which one this is.
    pub id: ConnectionId,
    /// Whose it is: an index into the scenario's consumers.
    pub consumer: usize,
    /// From the client to the interface.
    pub route: Route,
    /// What happens on it.
    pub behaviour: Behaviour,
    /// How many bytes go up.
    pub upload: usize,
    /// How many bytes come down.
    pub download: usize,
    /// When it begins.
    pub start: Start,
    /// How long it rests, if it does.
    pub rest: Duration,
    /// How the client speaks.
    pub client: Manner,
    /// How the server speaks, unless all of a target's servers speak alike.
    pub server: Manner,
    /// Which kind of server it is.
    pub shop: Shop,
    /// Below the identifiers of the client's fragmented datagrams.
    pub identifier: u32,
}

impl Plan {
    /// Does without a rest, and without an end that the other side may not hear of: somebody may be waiting for its place.
    pub fn hurry(&mut self) {
        let is_unheard = matches!(self.behaviour, Behaviour::HangsUp | Behaviour::ClientResets);
        if self.behaviour.has_a_rest() || is_unheard {
            self.behaviour = Behaviour::Exchange;
        }
    }

    /// How often the client asks whether the other side is still there.
    pub fn keep_alive(&self) -> Option<Duration> {
        match self.behaviour {
            Behaviour::KeptAlive => Some(self.rest / 8),
            Behaviour::ServerResets | Behaviour::Snubbed => Some(Duration::from_secs(5)),
            _ => None,
        }
    }

    /// What the server says before anything else.
    pub fn greeting(&self) -> &'static [u8] {
        if self.shop.greets { GREETING } else { &[] }
    }

    /// How much the client writes at first.
    pub fn first_half(&self) -> usize {
        if self.behaviour.has_a_rest() { self.upload.div_ceil(2).max(WORD) } else { self.upload }
    }

    /// How much the server should have written when it has read `read` bytes.
    pub fn answer_due(&self, read: usize, client_has_closed: bool) -> usize {
        match self.behaviour {
            Behaviour::Echo => read,
            Behaviour::HalfClose if !client_has_closed => 0,
            Behaviour::ServerHalfCloses | Behaviour::CloseTogether => self.download,
            _ if read < self.upload => 0,
            _ => self.download,
        }
    }
}
