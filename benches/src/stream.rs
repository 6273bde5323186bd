//! Bulk TCP streams by a client and a server of our own: one to the target, one from there, or one each way at the same time. On each
//! connection the client's first byte says what it is for, so that it does not matter in which order they reach the target, or whether
//! all of them do. What comes ahead of that byte is skipped: so targets that get a header can have streams too, which iperf3 cannot.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{Shutdown, shutdown};

use crate::connections::way::Way;
use crate::patient::Patient;
use crate::process::Interrupt;
use crate::threads::join_all;

/// What goes into a system call: as iperf3 has it.
const PIECE: usize = 128 << 10;

/// Whom bytes are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receiver {
    /// The server.
    Target,
    /// The client.
    Consumer,
    /// Either, on a stream of its own.
    Both,
}

/// Which way a stream goes.
#[derive(Clone, Copy)]
enum Direction {
    /// From the client to the server.
    There,
    /// From the server to the client.
    Back,
}

/// That no stream is wanted, only an answer.
const KNOCK: u8 = b'?';
/// That a stream follows.
const THERE: u8 = b'>';
/// That a stream is wanted.
const BACK: u8 = b'<';

impl Receiver {
    const fn streams(self) -> &'static [Direction] {
        match self {
            Self::Target => &[Direction::There],
            Self::Consumer => &[Direction::Back],
            Self::Both => &[Direction::There, Direction::Back],
        }
    }
}

/// The client: bits per second that arrive there in streams of this length. The connection before them lets a forwarder find out
/// what it has to know of the target.
pub fn call(way: Way, receiver: Receiver, length: Duration, interrupt: &Interrupt) -> Result<f64> {
    let first = connect(way, KNOCK, interrupt)?;
    (&first).read_exact(&mut [0]).context("the answer on the connection before the stream's")?;
    drop(first);
    thread::scope(|scope| {
        let streams = receiver.streams().iter().map(|&direction| {
            scope.spawn(move || match direction {
                Direction::There => send(connect(way, THERE, interrupt)?, length),
                Direction::Back => receive(&connect(way, BACK, interrupt)?, Some(length)),
            })
        });
        Ok(join_all(streams.collect())?.into_iter().sum())
    })
}

fn connect(way: Way, what_for: u8, interrupt: &Interrupt) -> Result<Patient<'_>> {
    let stream = way.connect(interrupt)?;
    (&stream).write_all(&[what_for])?;
    Ok(stream)
}

/// The server.
pub struct Server {
    listener: TcpListener,
    header: usize,
    is_stopped: AtomicBool,
}

impl Server {
    /// Listens in the calling thread's namespace, where connections begin with a header of so many bytes.
    pub fn listen(address: (Ipv4Addr, u16), header: usize) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .with_context(|| format!("listening on {}:{}", address.0, address.1))?;
        Ok(Self { listener, header, is_stopped: AtomicBool::new(false) })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Serves until it is stopped and the last connection has ended: bits per second that have arrived.
    pub fn serve(&self, interrupt: &Interrupt) -> Result<f64> {
        thread::scope(|scope| {
            let mut connections = Vec::new();
            let accepted = loop {
                match self.accept() {
                    Ok(Some(stream)) => {
                        connections.push(scope.spawn(move || self.attend(stream, interrupt)));
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            let received = join_all(connections);
            accepted.and(received).map(|received| received.into_iter().sum())
        })
    }

    /// The next connection; none, once it is stopped.
    fn accept(&self) -> Result<Option<TcpStream>> {
        match self.listener.accept() {
            Ok((stream, _)) => Ok(Some(stream)),
            // A listener that is shut down fails.
            Err(_) if self.is_stopped.load(Ordering::Acquire) => Ok(None),
            Err(error) => Err(error).context("accepting"),
        }
    }

    /// Takes no more connections.
    pub fn stop(&self) -> Result<()> {
        self.is_stopped.store(true, Ordering::Release);
        shutdown(&self.listener, Shutdown::Both).context("stopping the server")
    }

    fn attend(&self, stream: TcpStream, interrupt: &Interrupt) -> Result<f64> {
        let stream = Patient::new(stream, interrupt)?;
        let mut ahead = vec![0; self.header + 1];
        (&stream).read_exact(&mut ahead).context("what a connection begins with")?;
        match ahead[self.header] {
            KNOCK => (&stream).write_all(b"!").map(|()| 0.0).context("the first answer"),
            THERE => receive(&stream, None),
            BACK => send_back(&stream).map(|()| 0.0),
            other => bail!("a connection begins with {other:#04x}, which is for nothing"),
        }
    }
}

/// Sends until nobody listens any more. Whether that is too early, the client knows.
fn send_back(mut stream: &Patient<'_>) -> Result<()> {
    let piece = vec![0; PIECE];
    loop {
        match stream.write(&piece) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                return Ok(());
            }
            Err(error) => return Err(error).context("sending back"),
        }
    }
}

/// Sends for as long as `length`, and until all has been heard. Nothing of it arrives here.
fn send(stream: Patient<'_>, length: Duration) -> Result<f64> {
    let (start, piece) = (Instant::now(), vec![0; PIECE]);
    while start.elapsed() < length {
        (&stream).write(&piece).context("sending")?;
    }
    stream.finish().map(|()| 0.0)
}

/// Receives for as long as `length`, or to the stream's end: bits per second.
fn receive(mut stream: &Patient<'_>, length: Option<Duration>) -> Result<f64> {
    let (start, mut piece, mut received) = (Instant::now(), vec![0; PIECE], 0_u64);
    while length.is_none_or(|length| start.elapsed() < length) {
        match stream.read(&mut piece).with_context(|| format!("receiving, after {received} bytes"))? {
            0 if length.is_some() => bail!("the stream ended after {received} bytes"),
            0 => break,
            len => received += len as u64,
        }
    }
    ensure!(received > 0, "nothing arrived");
    Ok(received as f64 * 8.0 / start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::net;

    use super::*;
    use crate::connections::way::Ways;
    use crate::in_time::{LONGEST, in_time};
    use crate::threads::{both_ends, join};

    const HERE: [Ipv4Addr; 1] = [Ipv4Addr::LOCALHOST];

    /// What arrives at the client and at a server whose clients do this.
    fn streamed<T>(
        header: usize,
        interrupt: &Interrupt,
        clients: impl FnOnce(SocketAddr) -> Result<T>,
    ) -> Result<(T, f64)> {
        let server = Server::listen((HERE[0], 0), header)?;
        thread::scope(|scope| {
            let serving = scope.spawn(|| server.serve(interrupt));
            let heard = clients(server.address()?);
            server.stop()?;
            both_ends(heard, join(serving))
        })
    }

    fn way(door: SocketAddr) -> Way {
        Ways::new(&HERE, &HERE, door.port(), 0).turn()
    }

    #[test]
    fn bytes_arrive_at_whom_they_are_for() {
        let interrupt = Interrupt::of_nobody().unwrap();
        for (receiver, at_the_client, at_the_server) in
            [(Receiver::Target, false, true), (Receiver::Consumer, true, false), (Receiver::Both, true, true)]
        {
            let (heard, served) = in_time(|length| {
                streamed(0, &interrupt, |door| call(way(door), receiver, length, &interrupt))
            });
            assert_eq!((heard > 0.0, served > 0.0), (at_the_client, at_the_server), "{receiver:?}");
        }
    }

    #[test]
    fn connections_may_come_in_any_order_with_a_header_first() {
        let interrupt = Interrupt::of_nobody().unwrap();
        let (_, served) = streamed(6, &interrupt, |door| {
            let [mut back, mut there, mut never, mut knock] =
                [(); 4].map(|()| TcpStream::connect(door).unwrap());
            there.write_all(b"header>stream")?;
            drop(there);
            back.write_all(b"header<")?;
            back.read_exact(&mut [0; 1000])?;
            knock.write_all(b"header")?;
            knock.write_all(b"?")?;
            knock.read_exact(&mut [0])?;
            never.write_all(b"header?")?;
            Ok(())
        })
        .unwrap();
        assert!(served > 0.0);
    }

    #[test]
    fn what_is_for_nothing_or_brings_nothing_is_an_error() {
        let interrupt = Interrupt::of_nobody().unwrap();
        for (said, error) in [
            (b"x".as_slice(), "a target: a connection begins with 0x78, which is for nothing"),
            (b">", "a target: nothing arrived"),
            (b"", "a target: what a connection begins with: failed to fill whole buffer"),
        ] {
            let served = streamed(0, &interrupt, |door| {
                let mut client = TcpStream::connect(door)?;
                client.write_all(said)?;
                client.shutdown(net::Shutdown::Write)?;
                // However it closes.
                let _ = client.read(&mut [0]);
                Ok(())
            });
            assert_eq!(format!("{:#}", served.unwrap_err()), error);
        }
    }

    #[test]
    fn a_server_that_cannot_take_anybody_in_fails() {
        let interrupt = Interrupt::of_nobody().unwrap();
        let server = Server::listen((HERE[0], 0), 0).unwrap();
        shutdown(&server.listener, Shutdown::Both).unwrap();
        let error = format!("{:#}", server.serve(&interrupt).unwrap_err());
        assert!(error.starts_with("accepting: "), "{error}");
    }

    /// It is not the client's end that ends it: that stays open.
    #[test]
    fn a_stream_that_breaks_off_is_an_error() {
        let interrupt = Interrupt::of_nobody().unwrap();
        let served = streamed(0, &interrupt, |door| {
            let mut client = TcpStream::connect(door)?;
            client.write_all(b"<")?;
            client.read_exact(&mut [0])?;
            interrupt.come();
            Ok(client)
        });
        assert_eq!(format!("{:#}", served.unwrap_err()), "a target: sending back: interrupted");
    }

    #[test]
    fn the_wish_to_stop_ends_streams_at_once() {
        for receiver in [Receiver::Target, Receiver::Consumer, Receiver::Both] {
            let interrupt = Interrupt::of_nobody().unwrap();
            let start = Instant::now();
            let error = streamed(0, &interrupt, |door| {
                thread::scope(|scope| {
                    let calling = scope.spawn(|| call(way(door), receiver, 6 * LONGEST, &interrupt));
                    interrupt.come();
                    join(calling)
                })
            });
            assert!(format!("{:#}", error.unwrap_err()).contains("interrupted"));
            assert!(start.elapsed() < LONGEST);
        }
    }
}
