//! The words that answers and questions share.

use std::fmt;

use serde::{Deserialize, Serialize};
use topology::Path;
use wire::Protocol;

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl From<Protocol> for Transport {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Protocol::from(*self).as_str())
    }
}

/// How a listener's flows are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carriage {
    /// Packets are rewritten and pass through.
    Nat,
    /// TCP ends here; a second connection goes on.
    Terminate,
    /// The consumer's handshake ends here; then packets pass through.
    Splice,
}

impl From<Path> for Carriage {
    fn from(path: Path) -> Self {
        match path {
            Path::Nat => Self::Nat,
            Path::Terminate => Self::Terminate,
            Path::Splice => Self::Splice,
        }
    }
}

impl fmt::Display for Carriage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nat => Path::Nat.as_str(),
            Self::Terminate => Path::Terminate.as_str(),
            Self::Splice => Path::Splice.as_str(),
        })
    }
}
