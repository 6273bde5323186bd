//! What is answered without belonging to a flow (a RST, a ping, an ICMP error) is answered at a limited rate: whoever sends
//! rubbish must not make us send as much. RSTs have a rate of their own: somebody's pings must not cost anybody a RST.

use std::time::Duration;

/// Answers of one kind per second, and at once, of one worker.
const PER_SECOND: u32 = 1000;

/// A worker's allowance of one kind of answers: a bucket of tokens.
pub(crate) struct Answers {
    tokens: u32,
    filled: Duration,
}

impl Answers {
    pub(crate) fn new() -> Self {
        Self { tokens: PER_SECOND, filled: Duration::ZERO }
    }

    /// Whether there may be one more answer, which is then counted.
    pub(crate) fn allow(&mut self, now: Duration) -> bool {
        self.refill(now);
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }

    fn refill(&mut self, now: Duration) {
        // A token is a millisecond; what is less than one is left for the next time.
        let earned = now.saturating_sub(self.filled).as_millis().min(u128::from(PER_SECOND)) as u32;
        if earned == PER_SECOND {
            self.filled = now;
        } else {
            self.filled += Duration::from_millis(u64::from(earned));
        }
        self.tokens = (self.tokens + earned).min(PER_SECOND);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_a_thousand() {
        let mut answers = Answers::new();
        let allowed = |answers: &mut Answers, now| {
            (0..5000).filter(|_| answers.allow(Duration::from_millis(now))).count()
        };
        assert_eq!(allowed(&mut answers, 0), 1000);
        assert_eq!(allowed(&mut answers, 0), 0);
        assert_eq!(allowed(&mut answers, 100), 100);
        assert_eq!(allowed(&mut answers, 60_000), 1000, "the bucket does not overflow");
    }
}
