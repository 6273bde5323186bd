//! What is told to the watch, and how: what must be heard, what need not be said twice, and what is a flag more than a word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use device::{Queue, Undone};
use flow::Key;
use topology::{DeviceId, Topology};

use crate::{ReloadError, Reloaded};

/// What is told to the watch.
pub(crate) enum Report {
    /// A worker's queue of this device is of no use any more: the queue, to be closed, and why.
    Lost(DeviceId, Option<Box<dyn Queue>>, String),
    /// The kernel would not finish what a good frame for this device left undone.
    Refused(DeviceId, Undone),
    /// A packet came for a flow that had expired: its sides at the consumer and at the target, and how long it was silent.
    ExpiredFlowHit(Key, Key, Duration),
    /// Checks have found targets to be otherwise than they were.
    HealthChanged,
    /// The operator's file is another; whoever asks waits for an answer.
    Reload(Box<Topology>, Sender<Result<Reloaded, ReloadError>>),
    /// The forwarder stops.
    Stop,
}

/// Tells the watch, from any thread.
#[derive(Clone)]
pub(crate) struct Reporter {
    reports: Sender<Report>,
    health_changed: Arc<AtomicBool>,
}

/// Where the watch hears it.
pub(crate) struct Mailbox {
    pub(crate) reports: Receiver<Report>,
    health_changed: Arc<AtomicBool>,
}

/// A mailbox, and the way to it. It has no bound of its own, because it needs none: each queue that a worker is given is lost
/// once, what need not be heard comes into an empty mailbox only, and who asks for a reload waits.
pub(crate) fn mailbox() -> (Reporter, Mailbox) {
    let (sender, receiver) = unbounded();
    let health_changed = Arc::new(AtomicBool::new(false));
    let reporter = Reporter { reports: sender, health_changed: Arc::clone(&health_changed) };
    (reporter, Mailbox { reports: receiver, health_changed })
}

impl Reporter {
    /// Says what must be heard. Whether anybody is left to hear it.
    pub(crate) fn tell(&self, report: Report) -> bool {
        self.reports.send(report).is_ok()
    }

    /// Says what will be said again when it matters: only while there is nothing else to hear.
    pub(crate) fn mention(&self, report: Report) {
        if self.reports.is_empty() {
            self.tell(report);
        }
    }

    /// Says that health has changed, unless that has been said and nobody has looked yet.
    pub(crate) fn health_changed(&self) {
        if !self.health_changed.swap(true, Ordering::AcqRel) {
            self.tell(Report::HealthChanged);
        }
    }
}

impl Mailbox {
    /// The watch looks at the targets' health. Who changes it from now on says so again.
    pub(crate) fn look_at_health(&self) {
        self.health_changed.swap(false, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_told_once_until_somebody_looks() {
        let (reporter, mailbox) = mailbox();
        for _ in 0..2 {
            reporter.health_changed();
            reporter.clone().health_changed();
            assert!(matches!(mailbox.reports.try_recv(), Ok(Report::HealthChanged)));
            assert!(mailbox.reports.is_empty());
            mailbox.look_at_health();
        }
    }

    #[test]
    fn what_must_be_heard_is_and_the_rest_waits_for_its_turn() {
        let (reporter, mailbox) = mailbox();
        reporter.mention(Report::Refused(DeviceId(0), Undone::Tcp));
        reporter.mention(Report::Refused(DeviceId(0), Undone::Tcp));
        (0..1000).for_each(|_| assert!(reporter.tell(Report::Lost(DeviceId(1), None, "gone".into()))));
        assert_eq!(mailbox.reports.len(), 1001);
        drop(mailbox);
        assert!(!reporter.tell(Report::Stop));
    }
}
