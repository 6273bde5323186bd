//! The consumer's side of one connection: follows its plan, and says how it ended.

use std::time::Duration;

use wire::{Packet, Protocol};

use crate::icmp::Trouble;
use crate::invariants::{Violation, bytes_in_order, greeting_is_right, keeps_to_what_was_agreed};
use crate::packet::OwnedFrame;
use crate::plan::{Behaviour, Plan, Start};
use crate::rng::Rng;
use crate::stream::{Way, piece, tag_in};
use crate::tcp::{End, Tcp};
use crate::udp::{Asker, Habits};

/// How a connection has ended, as its client sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// As planned.
    AsPlanned,
    /// Otherwise.
    Otherwise(End),
    /// A device that it needed was gone for a while: nothing is asked of it any more.
    GivenUp,
}

/// One connection's client.
#[derive(Debug)]
pub struct Client {
    /// What it does.
    pub plan: Plan,
    session: Session,
    /// How much of the greeting has come, and of the stream.
    greeted: usize,
    read: usize,
    written: usize,
    /// When its rest is over, once it has begun.
    rests: Option<Duration>,
    has_given_up: bool,
    /// Whether it was half-open when somebody else needed its place.
    was_crowded_out: bool,
    /// When it began, once it has.
    begun: Option<Duration>,
    rng: Rng,
}

#[derive(Debug)]
enum Session {
    /// Not yet begun; the moment is known once the connection that it follows is over.
    Waiting(Option<Duration>),
    Tcp(Box<Tcp>),
    Udp(Asker),
}

impl Client {
    /// A client that will follow `plan`.
    pub fn new(plan: Plan, rng: Rng) -> Self {
        let begins = match plan.start {
            Start::At(moment) => Some(moment),
            Start::After(..) => None,
        };
        let session = Session::Waiting(begins);
        Self {
            plan,
            session,
            greeted: 0,
            read: 0,
            written: 0,
            rests: None,
            has_given_up: false,
            was_crowded_out: false,
            begun: None,
            rng,
        }
    }

    /// The connection that it follows is over.
    pub fn follow(&mut self, now: Duration) {
        if let (Session::Waiting(begins @ None), Start::After(_, pause)) =
            (&mut self.session, self.plan.start)
        {
            *begins = Some(now + pause);
        }
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Whether it had begun then.
    pub fn had_begun(&self, then: Duration) -> bool {
        self.begun.is_some_and(|begun| begun <= then)
    }

    /// How it ended; `None` while it goes on.
    pub fn ended(&self) -> Option<Ended> {
        match &self.session {
            _ if self.has_given_up => Some(Ended::GivenUp),
            Session::Waiting(_) => None,
            Session::Udp(asker) => match self.plan.behaviour {
                Behaviour::Unreachable => asker.is_refused().then_some(Ended::AsPlanned),
                _ => asker.is_answered().then_some(Ended::AsPlanned),
            },
            Session::Tcp(tcp) => tcp
                .end_of_it()
                .map(|end| if self.is_planned(end, tcp) { Ended::AsPlanned } else { Ended::Otherwise(end) }),
        }
    }

    /// How far it has come, for whoever has to find out why it did not come further.
    pub fn progress(&self) -> String {
        match &self.session {
            Session::Waiting(_) => "has not begun".into(),
            Session::Udp(asker) => format!("{asker:?}"),
            Session::Tcp(tcp) => format!(
                "{} of {} bytes up, {} of {} down, {:?}",
                tcp.delivered(),
                self.plan.upload,
                self.read,
                self.plan.download,
                tcp.end_of_it(),
            ),
        }
    }

    /// When [`Client::poll`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.session {
            Session::Waiting(begins) => *begins,
            Session::Tcp(tcp) => {
                let rests = self.rests.filter(|_| self.written < self.plan.upload && self.ended().is_none());
                tcp.deadline().into_iter().chain(rests).min()
            }
            Session::Udp(asker) => asker.deadline().filter(|_| self.ended().is_none()),
        }
    }

    /// Takes in a packet that is addressed to it and undamaged.
    pub fn input(&mut self, packet: &Packet, bytes: &[u8], now: Duration) -> Result<(), Violation> {
        match &mut self.session {
            Session::Waiting(_) => Ok(()),
            // What was meant for whoever had the tuple before may come late: there is no telling from the outside.
            Session::Udp(_) if came_late(self.plan.start, &bytes[packet.payload..]) => Ok(()),
            Session::Udp(asker) => asker.input(&bytes[packet.payload..], now),
            Session::Tcp(tcp) => {
                tcp.input(packet, bytes, now);
                keeps_to_what_was_agreed(self.plan.id, tcp)?;
                let news = tcp.read();
                self.take(&news)
            }
        }
    }

    /// Reads on: first the greeting, then the stream.
    fn take(&mut self, news: &[u8]) -> Result<(), Violation> {
        let expected = &self.plan.greeting()[self.greeted..];
        let (greeting, news) = news.split_at(news.len().min(expected.len()));
        self.greeted += greeting.len();
        greeting_is_right(self.plan.id, greeting, &expected[..greeting.len()])?;
        let offset = self.read;
        self.read += news.len();
        bytes_in_order(self.plan.id, Way::Down, offset, news)
    }

    /// Takes in an error about something that it has sent, and does what is to be done about it at once.
    pub fn hear(&mut self, trouble: Trouble, sequence: u32, now: Duration) -> Vec<OwnedFrame> {
        match (&mut self.session, trouble) {
            (Session::Udp(asker), _) => asker.hear(trouble),
            (Session::Tcp(tcp), Trouble::TooBig(mtu)) => tcp.hear_too_big(sequence, mtu),
            _ => {}
        }
        self.poll(now)
    }

    /// Does what the plan says is next.
    pub fn poll(&mut self, now: Duration) -> Vec<OwnedFrame> {
        if matches!(self.session, Session::Waiting(Some(begins)) if begins <= now) {
            self.begin(now);
        }
        let is_over = self.ended().is_some();
        let is_greeted = self.greeted == self.plan.greeting().len();
        match &mut self.session {
            Session::Waiting(_) => Vec::new(),
            Session::Udp(_) if is_over => Vec::new(),
            Session::Udp(asker) => asker.poll(now),
            Session::Tcp(tcp) => {
                if !is_over && is_greeted {
                    write(&self.plan, &mut self.written, &mut self.rests, tcp, now);
                    follow_plan(&self.plan, self.read, tcp, now);
                }
                let mut sent = tcp.poll(now);
                if !is_over && self.plan.behaviour == Behaviour::HangsUp && tcp.has_spoken() {
                    tcp.abort(now);
                    sent.extend(tcp.poll(now));
                }
                sent
            }
        }
    }

    /// Gives up what has begun: its application is tired of waiting.
    pub fn give_up(&mut self, now: Duration) -> Vec<OwnedFrame> {
        self.has_given_up |= self.has_begun();
        match &mut self.session {
            Session::Tcp(tcp) if tcp.end_of_it().is_none() => {
                tcp.abort(now);
                tcp.poll(now)
            }
            _ => Vec::new(),
        }
    }

    /// Its flow has made room for somebody else's. Whatever it has come to before, it has not come to by that.
    pub fn crowd_out(&mut self) {
        self.was_crowded_out |= self.ended().is_none();
    }

    /// Whether it has ended as one does who was crowded out, of whom `received` bytes have come to the target.
    pub fn is_crowded_out(&self, received: usize) -> bool {
        self.was_crowded_out
            && match self.ended() {
                Some(Ended::Otherwise(End::Reset)) => received == 0,
                // Who waits for nobody may be crowded out by others who do, each time that he tries.
                Some(Ended::Otherwise(End::GaveUp)) => self.plan.behaviour == Behaviour::Silent,
                _ => false,
            }
    }

    fn begin(&mut self, now: Duration) {
        self.begun = Some(now);
        let (plan, rng) = (&self.plan, self.rng.fork());
        self.session = if plan.behaviour.protocol() == Protocol::Udp {
            let mtu = plan.client.mtu(plan.route);
            let habits = Habits { longest: plan.download, mtu, identifier: plan.identifier };
            Session::Udp(Asker::new(plan.id, plan.route, plan.upload, habits, now, rng))
        } else {
            let mut tcp = Tcp::dial(plan.route, plan.client, rng);
            if let Some(every) = plan.keep_alive() {
                tcp.keep_alive(every);
            }
            Session::Tcp(Box::new(tcp))
        };
    }

    fn is_planned(&self, end: End, tcp: &Tcp) -> bool {
        match self.plan.behaviour {
            Behaviour::Refused | Behaviour::Silent => end == End::Refused,
            Behaviour::ClientResets | Behaviour::HangsUp => end == End::Aborted,
            // Who has heard the client's first bytes in its SYN resets it before it stands.
            Behaviour::ServerResets | Behaviour::Snubbed => matches!(end, End::Reset | End::Refused),
            Behaviour::Unheard | Behaviour::Forgotten => end == End::Reset,
            // Once everything has arrived, a RST that answers our FIN (its receiver has forgotten us) takes nothing away.
            _ => {
                let is_greeted = self.greeted == self.plan.greeting().len();
                let complete =
                    is_greeted && self.read == self.plan.download && tcp.delivered() == self.plan.upload;
                complete && (end == End::Finished || end == End::Reset && tcp.is_finishing())
            }
        }
    }
}

/// Whether a payload is for the connection that this one waited for.
fn came_late(start: Start, payload: &[u8]) -> bool {
    matches!((start, tag_in(payload)), (Start::After(before, _), Some(tag)) if tag.connection == before)
}

/// Writes what the client has to say: all at once, or half of it before and half after a rest.
fn write(plan: &Plan, written: &mut usize, rests: &mut Option<Duration>, tcp: &mut Tcp, now: Duration) {
    let first = plan.first_half();
    if tcp.delivered() == first && first < plan.upload {
        rests.get_or_insert(now + plan.rest);
    }
    let due = if rests.is_some_and(|until| until <= now) { plan.upload } else { first };
    if *written < due {
        tcp.write(&piece(plan.id, Way::Up, *written, due - *written));
        *written = due;
    }
}

fn follow_plan(plan: &Plan, read: usize, tcp: &mut Tcp, now: Duration) {
    match plan.behaviour {
        Behaviour::HalfClose | Behaviour::CloseTogether | Behaviour::Mute => tcp.finish(),
        Behaviour::ServerClosesFirst if tcp.is_closed_by_peer() => tcp.finish(),
        Behaviour::ServerHalfCloses if tcp.is_closed_by_peer() && tcp.delivered() == plan.upload => {
            tcp.finish();
        }
        Behaviour::Exchange | Behaviour::Echo | Behaviour::KeptAlive if read == plan.download => tcp.finish(),
        Behaviour::ClientResets if tcp.delivered() >= plan.upload / 2 => tcp.abort(now),
        _ => {}
    }
}
