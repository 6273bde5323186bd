//! Clients that connect over and over. One has many connections in progress and one thread, as proxies and load generators do: it
//! sleeps only when nothing at all happens, where a thread per connection sleeps and wakes several times for each.

use std::io::{ErrorKind, Read};
use std::net;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Token};
use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType, connect};

use super::way::{Way, Ways};
use super::{Closer, GREETING, await_events};
use crate::patient::PATIENCE;
use crate::process::Interrupt;
use crate::watch::Watch;

/// Connections in progress, of one client.
const IN_PROGRESS: usize = 64;

/// Keeps [`IN_PROGRESS`] connections going for as long as `length`; returns how many were made. Those in progress by then are
/// brought to their end as well: as nobody is ever cut off, there is no excuse for a connection that breaks.
pub fn many_at_once(
    mut ways: Ways<'_>,
    closer: Closer,
    length: Duration,
    interrupt: &Interrupt,
) -> Result<u64> {
    let mut watch = Watch::new(interrupt)?;
    let mut events = Events::with_capacity(IN_PROGRESS);
    let deadline = Instant::now() + length;
    let mut attempts = (0..IN_PROGRESS)
        .map(|place| Attempt::start(&watch, Token(place), ways.turn()).map(Some))
        .collect::<Result<Vec<_>>>()?;
    let (mut made, mut open) = (0, attempts.len());
    while open > 0 {
        await_events(&mut watch, &mut events, Some(PATIENCE))
            .with_context(|| format!("{open} connections in progress"))?;
        let in_time = Instant::now() < deadline;
        for event in &events {
            let place = &mut attempts[event.token().0];
            let Some(attempt) = place else { continue };
            if !attempt
                .is_done(closer)
                .with_context(|| format!("connection {}, {}", made + 1, attempt.way))?
            {
                continue;
            }
            if in_time {
                made += 1;
                *place = Some(Attempt::start(&watch, event.token(), ways.turn())?);
            } else {
                open -= 1;
                *place = None;
            }
        }
    }
    Ok(made)
}

/// One connection after the other for as long as `length`; returns how many were made. The target closes first.
pub fn one_at_a_time(mut ways: Ways<'_>, length: Duration, interrupt: &Interrupt) -> Result<u64> {
    let deadline = Instant::now() + length;
    let mut made = 0;
    while Instant::now() < deadline {
        let way = ways.turn();
        connect_once(way, interrupt).with_context(|| format!("connection {}, {way}", made + 1))?;
        made += 1;
    }
    Ok(made)
}

fn connect_once(way: Way, interrupt: &Interrupt) -> Result<()> {
    let mut said = Vec::with_capacity(2 * GREETING.len());
    (&way.connect(interrupt)?).read_to_end(&mut said)?;
    check(&said)
}

fn check(said: &[u8]) -> Result<()> {
    if said == GREETING { Ok(()) } else { bail!("the target's greeting came as {said:?}") }
}

/// One connection in progress. Dropping it closes it.
struct Attempt {
    way: Way,
    stream: TcpStream,
    said: Vec<u8>,
}

impl Attempt {
    fn start(watch: &Watch<'_>, token: Token, way: Way) -> Result<Self> {
        let socket = way.socket(SocketType::STREAM, SocketFlags::NONBLOCK)?;
        match connect(&socket, &way.door) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error).with_context(|| format!("connecting {way}")),
        }
        let mut stream = TcpStream::from_std(net::TcpStream::from(socket));
        watch.registry().register(&mut stream, token, Interest::READABLE)?;
        Ok(Self { way, stream, said: Vec::with_capacity(2 * GREETING.len()) })
    }

    /// Reads what has come. Done is: the greeting, and the target's FIN after it where that closes first.
    fn is_done(&mut self, closer: Closer) -> Result<bool> {
        let mut buffer = [0; 16];
        loop {
            if closer == Closer::Client && !self.said.is_empty() {
                return check(&self.said).map(|()| true);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return check(&self.said).map(|()| true),
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::super::greeter::Greeter;
    use super::*;
    use crate::in_time::{LONGEST, in_time};
    use crate::threads::{both_ends, join};

    const CLIENTS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
    const DOOR: [Ipv4Addr; 1] = [Ipv4Addr::LOCALHOST];

    /// How many connections a greeter and such a client make.
    fn made(
        closer: Closer,
        interrupt: &Interrupt,
        client: impl FnOnce(Ways<'_>) -> Result<u64>,
    ) -> Result<u64> {
        let (greeter, stop) = Greeter::listen((DOOR[0], 0).into(), closer, 0, interrupt)?;
        let port = greeter.address()?.port();
        thread::scope(|scope| {
            let greeting = scope.spawn(|| greeter.greet_everyone());
            let made = client(Ways::new(&CLIENTS, &DOOR, port, 0));
            stop.wake()?;
            both_ends(made, join(greeting)).map(|(made, ())| made)
        })
    }

    #[test]
    fn connections_are_made_whoever_closes_first() {
        let interrupt = &Interrupt::of_nobody().unwrap();
        let some = |made: u64| if made > 0 { Ok(()) } else { Err("none is made") };
        for closer in [Closer::Target, Closer::Client] {
            in_time(|length| {
                some(made(closer, interrupt, |ways| many_at_once(ways, closer, length, interrupt)).unwrap())
            });
        }
        in_time(|length| {
            some(made(Closer::Target, interrupt, |ways| one_at_a_time(ways, length, interrupt)).unwrap())
        });
    }

    #[test]
    fn those_in_progress_at_the_end_are_not_counted() {
        let interrupt = &Interrupt::of_nobody().unwrap();
        let nothing_more = |ways: Ways<'_>| many_at_once(ways, Closer::Client, Duration::ZERO, interrupt);
        assert_eq!(made(Closer::Client, interrupt, nothing_more).unwrap(), 0);
    }

    #[test]
    fn the_wish_to_stop_ends_it_at_both_ends() {
        let interrupt = &Interrupt::of_nobody().unwrap();
        let start = Instant::now();
        let error = made(Closer::Target, interrupt, |ways| {
            thread::scope(|scope| {
                let many = scope.spawn(|| many_at_once(ways, Closer::Target, 6 * LONGEST, interrupt));
                let one = scope.spawn(|| one_at_a_time(ways, 6 * LONGEST, interrupt));
                interrupt.come();
                let (many, one) = (join(many).unwrap_err(), join(one).unwrap_err());
                bail!("{many:#}, {one:#}")
            })
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("interrupted"), "{error}");
        assert!(start.elapsed() < LONGEST);
    }

    #[test]
    fn a_wrong_greeting_and_no_target_are_errors() {
        let interrupt = &Interrupt::of_nobody().unwrap();
        let listener = TcpListener::bind((DOOR[0], 0)).unwrap();
        let ways = Ways::new(&CLIENTS, &DOOR, listener.local_addr().unwrap().port(), 0);
        thread::scope(|scope| {
            scope.spawn(|| listener.accept().unwrap().0.write_all(b"?").unwrap());
            let wrong = connect_once(ways.clone().turn(), interrupt).unwrap_err();
            assert_eq!(wrong.to_string(), "the target's greeting came as [63]");
        });
        drop(listener);
        for closer in [Closer::Target, Closer::Client] {
            let refused = many_at_once(ways, closer, LONGEST, interrupt).unwrap_err();
            assert!(format!("{refused:#}").contains("refused"), "{refused:#}");
        }
    }
}
