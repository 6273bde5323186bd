//! A peer at work in its lab.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};
use benches::memory::Memory;
use benches::process::Program;

use super::proxies::nginx;
use crate::lab::{CLIENTS, Lab, TARGET};
use crate::{requests, udp};

/// How long a single step of a first attempt may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A peer at work: traffic to its doors reaches the servers in the provider's namespace.
pub(crate) struct Session {
    pub(super) doors: &'static [Ipv4Addr],
    pub(super) clients: &'static [Ipv4Addr],
    /// How many bytes targets hear on a connection before the consumer's.
    pub(crate) header: usize,
    /// What the peer's programs hold, and the kernel for them, before there is work.
    pub(crate) idle: Memory,
    /// Ended, in this order, before the lab goes.
    pub(super) program: Option<Program>,
    pub(super) _server: Program,
    /// Where it all happens.
    pub(crate) lab: Lab,
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

    /// The addresses that the consumer may connect from.
    pub(crate) const fn clients(&self) -> &'static [Ipv4Addr] {
        self.clients
    }

    /// The peer's own programs: each leads a process group, in which its workers are.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.program.iter().map(Program::pid).collect()
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

    /// One datagram, from the consumer's side, and its answer.
    pub(super) fn try_a_datagram(&self) -> Result<()> {
        let bind = |address| {
            let socket = UdpSocket::bind(address)?;
            socket.set_read_timeout(Some(LIMIT))?;
            Ok(socket)
        };
        let target = self.lab.provider.inside(|| bind((TARGET, udp::PORT)))?;
        let consumer = self.lab.consumer.inside(|| bind((CLIENTS[0], 0)))?;
        let mut said = [0; 8];
        consumer.send_to(b"?", (self.door(), udp::PORT))?;
        let (length, from) = target.recv_from(&mut said)?;
        ensure!(said[..length] == *b"?", "the target heard {:?}", &said[..length]);
        target.send_to(b"!", from)?;
        let (length, from) = consumer.recv_from(&mut said)?;
        ensure!(said[..length] == *b"!", "the consumer heard {:?} from {from}", &said[..length]);
        Ok(())
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
