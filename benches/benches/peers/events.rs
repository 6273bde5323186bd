//! A client that has many connections in progress and one thread, as proxies and load generators do: it sleeps only when
//! nothing at all happens, where a thread per connection sleeps and wakes several times for each.

use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::connect::{GREETING, PATIENCE, PORTS};

/// Connections in progress, of one client.
const IN_PROGRESS: usize = 64;

/// Keeps [`IN_PROGRESS`] connections going for as long as `length`, on all ports in turn; returns how many were made.
pub(crate) fn keep_connecting(door: Ipv4Addr, number: usize, length: Duration) -> Result<u64> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(IN_PROGRESS);
    let deadline = Instant::now() + length;
    let mut doors = PORTS.into_iter().cycle().skip(number).map(|port| SocketAddr::from((door, port)));
    let mut attempts = (0..IN_PROGRESS)
        .map(|place| Attempt::start(&poll, Token(place), doors.next()))
        .collect::<Result<Vec<_>>>()?;
    let mut made = 0;
    while Instant::now() < deadline {
        poll.poll(&mut events, Some(PATIENCE)).or_else(interrupted)?;
        if events.is_empty() && Instant::now() < deadline {
            bail!("nothing happened on {IN_PROGRESS} connections for {PATIENCE:?}");
        }
        for event in &events {
            let attempt = &mut attempts[event.token().0];
            if attempt.is_done().with_context(|| format!("connection {} to {door}", made + 1))? {
                made += 1;
                *attempt = Attempt::start(&poll, event.token(), doors.next())?;
            }
        }
    }
    Ok(made)
}

fn interrupted(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

/// One connection in progress. Dropping it closes it.
struct Attempt {
    stream: TcpStream,
    said: Vec<u8>,
}

impl Attempt {
    fn start(poll: &Poll, token: Token, door: Option<SocketAddr>) -> Result<Self> {
        let mut stream = TcpStream::connect(door.context("there is always a next door")?)?;
        poll.registry().register(&mut stream, token, Interest::READABLE)?;
        Ok(Self { stream, said: Vec::with_capacity(2 * GREETING.len()) })
    }

    /// Reads what has come. Done is: the greeting, and then the target's FIN.
    fn is_done(&mut self) -> Result<bool> {
        let mut buffer = [0; 16];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) if self.said == GREETING => return Ok(true),
                Ok(0) => bail!("the target's greeting came as {:?}", self.said),
                Ok(len) => self.said.extend_from_slice(&buffer[..len]),
                // Not connected yet, or nothing more yet.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
