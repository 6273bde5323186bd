//! UDP through a peer: eight flows, one from each of the consumer's addresses, to one target. Eight, because a single flow is on
//! purpose kept in order, on one core, by whoever spreads traffic over cores; and small packets come from many in the world too.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use benches::connections::way::Ways;
use benches::datagrams::{Receiver, Run, Senders};
use benches::threads::join;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use crate::lab::TARGET;
use crate::peer::Session;

/// Where the target receives.
pub(crate) const PORT: u16 = 9000;

/// How many flows there are.
const FLOWS: u8 = 8;
/// What an IP packet has ahead of its payload: two headers.
const HEADERS: u16 = 20 + 8;
/// What may wait for the receiver: nothing is lost while it is off its core for a few milliseconds.
const WAITING_BYTES: usize = 16 << 20;

/// Sends IP packets of so many bytes for as long as `length`.
pub(crate) fn run(session: &Session, length: Duration, packet: u16) -> Result<Run> {
    let (consumer, provider) = (&session.lab.consumer, &session.lab.provider);
    let size = usize::from(packet - HEADERS);
    let receiver = provider.inside(bind)?;
    let doors = [session.door()];
    let ways = Ways::new(session.clients(), &doors, PORT, 0);
    let senders = consumer.inside(|| Senders::new(ways, FLOWS))?;
    let interrupt = session.interrupt();
    receiver.expect(&senders, interrupt)?;

    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            consumer.enter()?;
            senders.send(size, &enough, interrupt)
        });
        let arrived = provider.inside(|| receiver.receive(size, length, interrupt));
        enough.store(true, Ordering::Relaxed);
        Ok(Run { sent: join(sending)?, arrived: arrived? })
    })
}

fn bind() -> Result<Receiver> {
    let socket = UdpSocket::bind((TARGET, PORT)).with_context(|| format!("receiving at {TARGET}:{PORT}"))?;
    set_socket_recv_buffer_size_force(&socket, WAITING_BYTES).context("the receiver's buffer")?;
    Ok(Receiver::new(socket))
}
