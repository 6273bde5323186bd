//! New connections per second, by a client and a server of our own: the same for every peer, and strict. A connection
//! counts when the target's greeting came through it and was followed by the target's FIN; one that does not, spoils
//! the run. The server closes first, so that TIME-WAIT stays with it and the client's ports are free again.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socket_with};

use crate::events;
use crate::lab::{Lab, TARGET};

/// The target's ports. Several, so that a run does not come back to a tuple that is still in TIME-WAIT.
pub(crate) const PORTS: [u16; 4] = [7001, 7002, 7003, 7004];

/// Who connects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    /// A thread per connection in progress, which sleeps and wakes at every step of it.
    Threads,
    /// A thread per core, with many connections in progress: see [`events`].
    Events,
}

impl Clients {
    /// How many threads: enough to keep both cores of everyone busy.
    const fn count(self) -> usize {
        match self {
            Self::Threads => 32,
            Self::Events => 2,
        }
    }

    const fn keep_connecting(self) -> fn(Ipv4Addr, usize, Duration) -> Result<u64> {
        match self {
            Self::Threads => keep_connecting,
            Self::Events => events::keep_connecting,
        }
    }
}

/// How long a single step of a connection may take. More than one retransmission of a SYN, so that a lost one costs
/// time and not the run.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);
/// What the target says.
pub(crate) const GREETING: &[u8] = b"!";

/// Connects to `door` for as long as `length`, and gives connections per second. The target hears a header of so many bytes before
/// it speaks.
pub(crate) fn rate(
    lab: &Lab,
    door: Ipv4Addr,
    length: Duration,
    clients: Clients,
    header: usize,
) -> Result<f64> {
    let bind =
        |port| TcpListener::bind((TARGET, port)).with_context(|| format!("listening on {TARGET}:{port}"));
    let listeners = lab.provider.inside(|| PORTS.into_iter().map(bind).collect::<Result<Vec<_>>>())?;
    let start = Barrier::new(clients.count());

    let connect = clients.keep_connecting();
    let made = thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(|| greet_everyone(listener, header));
        }
        let clients: Vec<_> = (0..clients.count())
            .map(|number| {
                scope.spawn({
                    let start = &start;
                    move || {
                        let entered = lab.consumer.enter();
                        start.wait();
                        entered.and_then(|()| connect(door, number, length))
                    }
                })
            })
            .collect();
        let made = clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| Err(anyhow!("a client panicked"))))
            .collect::<Vec<Result<u64>>>();
        for listener in &listeners {
            shutdown(listener, Shutdown::Both).context("stopping a server")?;
        }
        made.into_iter().sum::<Result<u64>>()
    })?;
    Ok(made as f64 / length.as_secs_f64())
}

/// The server: until its listener is shut down.
fn greet_everyone(listener: &TcpListener, header: usize) {
    let mut header = vec![0; header];
    while let Ok((mut stream, _)) = listener.accept() {
        // A client that went away notices by itself, and reports it.
        let _ = stream.read_exact(&mut header).and_then(|()| stream.write_all(GREETING));
    }
}

/// A client: one connection after the other, on all ports in turn.
fn keep_connecting(door: Ipv4Addr, number: usize, length: Duration) -> Result<u64> {
    let deadline = Instant::now() + length;
    let mut made = 0;
    for port in PORTS.into_iter().cycle().skip(number) {
        if Instant::now() >= deadline {
            break;
        }
        connect_once(SocketAddrV4::new(door, port))
            .with_context(|| format!("connection {} to {door}:{port}", made + 1))?;
        made += 1;
    }
    Ok(made)
}

fn connect_once(door: SocketAddrV4) -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    rustix::net::connect(&socket, &door)?;
    let mut said = Vec::with_capacity(2 * GREETING.len());
    TcpStream::from(socket).read_to_end(&mut said)?;
    if said == GREETING {
        Ok(())
    } else {
        Err(io::Error::other(format!("the target's greeting came as {said:?}")))
    }
}
