//! One TCP stream by a client and a server of our own. The server does not mind what comes ahead of it, so that it can stand where
//! targets get a header first, which iperf3 cannot.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use benches::bulk::PORT;
use benches::connections::PATIENCE;
use rustix::net::{Shutdown, shutdown};

use crate::lab::TARGET;
use crate::peer::Session;

/// What goes into a system call: as iperf3 has it.
const PIECE: usize = 128 << 10;

/// Whom the stream's bytes are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// The server.
    Target,
    /// The client.
    Consumer,
}

/// Bits per second that arrive in a stream of this length.
pub(crate) fn rate(session: &Session, length: Duration, receiver: Receiver) -> Result<f64> {
    let (consumer, provider) = (&session.lab.consumer, &session.lab.provider);
    let bind = || TcpListener::bind((TARGET, PORT)).with_context(|| format!("listening on {TARGET}:{PORT}"));
    let listener = provider.inside(bind)?;
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            provider.enter()?;
            serve(&listener, receiver)
        });
        let heard = consumer.inside(|| call(session.door(), length, receiver));
        shutdown(&listener, Shutdown::Both).context("stopping the server")?;
        let served = server.join().unwrap_or_else(|_| Err(anyhow!("the server panicked")));
        match receiver {
            Receiver::Target => heard.and(served),
            Receiver::Consumer => heard,
        }
    })
}

/// The client. The connection before the stream's lets a forwarder find out what it has to know of the target.
fn call(door: Ipv4Addr, length: Duration, receiver: Receiver) -> Result<f64> {
    let first = connect(door)?;
    first.shutdown(net::Shutdown::Write)?;
    receive(&first, None)?;
    let stream = connect(door)?;
    match receiver {
        Receiver::Target => send(&stream, Some(length)).map(|()| 0.0),
        Receiver::Consumer => receive(&stream, Some(length)),
    }
}

fn connect(door: Ipv4Addr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&(door, PORT).into(), PATIENCE)
        .with_context(|| format!("connecting to {door}:{PORT}"))?;
    patient(stream).map_err(Into::into)
}

/// The server: of its two connections, the second is the stream's. It comes when the first has been closed by both, lest they
/// overtake each other.
fn serve(listener: &TcpListener, receiver: Receiver) -> Result<f64> {
    receive(&patient(listener.accept()?.0)?, None)?;
    let stream = patient(listener.accept()?.0)?;
    match receiver {
        Receiver::Target => receive(&stream, None),
        Receiver::Consumer => send(&stream, None).map(|()| 0.0),
    }
}

fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends for as long as `length`, or until nobody listens any more.
fn send(mut stream: &TcpStream, length: Option<Duration>) -> Result<()> {
    let (start, piece) = (Instant::now(), vec![0; PIECE]);
    while length.is_none_or(|length| start.elapsed() < length) {
        match stream.write_all(&piece) {
            Err(error) if length.is_none() && is_hang_up(&error) => return Ok(()),
            written => written.context("sending")?,
        }
    }
    Ok(())
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Receives for as long as `length`, or to the stream's end: bits per second.
fn receive(mut stream: &TcpStream, length: Option<Duration>) -> Result<f64> {
    let (start, mut piece, mut received) = (Instant::now(), vec![0; PIECE], 0_u64);
    while length.is_none_or(|length| start.elapsed() < length) {
        match stream.read(&mut piece).context("receiving")? {
            0 if length.is_some() => return Err(anyhow!("the stream ended after {received} bytes")),
            0 => break,
            len => received += len as u64,
        }
    }
    Ok(received as f64 * 8.0 / start.elapsed().as_secs_f64())
}
