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

/// How many packets a queue of the device holds, at most. There is no backpressure: what does not fit is dropped, and the
/// default of 500 is half a millisecond of small packets. With `noqueue` this sizes only the rings of the queues that are
/// open.
const LONGEST_QUEUE: u32 = 10_000;
/// However many queues there are.
const SHORTEST_QUEUE: u32 = 1_000;
/// How many packets all queues of a device hold together. A place in a ring takes 8 bytes, and the kernel rounds a ring up
/// to a power of two: 128 KB for 10,000 packets, so many queues of that length would hold megabytes.
const ALL_QUEUES: u32 = 32_768;

/// What `sysctl -w` needs to hear to enable IPv6 for the devices that are there and those to come.
pub(crate) const ENABLE_IPV6: &str = "net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0";

/// Says that the kernel does not answer over IPv6 on a link, and cannot be told to from here.
pub(crate) fn proxy_ndp_locked(link: &str) -> String {
    format!(
        "`proxy_ndp` of {link} is off, and /proc/sys is read-only here; switch it on from outside with \
         `sysctl -w {}`",
        set_proxy_ndp(link, 1)
    )
}

/// What `sysctl -w` needs to hear to set `proxy_ndp` of a link. It takes a dot in the link's name for its own, unless it is
/// given as a slash.
pub(crate) fn set_proxy_ndp(link: &str, value: u8) -> String {
    format!("net.ipv6.conf.{}.proxy_ndp={value}", link.replace('.', "/"))
}

/// One interface of the namespace.
pub(crate) struct Link {
    pub(crate) netlink: Netlink,
    pub(crate) index: u32,
    pub(crate) name: String,
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
    pub(crate) fn size(&mut self, mtu: u32, queues: usize) -> io::Result<()> {
        let sizes = [LinkAttribute::Mtu(mtu), LinkAttribute::TxQueueLen(queue_length(queues))];
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
        let mut message = self.assignment(address, prefix);
        let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
        message.attributes.push(AddressAttribute::Flags(flags));
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Takes an address away.
    pub(crate) fn unassign(&mut self, address: IpAddr, prefix: u8) -> io::Result<()> {
        let message = self.assignment(address, prefix);
        self.change(RouteNetlinkMessage::DelAddress(message), 0)
    }

    fn assignment(&self, address: IpAddr, prefix: u8) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = prefix;
        message.header.index = self.index;
        message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        message
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

/// How many packets each of so many queues holds.
fn queue_length(queues: usize) -> u32 {
    let queues = u32::try_from(queues).unwrap_or(u32::MAX).max(1);
    (ALL_QUEUES / queues).clamp(SHORTEST_QUEUE, LONGEST_QUEUE)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_queues_are_shorter_and_none_is_short() {
        for (queues, length) in [(0, 10_000), (1, 10_000), (3, 10_000), (4, 8192), (8, 4096), (16, 2048)] {
            assert_eq!(queue_length(queues), length, "{queues} queues");
        }
        for queues in [33, 64, 256, usize::MAX] {
            assert_eq!(queue_length(queues), 1_000, "{queues} queues");
        }
    }

    #[test]
    fn a_dot_in_a_links_name_is_kept_from_sysctl() {
        assert_eq!(set_proxy_ndp("br0", 0), "net.ipv6.conf.br0.proxy_ndp=0");
        assert!(proxy_ndp_locked("eth0.10").ends_with("`sysctl -w net.ipv6.conf.eth0/10.proxy_ndp=1`"));
    }

    #[test]
    fn the_rings_of_a_device_take_less_than_half_a_megabyte() {
        for queues in 1..=64 {
            let ring = (8 * queue_length(queues)).next_power_of_two();
            assert!(ring as usize * queues <= 512 << 10, "{queues} queues of {ring} bytes");
        }
    }
}
