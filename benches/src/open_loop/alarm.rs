//! Waking up at a moment, to the microsecond: a poll's own limit is in milliseconds.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Result;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

/// Makes a poll return once its moment has come.
pub(super) struct Alarm {
    timer: OwnedFd,
    set: Option<Instant>,
}

impl Alarm {
    /// Not set yet.
    pub(super) fn new(registry: &Registry, token: Token) -> Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, set: None })
    }

    /// From now on it is for this moment; at once if that is past. It need not be read: being set anew makes it silent.
    pub(super) fn set(&mut self, moment: Instant) -> Result<()> {
        if self.set == Some(moment) {
            return Ok(());
        }
        // None at all would mean that it is not set.
        let left = moment.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let once = Itimerspec { it_interval: Duration::ZERO.try_into()?, it_value: left.try_into()? };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.set = Some(moment);
        Ok(())
    }
}
