//! Honest clients, and the server that says back what they say: connections that stay and are asked again and again
//! whether they still move, and newcomers, each timed from its SYN to the first byte that comes back.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::namespace::Namespace;
use benches::process::Interrupt;
use benches::watch::Watch;
use hdrhistogram::Histogram;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Token};

use crate::figures::times;
use crate::gate::OPEN_PORT;

/// A newcomer that got in within this time was served.
pub(crate) const IN_TIME: Duration = Duration::from_secs(1);
/// Whoever was heard of within this time moves.
pub(crate) const MOVING: Duration = Duration::from_secs(3);

/// How often one that stays speaks.
const SPEAK_EVERY: Duration = Duration::from_millis(200);
/// How often a newcomer comes.
const COME_EVERY: Duration = Duration::from_millis(10);
const EVENTS: usize = 256;
const WORD: &[u8] = b"?";

/// One consumer's clients.
pub(crate) struct Callers<'a> {
    watch: Watch<'a>,
    door: SocketAddr,
    regulars: Vec<Regular>,
    newcomers: HashMap<Token, Newcomer>,
    next: usize,
    tally: Tally,
}

/// What became of them within one stretch of time.
pub(crate) struct Tally {
    /// Connections that stay.
    pub(crate) regulars: usize,
    /// Those of them that nobody has closed or reset.
    pub(crate) alive: usize,
    /// Those of them that were heard of within [`MOVING`] of its end.
    pub(crate) moving: usize,
    /// The longest that one of them had to wait for an answer.
    pub(crate) longest: Duration,
    /// Newcomers.
    pub(crate) came: u64,
    /// Those of them that were served [`IN_TIME`].
    pub(crate) in_time: u64,
    /// Microseconds until each of them was served, whenever that was.
    pub(crate) took: Histogram<u64>,
    /// Newcomers that were refused or reset.
    pub(crate) refused: u64,
}

/// A connection that stays.
struct Regular {
    stream: TcpStream,
    asked: Option<Instant>,
    heard: Instant,
    longest: Duration,
    alive: bool,
}

struct Newcomer {
    stream: TcpStream,
    start: Instant,
    has_spoken: bool,
}

impl<'a> Callers<'a> {
    /// Connects those that stay, in the consumer's namespace.
    pub(crate) fn connect(
        consumer: &Namespace,
        door: IpAddr,
        regulars: usize,
        interrupt: &'a Interrupt,
    ) -> Result<Self> {
        let door = SocketAddr::new(door, OPEN_PORT);
        let watch = Watch::new(interrupt)?;
        let connect = |place| {
            let stream = std::net::TcpStream::connect_timeout(&door, Duration::from_secs(5))?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            watch.registry().register(&mut stream, Token(place), Interest::READABLE)?;
            let longest = Duration::ZERO;
            Ok(Regular { stream, asked: None, heard: Instant::now(), longest, alive: true })
        };
        let regulars = consumer.inside(|| (0..regulars).map(connect).collect::<Result<Vec<_>>>())?;
        let next = regulars.len();
        Ok(Self { watch, door, regulars, newcomers: HashMap::new(), next, tally: Tally::new()? })
    }

    /// Goes on for as long as `length`; in the last [`IN_TIME`] of it nobody new comes.
    pub(crate) fn go_on(&mut self, consumer: &Namespace, length: Duration) -> Result<Tally> {
        consumer.enter()?;
        let start = Instant::now();
        self.begin(start)?;
        let mut events = Events::with_capacity(EVENTS);
        while start.elapsed() < length {
            self.speak();
            let due =
                length.saturating_sub(IN_TIME).min(start.elapsed()).as_millis() / COME_EVERY.as_millis();
            while u128::from(self.tally.came) < due {
                self.come()?;
            }
            self.watch.wait(&mut events, Some(COME_EVERY))?;
            for event in &events {
                match self.regulars.get_mut(event.token().0) {
                    Some(regular) => regular.listen(),
                    None => self.see(event.token()),
                }
            }
        }
        self.newcomers.clear();
        Ok(self.end())
    }

    fn begin(&mut self, now: Instant) -> Result<()> {
        self.tally = Tally::new()?;
        for regular in &mut self.regulars {
            (regular.heard, regular.longest) = (now, Duration::ZERO);
        }
        Ok(())
    }

    fn end(&mut self) -> Tally {
        let count = |is: fn(&Regular) -> bool| self.regulars.iter().filter(|regular| is(regular)).count();
        let (alive, moving) = (count(|it| it.alive), count(|it| it.alive && it.heard.elapsed() <= MOVING));
        let waits =
            self.regulars.iter().map(|it| it.longest.max(it.asked.map_or(Duration::ZERO, |at| at.elapsed())));
        let longest = waits.max().unwrap_or_default();
        let took = self.tally.took.clone();
        Tally { regulars: self.regulars.len(), alive, moving, longest, took, ..self.tally }
    }

    fn speak(&mut self) {
        for regular in &mut self.regulars {
            if regular.alive && regular.asked.is_none() && regular.heard.elapsed() >= SPEAK_EVERY {
                // What is wrong with it, reading will tell.
                let _ = regular.stream.write(WORD);
                regular.asked = Some(Instant::now());
            }
        }
    }

    fn come(&mut self) -> Result<()> {
        self.tally.came += 1;
        let start = Instant::now();
        let mut stream = TcpStream::connect(self.door).context("a newcomer")?;
        let token = Token(self.next);
        self.next += 1;
        self.watch.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.newcomers.insert(token, Newcomer { stream, start, has_spoken: false });
        Ok(())
    }

    /// Something has happened to a newcomer.
    fn see(&mut self, token: Token) {
        let Some(newcomer) = self.newcomers.get_mut(&token) else { return };
        let Some(served) = newcomer.proceed() else { return };
        let took = newcomer.start.elapsed();
        self.newcomers.remove(&token);
        if served {
            self.tally.in_time += u64::from(took <= IN_TIME);
            self.tally.took.saturating_record(took.as_micros() as u64);
        } else {
            self.tally.refused += 1;
        }
    }
}

impl Tally {
    fn new() -> Result<Self> {
        let took = times()?;
        let longest = Duration::ZERO;
        Ok(Self { regulars: 0, alive: 0, moving: 0, longest, came: 0, in_time: 0, took, refused: 0 })
    }
}

impl Regular {
    fn listen(&mut self) {
        let mut buffer = [0; 16];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(1..) => {
                    self.heard = Instant::now();
                    let wait = self.asked.take().map_or(Duration::ZERO, |asked| asked.elapsed());
                    self.longest = self.longest.max(wait);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(0) | Err(_) => {
                    self.alive = false;
                    return;
                }
            }
        }
    }
}

impl Newcomer {
    /// Speaks once it can, and listens: whether it was served, once that is decided.
    fn proceed(&mut self) -> Option<bool> {
        if !self.has_spoken {
            self.has_spoken = self.stream.write(WORD).is_ok();
        }
        match self.stream.read(&mut [0; 16]) {
            Ok(len) => Some(len > 0),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => None,
            Err(_) => Some(false),
        }
    }
}

/// The server: says back what it hears, until its listener is shut down.
pub(crate) fn echo(mut listener: TcpListener, interrupt: &Interrupt) -> Result<()> {
    const LISTENER: Token = Token(usize::MAX - 1);
    let mut watch = Watch::new(interrupt)?;
    watch.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut streams: HashMap<Token, TcpStream> = HashMap::new();
    let mut tokens = (0..).map(Token);
    let mut events = Events::with_capacity(EVENTS);
    loop {
        watch.wait(&mut events, None)?;
        for event in &events {
            if event.token() != LISTENER {
                if streams.get_mut(&event.token()).is_some_and(|stream| say_back(stream).is_none()) {
                    streams.remove(&event.token());
                }
                continue;
            }
            loop {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        let token = tokens.next().context("there is always a next number")?;
                        watch.registry().register(&mut stream, token, Interest::READABLE)?;
                        streams.insert(token, stream);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // A client that has reset its connection is no reason to stop.
                    Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                    Err(_) => return Ok(()),
                }
            }
        }
    }
}

/// `None` when the connection is over.
fn say_back(stream: &mut TcpStream) -> Option<()> {
    let mut buffer = [0; 256];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            // Words are short and come one at a time: there is always room for one.
            Ok(len) => stream.write_all(&buffer[..len]).ok()?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(()),
            Err(_) => return None,
        }
    }
}
