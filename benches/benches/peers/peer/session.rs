//! A peer at work in its lab.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use benches::connections::way::{Way, Ways};
use benches::conntrack;
use benches::memory::Memory;
use benches::process::{Interrupt, Program};

use super::proxies::nginx;
use crate::lab::{CLIENTS, Lab, TARGET};
use crate::{requests, udp};

/// How long a single step of a first attempt may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How long a datagram is waited for before it is sent again: one may be lost.
const AGAIN: Duration = Duration::from_millis(50);

/// A peer at work: traffic to its doors reaches the servers in the provider's namespace.
pub(crate) struct Session {
    pub(super) doors: &'static [Ipv4Addr],
    pub(super) clients: &'static [Ipv4Addr],
    /// How many bytes targets hear on a connection before the consumer's.
    pub(crate) header: usize,
    /// What was held before there was the peer.
    pub(crate) before: Memory,
    /// Ended, in this order, before the lab goes.
    pub(super) carrier: Carrier,
    pub(super) _server: Program,
    /// Where it all happens.
    pub(crate) lab: Lab,
}

/// What carries the traffic.
pub(super) enum Carrier {
    Cable,
    /// That of the namespace in the middle.
    Kernel,
    Program(Program),
}

impl Session {
    /// The address that the consumer connects to, and whose traffic goes to [`TARGET`] where nobody balances it.
    pub(crate) const fn door(&self) -> Ipv4Addr {
        self.doors[0]
    }

    /// All such addresses: several, where nothing on the way chooses among the targets and the consumer has to.
    pub(crate) const fn doors(&self) -> &'static [Ipv4Addr] {
        self.doors
    }

    /// The way that whoever does not choose takes to this port of the door.
    pub(crate) fn way(&self, port: u16) -> Way {
        Ways::new(self.clients, self.doors, port, 0).turn()
    }

    /// The wish to stop.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.lab.stage.interrupt
    }

    /// The addresses that the consumer may connect from.
    pub(crate) const fn clients(&self) -> &'static [Ipv4Addr] {
        self.clients
    }

    /// The peer's own programs: each leads a process group, in which its workers are.
    pub(crate) fn pids(&self) -> Vec<u32> {
        match &self.carrier {
            Carrier::Cable | Carrier::Kernel => Vec::new(),
            Carrier::Program(program) => vec![program.pid()],
        }
    }

    /// Does something through the peer. It has failed if the peer is the kernel, and had no room for a connection.
    pub(crate) fn with_room<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        match &self.carrier {
            Carrier::Kernel => conntrack::with_room(&self.lab.middle, work),
            Carrier::Cable | Carrier::Program(_) => work(),
        }
    }

    /// What they and the kernel hold, once they give nothing back any more.
    pub(crate) fn memory_at_rest(&self) -> Result<Memory> {
        Memory::at_rest(&self.pids(), self.interrupt())
    }

    /// One request, from the consumer's side.
    pub(super) fn try_the_door(&self) -> Result<()> {
        let answer = self.lab.consumer.inside(|| {
            let mut stream =
                TcpStream::connect_timeout(&SocketAddr::from((self.door(), requests::PORT)), LIMIT)?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })?;
        ensure!(answer.ends_with("through\n"), "the HTTP server answered {answer:?}");
        Ok(())
    }

    /// A datagram, from the consumer's side, and its answer; as often as it takes until there is one.
    pub(super) fn try_a_datagram(&self) -> Result<()> {
        let bind = |address| {
            let socket = UdpSocket::bind(address)?;
            socket.set_read_timeout(Some(AGAIN))?;
            Ok(socket)
        };
        let target = self.lab.provider.inside(|| bind((TARGET, udp::PORT)))?;
        let consumer = self.lab.consumer.inside(|| bind((CLIENTS[0], 0)))?;
        let start = Instant::now();
        let mut arrived = 0;
        while start.elapsed() < LIMIT {
            self.interrupt().check()?;
            consumer.send_to(b"?", (self.door(), udp::PORT))?;
            if let Some(from) = heard(&target, b"?")? {
                arrived += 1;
                target.send_to(b"!", from)?;
                if heard(&consumer, b"!")?.is_some() {
                    return Ok(());
                }
            }
        }
        bail!("no answer within {LIMIT:?}, although {arrived} of them reached the target")
    }
}

/// Who has said this, if anybody says something in time.
fn heard(socket: &UdpSocket, expected: &[u8]) -> Result<Option<SocketAddr>> {
    let mut said = [0; 8];
    match socket.recv_from(&mut said) {
        Ok((length, from)) => {
            ensure!(said[..length] == *expected, "{from} said {:?}", &said[..length]);
            Ok(Some(from))
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The target of requests.
pub(super) fn http_server(lab: &Lab, expects_headers: bool) -> Result<Program> {
    let header = if expects_headers { "proxy_protocol" } else { "" };
    let file = include_str!("../../../peers/nginx-target.conf").replace("HEADER", header);
    let config = lab.stage.write("nginx-target.conf", &file)?;
    let mut server = lab.stage.start(&lab.provider, "nginx-target", nginx(&config))?;
    server.until(|_| lab.provider.listens(&[requests::PORT]))?;
    Ok(server)
}
