//! A network interface: its settings, its addresses, up. All of it as seen by the thread that opened the socket.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage,
};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::net::netdevice;

use crate::netlink::Netlink;

/// How many packets a queue of the device holds. There is no backpressure: what does not fit is dropped, and the
/// default of 500 is half a millisecond of small packets. With `noqueue` this sizes only the rings of the queues
/// that are open, 80 KB each.
const TX_QUEUE_LEN: u32 = 10_000;

/// What `sysctl -w` needs to hear to enable IPv6 for the devices that are there and those to come.
pub(crate) const ENABLE_IPV6: &str = "net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0";

/// One interface of the namespace.
pub(crate) struct Link {
    pub(crate) netlink: Netlink,
    pub(crate) index: u32,
    name: String,
}

impl Link {
    /// The interface of this name.
    pub(crate) fn find(name: &str) -> io::Result<Self> {
        let netlink = Netlink::open(NETLINK_ROUTE)?;
        let index = netdevice::name_to_index(&netlink, name)?;
        Ok(Self { netlink, index, name: name.into() })
    }

    /// Takes away the queueing discipline. A multi-queue TUN has 256 transmit queues, and the default discipline
    /// gives each of them rings as long as the device's queue: a hundred megabytes. So this comes first, while the
    /// device is down.
    pub(crate) fn without_queueing(&mut self) -> io::Result<()> {
        let mut qdisc = TcMessage::with_index(self.index as i32);
        qdisc.header.parent = TcHandle::ROOT;
        qdisc.attributes.push(TcAttribute::Kind("noqueue".into()));
        self.change(RouteNetlinkMessage::NewQueueDiscipline(qdisc), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Sets the MTU and the length of the queues.
    pub(crate) fn size(&mut self, mtu: u32) -> io::Result<()> {
        let sizes = [LinkAttribute::Mtu(mtu), LinkAttribute::TxQueueLen(TX_QUEUE_LEN)];
        self.set(LinkFlags::empty(), sizes.into())
    }

    /// Keeps the kernel from giving the device an IPv6 address of its own.
    pub(crate) fn without_link_local(&mut self) -> io::Result<()> {
        let mode = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        self.set(LinkFlags::empty(), vec![LinkAttribute::AfSpecUnspec(vec![mode])])
    }

    /// Brings it up.
    pub(crate) fn up(&mut self) -> io::Result<()> {
        self.set(LinkFlags::Up, Vec::new())
    }

    /// Assigns an address, usable at once (no duplicate detection) and without a route for its prefix.
    pub(crate) fn assign(&mut self, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = prefix;
        message.header.index = self.index;
        message.attributes = vec![
            AddressAttribute::Local(address),
            AddressAttribute::Address(address),
            AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute),
        ];
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Whether it is up; that somebody is at its other end is another matter.
    pub(crate) fn is_up(&mut self) -> io::Result<bool> {
        let mut question = LinkMessage::default();
        question.header.index = self.index;
        let answers = self.netlink.request(RouteNetlinkMessage::GetLink(question), 0)?;
        Ok(answers.iter().any(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => link.header.flags.contains(LinkFlags::Up),
            _ => false,
        }))
    }

    /// Whether it speaks IPv6.
    pub(crate) fn has_ipv6(&self) -> bool {
        // Unreadable is taken as "yes": the kernel then decides when the route is made.
        match std::fs::read_to_string(ipv6_setting(&self.name, "disable_ipv6")) {
            Ok(disabled) => disabled.trim() == "0",
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Keeps the kernel from sending router solicitations and from heeding advertisements on it.
    pub(crate) fn ignore_routers(&self) -> io::Result<()> {
        ["accept_ra", "autoconf", "router_solicitations"]
            .iter()
            .try_for_each(|setting| std::fs::write(ipv6_setting(&self.name, setting), "0"))
    }

    fn set(&mut self, flags: LinkFlags, attributes: Vec<LinkAttribute>) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.index;
        message.header.flags = flags;
        message.header.change_mask = flags;
        message.attributes = attributes;
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.netlink.request(message, flags).map(drop)
    }
}

/// The file of an IPv6 setting of a link, or of `all`.
pub(crate) fn ipv6_setting(link: &str, setting: &str) -> PathBuf {
    ["/proc/sys/net/ipv6/conf", link, setting].iter().collect()
}

/// The address family of `address`.
pub(crate) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// The prefix length that means `address` alone.
pub(crate) fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
