//! Waiting for many sockets at once, by one thread: the wish to stop ends it.

use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use anyhow::Result;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::process::Interrupt;

/// The wish's place among the sockets'.
const WISH: Token = Token(usize::MAX);

/// Sockets that are waited for.
pub struct Watch<'a> {
    poll: Poll,
    interrupt: &'a Interrupt,
}

impl<'a> Watch<'a> {
    /// None so far.
    pub fn new(interrupt: &'a Interrupt) -> Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&interrupt.as_fd().as_raw_fd()), WISH, Interest::READABLE)?;
        Ok(Self { poll, interrupt })
    }

    /// Where they are entered, under any token but the last one that there is.
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Waits until something happens, for as long as `limit` at most; fails once the wish to stop has come.
    pub fn wait(&mut self, events: &mut Events, limit: Option<Duration>) -> Result<()> {
        loop {
            let polled = self.poll.poll(events, limit);
            self.interrupt.check()?;
            match polled {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                polled => return Ok(polled?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn it_ends_with_its_limit_or_the_wish_to_stop() {
        let interrupt = Interrupt::of_nobody().unwrap();
        let mut watch = Watch::new(&interrupt).unwrap();
        let mut events = Events::with_capacity(2);
        watch.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
        let ended = thread::scope(|scope| {
            let waiting = scope.spawn(|| watch.wait(&mut events, None));
            interrupt.come();
            waiting.join().unwrap()
        });
        assert_eq!(ended.unwrap_err().to_string(), "interrupted");
        let mut late = Watch::new(&interrupt).unwrap();
        assert!(late.wait(&mut events, None).is_err(), "the wish stays");
    }
}
