//! The generator: takes up each request when it is due, and notes how long it took.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mio::{Events, Token};

use super::alarm::Alarm;
use super::connection::Connection;
use super::schedule::Schedule;
use super::{Latencies, Load};
use crate::process::Interrupt;
use crate::watch::Watch;

/// The alarm's place among the connections'.
const ALARM: Token = Token(usize::MAX - 1);

/// A request.
#[derive(Clone, Copy)]
pub(super) struct Request {
    /// When it was due, counted from the start.
    due: Duration,
}

/// One run.
pub(super) struct Generator<'a> {
    load: &'a Load,
    watch: Watch<'a>,
    alarm: Alarm,
    connections: Vec<Connection>,
    /// Connections without a request, the one that has been so for longest first.
    free: VecDeque<usize>,
    /// Requests without a connection, the oldest first.
    waiting: VecDeque<Request>,
    start: Instant,
    latencies: Latencies,
    /// When the latest answer that counts came.
    answered: Duration,
}

impl<'a> Generator<'a> {
    /// With all its connections.
    pub(super) fn connect(load: &'a Load, interrupt: &'a Interrupt) -> Result<Self> {
        let watch = Watch::new(interrupt)?;
        let connect = |place| Connection::connect(load.way, watch.registry(), Token(place), interrupt);
        Ok(Self {
            load,
            alarm: Alarm::new(watch.registry(), ALARM)?,
            connections: (0..load.connections).map(connect).collect::<Result<_>>()?,
            free: (0..load.connections).collect(),
            waiting: VecDeque::new(),
            start: Instant::now(),
            latencies: Latencies::new()?,
            answered: Duration::ZERO,
            watch,
        })
    }

    /// Asks all of it. Gives the latencies, and how long it took to answer what counts.
    pub(super) fn go_on(mut self, schedule: Schedule) -> Result<(Latencies, Duration)> {
        let mut events = Events::with_capacity(self.connections.len() + 1);
        let mut schedule = schedule.peekable();
        let (warm_up, patience) = (self.load.warm_up, self.load.patience);
        let limit = warm_up + self.load.length + patience;
        self.start = Instant::now();
        loop {
            let now = self.start.elapsed();
            // Only those that are due already: else answers would have to wait where requests come faster than they can be sent.
            while let Some(due) = schedule.next_if(|due| *due <= now) {
                self.take_up(Request { due })?;
            }
            let busy = self.connections.len() - self.free.len();
            match schedule.peek() {
                Some(due) => self.alarm.set(self.start + *due)?,
                None if busy == 0 => break,
                None => {}
            }
            let waiting = self.waiting.len();
            ensure!(now < limit, "{} requests were not answered within {patience:?}", busy + waiting);
            self.watch.wait(&mut events, Some(limit - now))?;
            for event in events.iter().filter(|event| event.token() != ALARM) {
                self.hear(event.token().0)?;
            }
        }
        Ok((self.latencies, self.answered.saturating_sub(warm_up)))
    }

    /// A request has become due.
    fn take_up(&mut self, request: Request) -> Result<()> {
        let late = self.start.elapsed() - request.due;
        if self.counts(request) {
            self.latencies.taken_up.saturating_record(nanoseconds(late));
        }
        if let Some(place) = self.free.pop_front() {
            return self.connections[place].ask(request);
        }
        // More of them than come while the oldest may wait would be too late.
        let room = self.load.rate * self.load.patience.as_secs_f64();
        ensure!((self.waiting.len() as f64) < room, "{room:.0} requests wait for a free connection");
        self.waiting.push_back(request);
        Ok(())
    }

    /// Something has come on a connection. Once it has answered, it gets the next request.
    fn hear(&mut self, place: usize) -> Result<()> {
        let connection = &mut self.connections[place];
        let Some(request) = connection.hear().with_context(|| format!("connection {place}"))? else {
            return Ok(());
        };
        let now = self.start.elapsed();
        if self.counts(request) {
            self.latencies.answered.saturating_record(nanoseconds(now - request.due));
            self.answered = now;
        }
        match self.waiting.pop_front() {
            Some(next) => self.connections[place].ask(next),
            None => {
                self.free.push_back(place);
                Ok(())
            }
        }
    }

    fn counts(&self, request: Request) -> bool {
        request.due >= self.load.warm_up
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
