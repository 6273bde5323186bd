//! Where the provider's targets are checked: a port beside each one's service, behind which it is as well or as ill as the
//! scenario has it at that time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use wire::Packet;

use crate::ailment::{Ailment, Course, TIMEOUT};
use crate::invariants::{Invariant, Violation};
use crate::packet::{OwnedFrame, Route};
use crate::proxy::{self, Header};
use crate::rng::Rng;
use crate::scenario::Unrest;
use crate::tcp::{Appetite, Extensions, Manner, Tcp, refusal};

/// How late an answer is that is late.
const LATE: Duration = TIMEOUT.saturating_add(Duration::from_secs(1));
const REQUEST: &[u8] = b"GET /well HTTP/1.1\r\n";
const WELL: &[u8] = b"HTTP/1.1 204 No Content\r\nServer: simulated\r\nConnection: close\r\n\r\n";
const UNWELL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\noops";
const GARBAGE: &[u8] = b"220 mail.example ESMTP\r\n";

/// All ports where somebody is checked.
pub struct Clinic {
    courses: BTreeMap<SocketAddr, Course>,
    /// Ports where every connection begins with a header.
    told: BTreeSet<u16>,
    /// By target, and who asks it.
    visits: BTreeMap<(SocketAddr, SocketAddr), Visit>,
    rng: Rng,
}

/// One connection of somebody who asks.
struct Visit {
    tcp: Tcp,
    ailment: Ailment,
    /// Whether a header is still to come.
    is_told: bool,
    heard: Vec<u8>,
    /// When it is answered, once all of the question has come.
    answers: Option<Duration>,
    is_answered: bool,
}

impl Clinic {
    /// The ports of these targets.
    pub fn new(unrest: &Unrest, rng: Rng) -> Self {
        let (courses, told) = (unrest.courses.clone(), unrest.told.clone());
        Self { courses, told, visits: BTreeMap::new(), rng }
    }

    /// Whether somebody is checked at this port.
    pub fn has(&self, at: SocketAddr) -> bool {
        self.courses.contains_key(&at)
    }

    /// When [`Clinic::poll`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        self.visits.values().filter_map(Visit::deadline).min()
    }

    /// Takes in a packet for one of these ports; returns what is answered.
    pub fn input(
        &mut self,
        back: Route,
        packet: &Packet,
        bytes: &[u8],
        now: Duration,
    ) -> Result<Vec<OwnedFrame>, Violation> {
        let place = (back.source, back.destination);
        let ailment = self.courses.get(&back.source).map_or(Ailment::None, |course| course.at(now));
        let known = self.visits.get(&place).filter(|visit| !visit.tcp.is_forgotten(now));
        let begins = packet.flags.opens() && known.is_none_or(|visit| visit.tcp.gives_way_to(packet));
        if begins {
            return Ok(match ailment {
                Ailment::Silent => Vec::new(),
                Ailment::Refuses => refusal(back, packet).into_iter().collect(),
                _ => {
                    let tcp = Tcp::answer(back, MANNER, self.rng.fork(), packet, bytes);
                    let is_told = self.told.contains(&back.source.port());
                    self.visits.insert(place, Visit::new(tcp, ailment, is_told));
                    self.visits.get_mut(&place).map_or_else(Vec::new, |visit| visit.tcp.poll(now))
                }
            });
        }
        match self.visits.get_mut(&place) {
            Some(visit) => visit.input(packet, bytes, now),
            None => Ok(refusal(back, packet).into_iter().collect()),
        }
    }

    /// Lets everybody say what is due.
    pub fn poll(&mut self, now: Duration) -> Vec<OwnedFrame> {
        self.visits.retain(|_, visit| !visit.tcp.is_forgotten(now));
        let due = self.visits.values_mut().filter(|visit| visit.deadline().is_some_and(|at| at <= now));
        due.flat_map(|visit| visit.poll(now)).collect()
    }
}

impl Visit {
    fn new(tcp: Tcp, ailment: Ailment, is_told: bool) -> Self {
        Self { tcp, ailment, is_told, heard: Vec::new(), answers: None, is_answered: false }
    }

    fn deadline(&self) -> Option<Duration> {
        let answers = self.answers.filter(|_| !self.is_answered && self.tcp.end_of_it().is_none());
        [self.tcp.deadline(), answers].into_iter().flatten().min()
    }

    fn input(&mut self, packet: &Packet, bytes: &[u8], now: Duration) -> Result<Vec<OwnedFrame>, Violation> {
        self.tcp.input(packet, bytes, now);
        if let Some(complaint) = self.tcp.complaint() {
            return Err(Violation::new(Invariant::AgreementsKept, format!("a health check: {complaint}")));
        }
        self.heard.extend(self.tcp.read());
        self.read_header()?;
        if self.heard.ends_with(b"\r\n\r\n") && self.answers.is_none() {
            if !self.heard.starts_with(REQUEST) {
                let heard = String::from_utf8_lossy(&self.heard);
                return Err(Violation::new(Invariant::BytesInOrder, format!("a target is asked {heard:?}")));
            }
            self.answers = Some(if self.ailment == Ailment::Late { now + LATE } else { now });
        }
        Ok(self.poll(now))
    }

    /// Whoever asks for himself says so first, where a header is expected.
    fn read_header(&mut self) -> Result<(), Violation> {
        if !self.is_told {
            return Ok(());
        }
        match proxy::read(&self.heard).map_err(Violation::wrong_header)? {
            Some((Header::Local, len)) => {
                self.heard.drain(..len);
                self.is_told = false;
                Ok(())
            }
            Some((other, _)) => {
                Err(Violation::wrong_header(format!("a health check is announced as {other:?}")))
            }
            None if self.tcp.is_closed_by_peer() => {
                Err(Violation::wrong_header("a health check without one".into()))
            }
            None => Ok(()),
        }
    }

    fn poll(&mut self, now: Duration) -> Vec<OwnedFrame> {
        if !self.is_answered && self.answers.is_some_and(|at| at <= now) {
            self.is_answered = true;
            self.answer(now);
        }
        if self.tcp.is_closed_by_peer() && self.tcp.end_of_it().is_none() {
            self.tcp.finish();
        }
        self.tcp.poll(now)
    }

    fn answer(&mut self, now: Duration) {
        let half = &WELL[..WELL.len() / 2];
        match self.ailment {
            Ailment::WrongStatus => self.tcp.write(UNWELL),
            Ailment::Garbage => self.tcp.write(GARBAGE),
            Ailment::HalfThenSilence | Ailment::HalfThenEnd => self.tcp.write(half),
            Ailment::Resets => self.tcp.abort(now),
            Ailment::None | Ailment::Late | Ailment::Refuses | Ailment::Silent => self.tcp.write(WELL),
        }
        if ![Ailment::HalfThenSilence, Ailment::Resets].contains(&self.ailment) {
            self.tcp.finish();
        }
    }
}

/// They have an ordinary link, and little to say.
const MANNER: Manner = Manner {
    mss: Some(1440),
    window: 65_535,
    appetite: Appetite::Keen,
    extensions: Extensions { scale: None, timestamps: true, fast_open: false, sack: false, reneges: false },
    offloads: false,
};
