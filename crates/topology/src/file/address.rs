//! Addresses: which ones can be routed to a device, put on it, or be a target.

use std::net::{IpAddr, Ipv4Addr};

use super::names::zone;
use super::tree::{Keys, Value};
use crate::problem::{Place, Read};
use crate::{Family, Zone};

/// An address in a zone: an endpoint's interface or a service's node.
#[derive(Debug)]
pub(crate) struct ZonedAddress {
    /// Where the address stands.
    pub(crate) place: Place,
    pub(crate) zone: Option<Zone>,
    pub(crate) address: IpAddr,
}

impl ZonedAddress {
    const KEYS: Keys = &["zone", "address"];

    pub(super) fn read(value: Value<'_>) -> Read<Self> {
        let table = value.table(Self::KEYS)?;
        let zone = table.optional("zone", zone);
        let located = table.required("address", |value| Ok((value.place.clone(), own_address(value)?)));
        let (place, address) = located?;
        Ok(Self { place, zone: zone?, address })
    }

    pub(crate) const fn family(&self) -> Family {
        Family::of(self.address)
    }
}

/// An address of sidegate's own: an interface's, a node's, or an endpoint's `local`.
pub(super) fn own_address(value: Value<'_>) -> Read<IpAddr> {
    let address = parse(&value)?;
    match flaw(address) {
        None => Ok(address),
        Some(flaw) => Err(value.refuse(
            format!("{address} is {flaw}, which cannot be routed to a device"),
            "write a unicast address that programs in the namespace can reach",
        )),
    }
}

/// The address of a target. Link-local IPv4 will do: it needs no scope.
pub(super) fn target_address(value: Value<'_>) -> Read<IpAddr> {
    let address = parse(&value)?;
    match flaw(address) {
        None => Ok(address),
        Some(Flaw::LinkLocal) if address.is_ipv4() => Ok(address),
        Some(Flaw::Loopback) => Err(value.refuse(
            format!(
                "{address} is a loopback address, and the kernel refuses packets from a TUN to it (EINVAL)"
            ),
            "write another address of the provider's namespace, and let the program listen there",
        )),
        Some(flaw) => Err(value.refuse(
            format!("{address} is {flaw}, which no target can have"),
            "write the unicast address of a host in the provider's namespace, or behind it",
        )),
    }
}

fn parse(value: &Value<'_>) -> Read<IpAddr> {
    let remedy = "write an IPv4 or IPv6 address, without a prefix length or a port";
    let written = value.text(remedy)?;
    written.parse().map_err(|_| value.refuse(format!("{written:?} is not an address"), remedy))
}

/// Why an address cannot be an ordinary one.
enum Flaw {
    Unspecified,
    Loopback,
    Multicast,
    Broadcast,
    LinkLocal,
    Mapped,
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "the unspecified address",
            Self::Loopback => "a loopback address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::LinkLocal => "a link-local address",
            Self::Mapped => "an IPv4 address in IPv6 clothes (v4-mapped)",
        })
    }
}

fn flaw(address: IpAddr) -> Option<Flaw> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    match address {
        _ if address.is_unspecified() => Some(Flaw::Unspecified),
        _ if address.is_loopback() => Some(Flaw::Loopback),
        _ if address.is_multicast() => Some(Flaw::Multicast),
        _ if address == Ipv4Addr::BROADCAST => Some(Flaw::Broadcast),
        _ if link_local => Some(Flaw::LinkLocal),
        _ if mapped => Some(Flaw::Mapped),
        _ => None,
    }
}
