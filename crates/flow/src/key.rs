//! One side of a flow, in 24 bytes.

use topology::{Id, InterfaceId, NodeId};
use wire::{Addr, Protocol};

/// Where a packet meets sidegate: at a consumer's interface or at a load balancer's node. Both carry their device and
/// their address in the topology, so that two consumers with the same addresses never share a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    /// The consumer's side.
    Interface(InterfaceId),
    /// The provider's side.
    Node(NodeId),
}

/// One side of a flow: the place, and who talks to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// Our side's address.
    pub place: Place,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Our side's port.
    pub local_port: u16,
    /// The other side's address.
    pub remote: Addr,
    /// The other side's port.
    pub remote_port: u16,
}

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// From the consumer to the target.
    Forward,
    /// From the target to the consumer.
    Reply,
}

impl Direction {
    /// The way back.
    pub const fn other(self) -> Self {
        match self {
            Self::Forward => Self::Reply,
            Self::Reply => Self::Forward,
        }
    }
}

const NODE: u32 = 1 << 31;
const UDP: u32 = 1 << 30;

impl Key {
    /// What stands for the consumer's side of a probe, which the node with this address sends by itself. No packet belongs to it:
    /// it is never looked up, and a port of 0 is nobody's.
    pub const fn of_probe(node: NodeId, own: Addr) -> Self {
        Self { place: Place::Node(node), protocol: Protocol::Tcp, local_port: 0, remote: own, remote_port: 0 }
    }

    /// As the slab stores it.
    #[inline]
    pub(crate) fn to_words(self) -> [u64; 3] {
        let place = match self.place {
            Place::Interface(id) => id.to_bits(),
            Place::Node(id) => id.to_bits() | NODE,
        };
        let place = if self.protocol == Protocol::Udp { place | UDP } else { place };
        let remote = self.remote.to_bits();
        let ports = u64::from(self.local_port) << 16 | u64::from(self.remote_port);
        [(remote >> 64) as u64, remote as u64, u64::from(place) << 32 | ports]
    }

    /// What [`Key::to_words`] stored.
    #[inline]
    pub(crate) fn from_words(words: [u64; 3]) -> Self {
        let place = (words[2] >> 32) as u32;
        Self {
            place: if place & NODE == 0 {
                Place::Interface(Id::from_bits(place))
            } else {
                Place::Node(Id::from_bits(place))
            },
            protocol: if place & UDP == 0 { Protocol::Tcp } else { Protocol::Udp },
            local_port: (words[2] >> 16) as u16,
            remote: Addr::from_bits(u128::from(words[0]) << 64 | u128::from(words[1])),
            remote_port: words[2] as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_survives_its_packing(
            index in 0usize..1 << 20, node: bool, udp: bool,
            local_port: u16, remote_port: u16, remote: u128,
        ) {
            let place = if node {
                Place::Node(Id::new(index))
            } else {
                Place::Interface(Id::new(index))
            };
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            let key = Key { place, protocol, local_port, remote: Addr::from_bits(remote), remote_port };
            prop_assert_eq!(Key::from_words(key.to_words()), key);
        }
    }
}
