//! Clients that connect over and over. One has many connections in progress and one thread, as proxies and load generators do: it
//! sleeps only when nothing at all happens, where a thread per connection sleeps and wakes several times for each.

use std::io::{ErrorKind, Read};
use std::net;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Token};
use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType, connect};

use super::way::{Way, Ways};
use super::{Closer, GREETING};
use crate::patient::PATIENCE;
use crate::process::Interrupt;
use crate::watch::Watch;

/// Connections in progress, of one client that counts them.
const IN_PROGRESS: usize = 64;

/// How a client connects.
#[derive(Clone, Copy)]
pub struct Habit {
    /// Who closes first.
    pub closer: Closer,
    /// Connections in progress.
    pub at_once: usize,
    /// Whether it looks when each is established, which takes one more event.
    pub is_timed: bool,
}

/// How long a connection took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Until it was established, where the client has looked.
    pub connected: Duration,
    /// Until its end.
    pub whole: Duration,
}

/// Keeps [`IN_PROGRESS`] connections going for as long as `length`; returns how many were made. Those in progress by then are
/// brought to their end as well: as nobody is ever cut off, there is no excuse for a connection that breaks.
pub fn many_at_once(ways: Ways<'_>, closer: Closer, length: Duration, interrupt: &Interrupt) -> Result<u64> {
    let habit = Habit { closer, at_once: IN_PROGRESS, is_timed: false };
    let deadline = Instant::now() + length;
    let mut made = 0;
    keep_going(ways, habit, interrupt, |outcome| {
        outcome.with_context(|| format!("connection {}", made + 1))?;
        let in_time = Instant::now() < deadline;
        made += u64::from(in_time);
        Ok(in_time)
    })?;
    Ok(made)
}

/// Keeps connections going. `heed` hears what came of each, and says whether another one takes its place; its error ends all.
/// When nothing happens for [`PATIENCE`], those in progress have failed, and none takes their places.
pub fn keep_going(
    ways: Ways<'_>,
    habit: Habit,
    interrupt: &Interrupt,
    heed: impl FnMut(Result<Took>) -> Result<bool>,
) -> Result<()> {
    let mut client = Client { watch: Watch::new(interrupt)?, ways, habit, attempts: Vec::new(), heed };
    client.attempts.resize_with(habit.at_once, || None);
    (0..habit.at_once).try_for_each(|place| client.begin(place))?;
    let mut events = Events::with_capacity(habit.at_once);
    while client.attempts.iter().any(Option::is_some) {
        client.watch.wait(&mut events, Some(PATIENCE))?;
        if events.is_empty() {
            return client.lose_patience();
        }
        events.iter().try_for_each(|event| client.look(event))?;
    }
    Ok(())
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

/// Many connections in progress, and one thread.
struct Client<'a, Heed> {
    watch: Watch<'a>,
    ways: Ways<'a>,
    habit: Habit,
    attempts: Vec<Option<Attempt>>,
    heed: Heed,
}

impl<Heed: FnMut(Result<Took>) -> Result<bool>> Client<'_, Heed> {
    /// Begins a connection in this place; another one, where one cannot even begin.
    fn begin(&mut self, place: usize) -> Result<()> {
        loop {
            match Attempt::start(&self.watch, Token(place), self.ways.turn(), self.habit) {
                Ok(attempt) => {
                    self.attempts[place] = Some(attempt);
                    return Ok(());
                }
                Err(error) => {
                    self.attempts[place] = None;
                    if !(self.heed)(Err(error))? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn look(&mut self, event: &Event) -> Result<()> {
        let Token(place) = event.token();
        let Some(attempt) = &mut self.attempts[place] else { return Ok(()) };
        let Some(outcome) = attempt.outcome(self.habit.closer, event.is_writable()) else { return Ok(()) };
        if (self.heed)(outcome)? {
            return self.begin(place);
        }
        self.attempts[place] = None;
        Ok(())
    }

    fn lose_patience(&mut self) -> Result<()> {
        for attempt in self.attempts.iter().flatten() {
            let silence = anyhow!("nothing happens for {PATIENCE:?}");
            (self.heed)(Err(silence.context(attempt.way.to_string())))?;
        }
        Ok(())
    }
}

/// One connection in progress. Dropping it closes it.
struct Attempt {
    way: Way,
    stream: TcpStream,
    start: Instant,
    connected: Option<Duration>,
    said: Vec<u8>,
}

impl Attempt {
    fn start(watch: &Watch<'_>, token: Token, way: Way, habit: Habit) -> Result<Self> {
        let start = Instant::now();
        let socket = way.socket(SocketType::STREAM, SocketFlags::NONBLOCK)?;
        match connect(&socket, &way.door) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error).with_context(|| format!("connecting {way}")),
        }
        let mut stream = TcpStream::from_std(net::TcpStream::from(socket));
        let established = habit.is_timed.then_some(Interest::WRITABLE);
        let interest = established.map_or(Interest::READABLE, |writable| Interest::READABLE | writable);
        watch.registry().register(&mut stream, token, interest)?;
        Ok(Self { way, stream, start, connected: None, said: Vec::with_capacity(2 * GREETING.len()) })
    }

    /// What came of it, once that is known.
    fn outcome(&mut self, closer: Closer, is_writable: bool) -> Option<Result<Took>> {
        if is_writable {
            self.connected.get_or_insert_with(|| self.start.elapsed());
        }
        let done = self.is_done(closer).with_context(|| self.way.to_string());
        let took = || {
            let whole = self.start.elapsed();
            Took { connected: self.connected.unwrap_or(whole), whole }
        };
        done.map(|is_done| is_done.then(took)).transpose()
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
    fn each_is_told_how_long_it_took() {
        let interrupt = &Interrupt::of_nobody().unwrap();
        let (mut all, mut more) = (Vec::new(), 10_u32);
        let habit = Habit { closer: Closer::Target, at_once: 3, is_timed: true };
        let told = made(Closer::Target, interrupt, |ways| {
            keep_going(ways, habit, interrupt, |outcome| {
                all.push(outcome?);
                let goes_on = more > 0;
                more = more.saturating_sub(1);
                Ok(goes_on)
            })?;
            Ok(all.len() as u64)
        });
        assert_eq!(told.unwrap(), 13);
        assert!(all.iter().all(|took| !took.connected.is_zero() && took.connected <= took.whole));
    }

    #[test]
    fn whoever_heeds_failures_may_go_on() {
        let interrupt = &Interrupt::of_nobody().unwrap();
        let port = TcpListener::bind((DOOR[0], 0)).unwrap().local_addr().unwrap().port();
        let habit = Habit { closer: Closer::Target, at_once: 2, is_timed: true };
        let mut failures = Vec::new();
        keep_going(Ways::new(&CLIENTS, &DOOR, port, 0), habit, interrupt, |outcome| {
            failures.push(outcome.unwrap_err().root_cause().to_string());
            Ok(failures.len() < 5)
        })
        .unwrap();
        assert_eq!(failures.len(), 6, "one of the two had still to come to its end");
        assert!(failures.iter().all(|failure| failure.contains("refused")), "{failures:?}");
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
