//! One probe: a connection of our own from a node to a target, what is asked over it and found out, and its polite end.

use std::sync::Arc;
use std::time::Duration;

use balance::{Outcome, Reason as Unwell};
use flow::{Cause, FlowId, Found, Key};
use stack::{Connection, InputError, Parting, Stack, State};
use topology::TargetId;
use wire::{Frame, PROXY_LOCAL, SynOptions};

use super::checks::Check;
use super::page::{Answer, Page};
use crate::contract::Output;
use crate::terminate::fence::Gate;
use crate::verdict::Reason;

/// How long a target may take to close its side, once we know how it is.
const LINGER: Duration = Duration::from_secs(5);
/// How much of what it goes on saying is taken meanwhile.
const MOST_IGNORED: usize = 64 << 10;

/// A connection that asks one target once.
pub(super) struct Probe {
    pub(super) flow: FlowId,
    pub(super) check: Arc<Check>,
    /// What the target's packets look like to the flow table.
    key: Key,
    connection: Connection,
    /// What is left to say of the header that the target expects, if it expects one.
    header: &'static [u8],
    /// The page to be asked for; without one, the connection is all.
    page: Option<Box<Page>>,
    stage: Stage,
}

enum Stage {
    /// It is not known yet how the target is. No answer counts that has not come by then.
    Asking { until: Duration },
    /// It is known. The connection closes, politely until then; so many bytes more are taken.
    Closing { until: Duration, room: usize },
}

/// What has come of a look at a probe.
pub(super) struct Attended {
    /// What was found out just now.
    pub(super) found: Option<Outcome>,
    pub(super) outlook: Outlook,
}

/// What becomes of a probe that has been attended to.
pub(super) enum Outlook {
    /// It is to be looked at again then, if nothing happens before.
    Until(Duration),
    /// It can be dropped. Its flow has ended like this.
    Over(Cause),
}

impl Probe {
    /// Asks what `check` asks, and for its page if it has one, over the flow that was opened for it. `None` where the stack has no place left.
    pub(super) fn dial(
        stack: &mut Stack,
        check: &Arc<Check>,
        page: Option<Page>,
        opened: &Found,
        now: Duration,
    ) -> Option<Self> {
        let from = (check.from, opened.onward.local_port).into();
        Some(Self {
            flow: opened.flow,
            check: Arc::clone(check),
            key: opened.onward,
            connection: Connection::dial(stack, from, check.to, now)?,
            header: if check.expects_header { &PROXY_LOCAL } else { &[] },
            page: page.map(Box::new),
            stage: Stage::Asking { until: now + check.how.timeout },
        })
    }

    /// Takes in a packet of the target's.
    pub(super) fn input<O: Output>(
        &mut self,
        stack: &mut Stack,
        frame: &Frame<'_>,
        now: Duration,
        gate: &mut Gate<'_, O>,
    ) -> Reason {
        let device = self.check.device;
        match self.connection.input(stack, frame, now, &mut |frame| gate.emit(frame, device)) {
            Err(InputError::Stray | InputError::Checksum) => Reason::BadChecksum,
            Ok(()) | Err(InputError::NoMemory | InputError::LateSyn | InputError::Unacceptable) => {
                Reason::HealthCheck
            }
        }
    }

    /// Moves it on: what is due, what there is to hear and to say.
    pub(super) fn attend<O: Output>(
        &mut self,
        stack: &mut Stack,
        now: Duration,
        gate: &mut Gate<'_, O>,
    ) -> Attended {
        // So that the target's SYN-ACK has its own ACK, before anything else is said.
        self.poll(stack, now, gate);
        let found = self.find(now);
        if found.is_some() {
            self.hang_up(now);
        }
        self.see_off(now);
        self.poll(stack, now, gate);
        let outlook = match self.connection.state() {
            State::Closed => Outlook::Over(Cause::Finished),
            State::Failed(_) => Outlook::Over(Cause::Reset),
            State::Opening | State::Open | State::HalfClosed => Outlook::Until(self.deadline(stack, now)),
        };
        Attended { found, outlook }
    }

    /// What the SYN-ACK of the target's own port has said: told once.
    pub(super) fn take_syn_options(&mut self) -> Option<SynOptions> {
        self.connection.take_syn_options().filter(|_| self.check.is_at_the_door)
    }

    /// Ends it, whether it has found out something or not: the next time that it is attended to, the target is told with a RST.
    pub(super) fn cut_off(&mut self) {
        self.connection.abort();
        self.stage = Stage::Closing { until: Duration::ZERO, room: 0 };
    }

    /// Who is asked.
    pub(super) fn target(&self) -> TargetId {
        self.check.target
    }

    /// What is left of its connection, if that is in TIME-WAIT.
    pub(super) fn parting(&self) -> Option<(Key, Parting)> {
        Some((self.key, self.connection.parting()?))
    }

    /// What has been found out, if anything has.
    fn find(&mut self, now: Duration) -> Option<Outcome> {
        let Stage::Asking { until } = self.stage else { return None };
        if now >= until {
            return Some(Outcome::Failed(Unwell::Timeout));
        }
        match self.connection.state() {
            State::Opening => None,
            State::Failed(_) => Some(Outcome::Failed(Unwell::FailedHealthChecks)),
            _ if !self.introduces_itself() => None,
            _ => self.ask(),
        }
    }

    /// Says that no client is behind it, where that is expected. Whether all of that is said.
    fn introduces_itself(&mut self) -> bool {
        let said = self.connection.send(self.header);
        self.header = &self.header[said..];
        self.header.is_empty()
    }

    /// Asks what there is to be asked, over a connection that stands.
    fn ask(&mut self) -> Option<Outcome> {
        let Some(page) = &mut self.page else { return Some(Outcome::Passed) };
        page.advance(&mut self.connection).map(|answer| self.judge(answer))
    }

    fn judge(&self, answer: Answer) -> Outcome {
        let is_good = |status| self.check.http().is_some_and(|http| http.matcher.accepts(status));
        match answer {
            Answer::Status(status) if is_good(status) => Outcome::Passed,
            Answer::Status(_) => Outcome::Failed(Unwell::ResponseCodeMismatch),
            Answer::Garbage => Outcome::Failed(Unwell::FailedHealthChecks),
        }
    }

    /// Says goodbye: as one does, where there is a connection.
    fn hang_up(&mut self, now: Duration) {
        self.stage = Stage::Closing { until: now + LINGER, room: MOST_IGNORED };
        if self.connection.state() == State::Opening {
            return self.connection.abort();
        }
        if let Some(page) = self.page.as_mut().filter(|_| self.header.is_empty()) {
            page.take_leave(&mut self.connection);
        }
        self.connection.close();
    }

    /// Hears the target out, within limits.
    fn see_off(&mut self, now: Duration) {
        let Stage::Closing { until, room } = &mut self.stage else { return };
        loop {
            let heard = self.connection.receive_with(<[u8]>::len);
            if heard > *room || now >= *until {
                return self.connection.abort();
            }
            if heard == 0 {
                return;
            }
            *room -= heard;
        }
    }

    fn deadline(&mut self, stack: &mut Stack, now: Duration) -> Duration {
        let (Stage::Asking { until } | Stage::Closing { until, .. }) = self.stage;
        self.connection.poll_at(stack, now).map_or(until, |at| at.min(until))
    }

    fn poll<O: Output>(&mut self, stack: &mut Stack, now: Duration, gate: &mut Gate<'_, O>) {
        let device = self.check.device;
        self.connection.poll(stack, now, &mut |frame| gate.emit(frame, device));
    }
}
