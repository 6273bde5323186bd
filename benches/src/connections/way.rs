//! Ways through a peer: from each of the consumer's addresses to each door, in turn. With several addresses no client runs out of
//! ports, and whoever spreads traffic by its addresses has something to spread.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use crate::patient::Patient;
use crate::process::Interrupt;

/// From whom, and to which door.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Way {
    client: Ipv4Addr,
    /// What to connect to.
    pub door: SocketAddrV4,
}

impl Way {
    /// A socket at the beginning of it, in the calling thread's namespace. Its port is chosen when it connects: then it has to
    /// be free towards this door only.
    pub fn socket(self, kind: SocketType, flags: SocketFlags) -> Result<OwnedFd> {
        let socket = socket_with(AddressFamily::INET, kind, flags | SocketFlags::CLOEXEC, None)?;
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        bind(&socket, &SocketAddrV4::new(self.client, 0))?;
        Ok(socket)
    }

    /// A connection all along it.
    pub fn connect(self, interrupt: &Interrupt) -> Result<Patient<'_>> {
        let socket = self.socket(SocketType::STREAM, SocketFlags::empty())?;
        Patient::connect(socket, self.door.into(), interrupt).with_context(|| format!("connecting {self}"))
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} to {}", self.client, self.door)
    }
}

/// All ways to one port, over and over.
#[derive(Clone, Copy)]
pub struct Ways<'a> {
    clients: &'a [Ipv4Addr],
    doors: &'a [Ipv4Addr],
    port: u16,
    number: usize,
}

impl<'a> Ways<'a> {
    /// Beginning with the one of this number. There is a client and a door at least.
    pub const fn new(clients: &'a [Ipv4Addr], doors: &'a [Ipv4Addr], port: u16, number: usize) -> Self {
        Self { clients, doors, port, number }
    }

    /// The one whose turn it is.
    pub fn turn(&mut self) -> Way {
        let client = self.clients[self.number % self.clients.len()];
        let door = self.doors[self.number / self.clients.len() % self.doors.len()];
        self.number += 1;
        Way { client, door: SocketAddrV4::new(door, self.port) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rustix::net::{connect, getsockname};

    use super::*;

    const CLIENTS: [Ipv4Addr; 4] = [local(1), local(2), local(3), local(4)];
    const DOORS: [Ipv4Addr; 2] = [local(8), local(9)];

    const fn local(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 0, last)
    }

    #[test]
    fn every_client_goes_to_every_door_before_one_comes_again() {
        let mut ways = Ways::new(&CLIENTS, &DOORS, 7001, 5);
        let all: Vec<Way> = (0..CLIENTS.len() * DOORS.len()).map(|_| ways.turn()).collect();
        assert_eq!(BTreeSet::from_iter(&all).len(), all.len());
        assert_eq!(ways.turn(), all[0]);
    }

    #[test]
    fn one_door_is_everyones() {
        let mut ways = Ways::new(&CLIENTS, &DOORS[..1], 7002, 0);
        assert_eq!([0; 4].map(|_| ways.turn().client), CLIENTS);
        assert_eq!(ways.turn().door, SocketAddrV4::new(DOORS[0], 7002));
    }

    #[test]
    fn a_socket_gets_its_port_when_it_connects() {
        let way = Ways::new(&CLIENTS[1..], &DOORS, 7001, 0).turn();
        let socket = way.socket(SocketType::DGRAM, SocketFlags::empty()).unwrap();
        let here = || SocketAddrV4::try_from(getsockname(&socket).unwrap()).unwrap();
        assert_eq!(here(), SocketAddrV4::new(CLIENTS[1], 0));
        connect(&socket, &way.door).unwrap();
        assert_eq!(*here().ip(), CLIENTS[1]);
        assert_ne!(here().port(), 0);
    }
}
