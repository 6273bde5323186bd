//! Virtual UDP peers: a client that asks until every question is answered, and a server's answer.
//!
//! Question and answer *n* are the piece of the connection's stream that begins at *n* strides, so that an answer to
//! somebody else's question shows. Those that are longer than the sender's path leave in fragments.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fragment::cut;
use crate::icmp::Trouble;
use crate::invariants::{Violation, bytes_in_order};
use crate::packet::{OwnedFrame, Route, Shape, udp};
use crate::rng::Rng;
use crate::stream::{ConnectionId, WORD, Way, piece, tag_in};

/// From one question's place in the stream to the next one's.
const STRIDE: usize = 2048;
const PATIENCE: Duration = Duration::from_millis(700);
/// Datagrams that fit everywhere, and two sizes that are the same for everybody: where pieces fit together by chance, a
/// mixture shows.
const SIZES: [usize; 3] = [1200, 3000, 20_000];

/// How a host sends datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// The longest one.
    pub longest: usize,
    /// What it believes of the path: longer packets it cuts.
    pub mtu: usize,
    /// The next fragmented datagram's identifier.
    pub identifier: u32,
}

impl Habits {
    fn send(
        &mut self,
        (connection, way): (ConnectionId, Way),
        question: usize,
        route: Route,
        rng: &mut Rng,
    ) -> Vec<OwnedFrame> {
        let len = match SIZES[rng.index(SIZES.len())] {
            large if large > SIZES[0] && large <= self.longest => large,
            _ => rng.between(2 * WORD as u64, SIZES[0] as u64) as usize,
        };
        let payload = piece(connection, way, question * STRIDE, len);
        let plain = udp(route, &payload, Shape::Plain);
        if plain.bytes.len() > self.mtu {
            self.identifier += 1;
            return cut(plain, self.mtu, self.identifier);
        }
        vec![if rng.per_mille(500) { udp(route, &payload, Shape::Partial) } else { plain }]
    }
}

/// A client that asks a number of questions, one after another.
#[derive(Debug)]
pub struct Asker {
    connection: ConnectionId,
    route: Route,
    habits: Habits,
    open: BTreeSet<usize>,
    is_refused: bool,
    /// When to ask (again).
    asks_at: Duration,
    rng: Rng,
}

impl Asker {
    /// Asks `questions` questions, from now on.
    pub fn new(
        connection: ConnectionId,
        route: Route,
        questions: usize,
        habits: Habits,
        now: Duration,
        rng: Rng,
    ) -> Self {
        let open = (0..questions).collect();
        Self { connection, route, habits, open, is_refused: false, asks_at: now, rng }
    }

    /// Whether every question is answered.
    pub fn is_answered(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether it was told that nobody listens.
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// When [`Asker::poll`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        (!self.is_answered()).then_some(self.asks_at)
    }

    /// Takes an answer; the next question follows at once. One that was answered already changes nothing.
    pub fn input(&mut self, payload: &[u8], now: Duration) -> Result<(), Violation> {
        let question = question_in(payload);
        bytes_in_order(self.connection, Way::Down, question * STRIDE, payload)?;
        if self.open.remove(&question) {
            self.asks_at = now;
        }
        Ok(())
    }

    /// Hears what is wrong with something that it has sent.
    pub fn hear(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::TooBig(mtu) => self.habits.mtu = mtu.min(self.habits.mtu),
            Trouble::PortUnreachable => self.is_refused = true,
            Trouble::HostUnreachable => {}
        }
    }

    /// Asks the first open question, if it is time.
    pub fn poll(&mut self, now: Duration) -> Vec<OwnedFrame> {
        let Some(question) = self.open.first().copied().filter(|_| self.asks_at <= now) else {
            return Vec::new();
        };
        self.asks_at = now + PATIENCE;
        self.habits.send((self.connection, Way::Up), question, self.route, &mut self.rng)
    }
}

/// A server's answer to a question.
pub fn answer(
    route: Route,
    payload: &[u8],
    habits: &mut Habits,
    rng: &mut Rng,
) -> Result<Vec<OwnedFrame>, Violation> {
    let Some(tag) = tag_in(payload) else { return Ok(Vec::new()) };
    let question = question_in(payload);
    bytes_in_order(tag.connection, Way::Up, question * STRIDE, payload)?;
    Ok(habits.send((tag.connection, Way::Down), question, route, rng))
}

fn question_in(payload: &[u8]) -> usize {
    tag_in(payload).map_or(0, |tag| tag.index as usize * WORD / STRIDE)
}
