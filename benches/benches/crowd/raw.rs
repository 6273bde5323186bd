//! Packets without a kernel's TCP: hearing everything that comes into a namespace, and sending whatever one likes.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, eth, ipproto, recv, sendto,
    socket_with,
};
use wire::{Packet, SEGMENT_CAPACITY, Segment, parse};

use crate::gate::Family;

/// Room for what comes between two looks.
const HEARING: usize = 64 << 20;
/// As much of a packet as is looked at: its headers.
const HEADERS: usize = 128;

/// Hears the packets of one family that come into the calling thread's namespace, before its kernel judges them.
pub(crate) struct Ear(OwnedFd);

impl Ear {
    /// From now on.
    pub(crate) fn open(family: Family) -> Result<Self> {
        let protocol = match family {
            Family::V4 => eth::IP,
            Family::V6 => eth::IPV6,
        };
        let socket = raw(AddressFamily::PACKET, SocketType::DGRAM, protocol)?;
        set_socket_recv_buffer_size_force(&socket, HEARING).context("SO_RCVBUFFORCE")?;
        Ok(Self(socket))
    }

    /// The next TCP packet, if one has come.
    pub(crate) fn hear(&self) -> Result<Option<Packet>> {
        loop {
            let mut buffer = [0; HEADERS];
            match recv(&self.0, &mut buffer, RecvFlags::empty()) {
                Ok((_, len)) => {
                    // Whatever is no short TCP packet is not part of the crowd.
                    if let Ok(packet) = parse(&buffer[..len.min(HEADERS)]) {
                        return Ok(Some(packet));
                    }
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("hearing packets"),
            }
        }
    }
}

impl AsFd for Ear {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends packets with any source from the calling thread's namespace.
pub(crate) struct Mouth(OwnedFd);

impl Mouth {
    /// For packets of one family.
    pub(crate) fn open(family: Family) -> Result<Self> {
        let family = match family {
            Family::V4 => AddressFamily::INET,
            Family::V6 => AddressFamily::INET6,
        };
        Ok(Self(raw(family, SocketType::RAW, ipproto::RAW)?))
    }

    /// Sends the answer to a packet. Whether it arrives is not known: as on any wire, a queue may be full.
    pub(crate) fn answer(&self, packet: &Packet, answer: Segment<'_>) -> Result<()> {
        let mut buffer = [0; SEGMENT_CAPACITY];
        let len = answer.write(packet, &mut buffer);
        self.send(&buffer[..len], packet.source.ip())
    }

    fn send(&self, bytes: &[u8], to: IpAddr) -> Result<()> {
        match sendto(&self.0, bytes, SendFlags::empty(), &SocketAddr::new(to, 0)) {
            Ok(_) | Err(Errno::NOBUFS | Errno::AGAIN) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("sending a packet to {to}")),
        }
    }
}

/// The packet from `source` to `destination` to which what is to be said is the answer.
pub(crate) fn as_if_from(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Packet {
    Packet {
        source: source.0.into(),
        destination: destination.0.into(),
        protocol: wire::Protocol::Tcp,
        source_port: source.1,
        destination_port: destination.1,
        ttl: 64,
        flags: wire::TcpFlags::default(),
        sequence: 0,
        acknowledgement: 0,
        transport: 0,
        payload: 0,
        len: 0,
    }
}

fn raw(family: AddressFamily, kind: SocketType, protocol: Protocol) -> Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socket_with(family, kind, flags, Some(protocol)).context("a raw socket")
}
