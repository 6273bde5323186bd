//! Routes: making and removing those to a device, and asking the kernel which one a packet would take.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rustix::net::netdevice;

use crate::link::{Link, family, host_prefix};
use crate::netlink::Netlink;

/// Routes `address`, alone, to the device. A route that exists already is an error, never replaced.
pub(crate) fn add(link: &mut Link, address: IpAddr, preferred_source: Option<IpAddr>) -> io::Result<()> {
    let route = RouteNetlinkMessage::NewRoute(to(link, address, preferred_source));
    link.netlink.request(route, NLM_F_CREATE | NLM_F_EXCL).map(drop)
}

/// Gives the route of `address` to the device another preferred source.
pub(crate) fn replace(link: &mut Link, address: IpAddr, preferred_source: Option<IpAddr>) -> io::Result<()> {
    let route = RouteNetlinkMessage::NewRoute(to(link, address, preferred_source));
    link.netlink.request(route, NLM_F_CREATE | NLM_F_REPLACE).map(drop)
}

/// Removes the route of `address` to the device.
pub(crate) fn remove(link: &mut Link, address: IpAddr) -> io::Result<()> {
    let route = RouteNetlinkMessage::DelRoute(to(link, address, None));
    link.netlink.request(route, 0).map(drop)
}

fn to(link: &Link, address: IpAddr, preferred_source: Option<IpAddr>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(address),
        destination_prefix_length: host_prefix(address),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Link,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message.attributes = vec![RouteAttribute::Destination(address.into()), RouteAttribute::Oif(link.index)];
    message.attributes.extend(preferred_source.map(|source| RouteAttribute::PrefSource(source.into())));
    message
}

/// A packet that comes in through an interface.
pub(crate) struct Arrival {
    /// The interface's index.
    pub(crate) interface: u32,
    /// The packet's source.
    pub(crate) source: IpAddr,
}

/// What the kernel would do with a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Deliver it in this namespace.
    Local,
    /// Send it through the interface of this name.
    Through(String),
    /// Something that is neither.
    Other(RouteType),
}

/// The way of a packet to `destination` that is sent from here, or that arrives as `arrival` says.
pub(crate) fn way(netlink: &mut Netlink, destination: IpAddr, arrival: Option<Arrival>) -> io::Result<Way> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination);
    message.header.destination_prefix_length = host_prefix(destination);
    message.attributes.push(RouteAttribute::Destination(destination.into()));
    if let Some(Arrival { interface, source }) = arrival {
        message.header.source_prefix_length = host_prefix(source);
        message.attributes.push(RouteAttribute::Source(source.into()));
        message.attributes.push(RouteAttribute::Iif(interface));
    }
    let answers = netlink.request(RouteNetlinkMessage::GetRoute(message), 0)?;
    let route = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => Some(route),
        _ => None,
    });
    let route = route.ok_or(io::ErrorKind::UnexpectedEof)?;
    match (route.header.kind, out_interface(&route)) {
        (RouteType::Local, _) => Ok(Way::Local),
        (RouteType::Unicast, Some(index)) => Ok(Way::Through(netdevice::index_to_name(&*netlink, index)?)),
        (kind, _) => Ok(Way::Other(kind)),
    }
}

fn out_interface(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}
