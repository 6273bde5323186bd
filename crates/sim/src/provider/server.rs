//! One connection's server: finds out who its client is, and follows the plan.

use std::time::Duration;

use crate::invariants::{Violation, bytes_in_order, header_is_due, header_is_right};
use crate::plan::{Behaviour, Plan};
use crate::proxy::{self, Header};
use crate::shop::{GREETING, Shop};
use crate::stream::{WORD, Way, piece, tag_in};
use crate::tcp::Tcp;

/// A server.
pub(super) struct Server {
    pub(super) tcp: Tcp,
    shop: Shop,
    is_rude: bool,
    /// What it was told of its client, if it was told anything.
    header: Option<Header>,
    /// Known once the first word has arrived.
    plan: Option<Plan>,
    /// What arrived before that.
    early: Vec<u8>,
    read: usize,
    written: usize,
}

impl Server {
    /// A server that has just been spoken to.
    pub(super) fn new(mut tcp: Tcp, shop: Shop, is_rude: bool) -> Self {
        if shop.greets && !shop.hears_first() {
            tcp.write(GREETING);
        }
        tcp.be_lenient();
        let (header, plan, early) = (None, None, Vec::new());
        Self { tcp, shop, is_rude, header, plan, early, read: 0, written: 0 }
    }

    /// What its client is to do, once it is known who it is.
    pub(super) fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// How much of the client's stream it has.
    pub(super) fn has_read(&self) -> usize {
        self.read
    }

    /// Reads what has arrived: a header, if there is to be one, and then the stream. Its first word says which connection this
    /// is.
    pub(super) fn read(&mut self, plans: &[Plan], now: Duration) -> Result<(), Violation> {
        self.early.extend(self.tcp.read());
        if self.is_rude && !self.early.is_empty() && self.tcp.end_of_it().is_none() {
            self.tcp.abort(now);
        }
        if self.is_rude || !self.read_header(plans)? {
            return Ok(());
        }
        if self.plan.is_none() && self.early.len() >= WORD {
            let named =
                tag_in(&self.early).and_then(|tag| plans.iter().find(|plan| plan.id == tag.connection));
            self.plan = named.cloned();
            if let (Some(plan), Some(header)) = (&self.plan, &self.header) {
                header_is_right(header, self.shop, [plan].into_iter())?;
            }
        }
        let Some(plan) = &self.plan else {
            return if self.early.len() < WORD { Ok(()) } else { Err(Violation::nameless(&self.early)) };
        };
        let news = std::mem::take(&mut self.early);
        let offset = self.read;
        self.read += news.len();
        bytes_in_order(plan.id, Way::Up, offset, &news)
    }

    /// Reads the header, if it has not. Returns whether what follows is the client's.
    fn read_header(&mut self, plans: &[Plan]) -> Result<bool, Violation> {
        if self.shop.header.is_none() || self.header.is_some() {
            return Ok(true);
        }
        let is_over = self.tcp.is_closed_by_peer();
        let Some((header, len)) = proxy::read(&self.early).map_err(Violation::wrong_header)? else {
            header_is_due(is_over && !(self.early.is_empty() && self.shop.withholds()))?;
            return Ok(false);
        };
        self.early.drain(..len);
        header_is_right(&header, self.shop, plans.iter())?;
        self.header = Some(header);
        // Whoever waits for his greeting has said nothing before.
        let is_silent = self.shop.greets && self.tcp.delivered() < GREETING.len();
        header_is_due(self.shop.withholds() && is_silent)?;
        if self.shop.greets && self.shop.hears_first() {
            self.tcp.write(GREETING);
        }
        Ok(true)
    }

    pub(super) fn follow_plan(&mut self, now: Duration) {
        let client_has_closed = self.tcp.is_closed_by_peer();
        let Some(plan) = &self.plan else {
            if client_has_closed {
                self.tcp.finish();
            }
            return;
        };
        if plan.behaviour == Behaviour::ServerResets && self.read >= plan.upload / 2 {
            self.tcp.abort(now);
            return;
        }
        let due = plan.answer_due(self.read, client_has_closed);
        if due > self.written {
            self.tcp.write(&piece(plan.id, Way::Down, self.written, due - self.written));
            self.written = due;
        }
        let closes_first = matches!(
            plan.behaviour,
            Behaviour::ServerClosesFirst | Behaviour::ServerHalfCloses | Behaviour::CloseTogether
        );
        if client_has_closed || closes_first && self.written == plan.download {
            self.tcp.finish();
        }
    }
}
