//! The watch: the thread beside the workers. It looks after the devices, has the engine draw its conclusions from what health
//! checks find, and takes up another topology when there is one.

use std::mem;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Sender, tick};
use crossbeam::select;
use flow::Key;
use topology::{Namespace, Topology};

use crate::board::{Board, address_of};
use crate::chronicle::Chronicle;
use crate::command::Command;
use crate::fleet::Fleet;
use crate::reload::{ReloadError, changes};
use crate::report::{Mailbox, Report};
use crate::snapshot::Reloaded;

/// How often the namespaces are looked at, and the targets' health, whatever is said.
const INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two looks at the targets' health, however quickly it changes.
const BREATH: Duration = Duration::from_millis(100);
/// For how long what a topology has no use for is kept after it came into force. Every flow is looked at once a second, so by
/// then both ends of each that ended with it have been told.
const LINGER: Duration = Duration::from_secs(2);
/// After how long it is tried again to let go of what could not be.
const RETRY: Duration = Duration::from_secs(30);

/// The thread that looks after everything that packets do not wait for.
pub(crate) struct Watch {
    board: Arc<Board>,
    fleet: Fleet,
    mailbox: Mailbox,
    chronicle: Chronicle,
    /// When the targets' health was looked at, and when it is looked at next.
    reviewed_at: Duration,
    review_at: Duration,
    /// When the devices let go of what they have no use for any more.
    settle_at: Option<Duration>,
    /// A topology that is to come into force, and when.
    coming: Option<(Duration, Topology)>,
    /// Rung each time that another topology has come into force.
    successions: Sender<()>,
}

impl Watch {
    /// A watch over devices that are open.
    pub(crate) fn new(board: Arc<Board>, fleet: Fleet, mailbox: Mailbox, successions: Sender<()>) -> Self {
        let now = board.now();
        Self {
            board,
            fleet,
            mailbox,
            chronicle: Chronicle::default(),
            reviewed_at: now,
            review_at: now,
            settle_at: None,
            coming: None,
            successions,
        }
    }

    /// Watches until told to stop.
    pub(crate) fn run(mut self) {
        self.warn_of_missing_lanes();
        let rounds = tick(INTERVAL);
        let reports = self.mailbox.reports.clone();
        loop {
            let patience = self.do_what_is_due();
            // Rounds have their turn, however many reports there are.
            let next = select! {
                recv(reports) -> report => report.map_or(ControlFlow::Break(()), |report| self.heed(report)),
                recv(rounds) -> _ => self.look_around(),
                default(patience) => ControlFlow::Continue(()),
            };
            if next.is_break() {
                return;
            }
        }
    }

    /// Does what time alone asks for. Returns how long there is nothing more of it.
    fn do_what_is_due(&mut self) -> Duration {
        let now = self.board.now();
        if let Some((_, topology)) = self.coming.take_if(|(at, _)| *at <= now) {
            self.board.set_reload(None);
            if let Err(error) = self.take_up(topology) {
                tracing::error!("the new topology could not take effect, so the old one stays: {error}");
            }
        }
        if self.settle_at.is_some_and(|at| at <= now) {
            self.settle_at = (!self.fleet.settle()).then(|| self.board.now() + RETRY);
        }
        if self.review_at <= now {
            self.review();
        }
        let coming = self.coming.as_ref().map(|(at, _)| *at);
        let next = [coming, self.settle_at].into_iter().flatten().fold(self.review_at, Duration::min);
        next.saturating_sub(self.board.now())
    }

    fn heed(&mut self, report: Report) -> ControlFlow<()> {
        match report {
            Report::Lost(device, queue, why) => {
                drop(queue);
                self.fleet.lost(device, &why);
            }
            Report::Refused(device, undone) => self.fleet.refused(device, undone),
            Report::ExpiredFlowHit(original, reply, silent) => {
                self.say_expired(&original, &reply, silent);
            }
            Report::HealthChanged => self.review_at = self.review_at.min(self.reviewed_at + BREATH),
            // Who asked may have given up waiting.
            Report::Reload(topology, answer) => drop(answer.send(self.reload(*topology))),
            Report::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn look_around(&mut self) -> ControlFlow<()> {
        // Before a device is opened anew, all that was said of the old one has to be heard.
        for _ in 0..self.mailbox.reports.len() {
            let Ok(report) = self.mailbox.reports.try_recv() else { break };
            self.heed(report)?;
        }
        self.fleet.look_around();
        ControlFlow::Continue(())
    }

    /// Has the engine draw its conclusions from the targets' health, and says what has become of them.
    fn review(&mut self) {
        let Board { shared, .. } = &*self.board;
        self.mailbox.look_at_health();
        self.reviewed_at = self.board.now();
        let sentences = shared.flows().lanes().sentences();
        let deadline = shared.review(self.reviewed_at);
        self.review_at = deadline.clamp(self.reviewed_at + BREATH, self.reviewed_at + INTERVAL);
        if shared.flows().lanes().sentences() != sentences {
            self.fleet.order(Command::Planned);
        }
        let news = shared.register(|register| self.chronicle.news(register, self.reviewed_at));
        news.iter().for_each(|line| tracing::info!("{line}"));
    }

    fn say_expired(&self, original: &Key, reply: &Key, silent: Duration) {
        let topology = self.board.topology();
        let address = |place| address_of(&topology, place);
        // Of what is gone there is nothing to say.
        let (Some(door), Some(node)) = (address(original.place), address(reply.place)) else { return };
        let [from, to] = [original, reply].map(|key| SocketAddr::new(key.remote.ip(), key.remote_port));
        let (door, node) =
            (SocketAddr::new(door, original.local_port), SocketAddr::new(node, reply.local_port));
        let seconds = silent.as_secs();
        tracing::info!(
            "expired flow hit: {from} -> {door}, carried as {node} -> {to}, was silent for {seconds} s before this \
             packet, which was answered with a RST"
        );
    }

    /// Takes up a new topology, now or after the propagation delay.
    fn reload(&mut self, new: Topology) -> Result<Reloaded, ReloadError> {
        let now = self.board.topology();
        let differences = now.unchangeable(&new);
        if !differences.is_empty() {
            return Err(ReloadError::Unchangeable(differences));
        }
        if let Some(at) = self.time_of_same(&new)? {
            let next = new.succeed(&now)?;
            let in_effect_after = at.saturating_sub(self.board.now()).as_secs_f64();
            return Ok(Reloaded { changes: changes(&now, &next), in_effect_after, gives_up: false });
        }
        let next = new.succeed(&now)?;
        let changes = changes(&now, &next);
        // What is in force already need not wait.
        let delay = if changes.is_empty() { Duration::ZERO } else { next.run.propagation_delay };
        let coming = if delay.is_zero() {
            self.take_up(next)?;
            None
        } else {
            Some((self.board.now() + delay, next))
        };
        self.board.set_reload(coming.as_ref().map(|(at, _)| *at));
        let gives_up = mem::replace(&mut self.coming, coming).is_some();
        Ok(Reloaded { changes, in_effect_after: delay.as_secs_f64(), gives_up })
    }

    /// When a topology that says the same is to come into force, if one is: its time stays, however often it is asked for.
    fn time_of_same(&self, new: &Topology) -> Result<Option<Duration>, ReloadError> {
        let Some((at, coming)) = &self.coming else { return Ok(None) };
        let is_same = changes(coming, &new.clone().succeed(coming)?).is_empty();
        Ok(is_same.then_some(*at))
    }

    /// Has a topology take effect: all of it, or nothing is different.
    fn take_up(&mut self, next: Topology) -> Result<(), ReloadError> {
        // A device that has fallen without our notice could not be made ready.
        self.fleet.look_around();
        let next = Arc::new(next);
        let prepared = self.fleet.prepare(&next).inspect_err(|_| {
            // What could not be undone at once.
            self.settle_at.get_or_insert(self.board.now() + LINGER);
        })?;
        self.board.shared.adopt(Arc::clone(&next), self.board.now());
        self.fleet.order(Command::Planned);
        self.fleet.complete(&next, prepared);
        // However lately another came into force: what ends with this one has all the time that it takes.
        self.settle_at = Some(self.board.now() + LINGER);
        self.review();
        let used = next.namespaces.iter().filter(|namespace| Namespace::is_used(namespace)).count();
        tracing::info!("a new topology is in force; endpoints: {}, devices: {used}", next.endpoints.len());
        self.warn_of_missing_lanes();
        // Full: it has been rung already, and nobody has looked yet.
        let _ = self.successions.try_send(());
        Ok(())
    }

    /// Newcomers that are refused for want of a lane are counted; a target that is not checked for want of one is not.
    fn warn_of_missing_lanes(&self) {
        let missing = self.board.shared.plan().missing_lanes();
        if missing > 0 {
            tracing::warn!(
                "{missing} ways from endpoints or health checks to targets find no room, so new flows are refused there and \
                 such targets are not checked; restart sidegate, or have fewer endpoints, listeners or targets"
            );
        }
    }
}
