//! Virtual UDP peers: a client that asks until every question is answered, and a server's answer.
//!
//! Question and answer *n* are the piece of the connection's stream that begins at *n* strides, so that an answer to
//! somebody else's question shows.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::invariants::{Violation, bytes_in_order};
use crate::packet::{OwnedFrame, Route, Shape, udp};
use crate::rng::Rng;
use crate::stream::{ConnectionId, WORD, Way, piece, tag_in};

/// From one question's place in the stream to the next one's.
const STRIDE: usize = 2048;
const PATIENCE: Duration = Duration::from_millis(700);

/// A client that asks a number of questions, one after another.
#[derive(Debug)]
pub struct Asker {
    connection: ConnectionId,
    route: Route,
    open: BTreeSet<usize>,
    /// When to ask (again).
    asks_at: Duration,
    rng: Rng,
}

impl Asker {
    /// Asks `questions` questions, from now on.
    pub fn new(connection: ConnectionId, route: Route, questions: usize, now: Duration, rng: Rng) -> Self {
        Self { connection, route, open: (0..questions).collect(), asks_at: now, rng }
    }

    /// Whether every question is answered.
    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// When [`Asker::poll`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        (!self.is_done()).then_some(self.asks_at)
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

    /// Asks the first open question, if it is time.
    pub fn poll(&mut self, now: Duration) -> Option<OwnedFrame> {
        let question = *self.open.first().filter(|_| self.asks_at <= now)?;
        self.asks_at = now + PATIENCE;
        Some(datagram(self.connection, Way::Up, question, self.route, &mut self.rng))
    }
}

/// A server's answer to a question.
pub fn answer(route: Route, payload: &[u8], rng: &mut Rng) -> Result<Option<OwnedFrame>, Violation> {
    let Some(tag) = tag_in(payload) else { return Ok(None) };
    let question = question_in(payload);
    bytes_in_order(tag.connection, Way::Up, question * STRIDE, payload)?;
    Ok(Some(datagram(tag.connection, Way::Down, question, route, rng)))
}

fn question_in(payload: &[u8]) -> usize {
    tag_in(payload).map_or(0, |tag| tag.index as usize * WORD / STRIDE)
}

fn datagram(connection: ConnectionId, way: Way, question: usize, route: Route, rng: &mut Rng) -> OwnedFrame {
    let len = rng.between(2 * WORD as u64, 1200) as usize;
    let shape = if rng.per_mille(500) { Shape::Partial } else { Shape::Plain };
    udp(route, &piece(connection, way, question * STRIDE, len), shape)
}
