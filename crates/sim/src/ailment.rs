//! How the targets are that are checked: what each does with a health check at which time, and what a check may find then.

use std::time::Duration;

use balance::Reason;

/// Between the beginnings of two checks of a target.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// How long an answer may take.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// So many results in a row change what is known of a target, either way.
pub const THRESHOLD: u8 = 2;

/// How a group's targets are checked: each group at a port of its own, so that it shows who is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Check {
    /// The port.
    pub port: u16,
    /// Whether a page is asked for, or only a connection.
    pub asks_for_a_page: bool,
}

impl Check {
    /// As the operator's file says it.
    pub fn text(self) -> String {
        let Self { port, asks_for_a_page } = self;
        let what =
            if asks_for_a_page { "protocol = \"http\", path = \"/well\"" } else { "protocol = \"tcp\"" };
        let [interval, timeout] = [INTERVAL, TIMEOUT].map(|span| span.as_secs());
        format!(
            "{{ {what}, port = {port}, interval = {interval}, timeout = {timeout}, \
             healthy_threshold = {THRESHOLD}, unhealthy_threshold = {THRESHOLD} }}"
        )
    }
}

/// What a target does with a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ailment {
    /// It answers as it should.
    None,
    /// It refuses the connection.
    Refuses,
    /// It says nothing at all.
    Silent,
    /// It answers as it should, when nobody waits for it any more.
    Late,
    /// It answers with a status that does not mean health.
    WrongStatus,
    /// It answers with something that is not HTTP.
    Garbage,
    /// It says half of an answer, and nothing more.
    HalfThenSilence,
    /// It says half of an answer, and FIN.
    HalfThenEnd,
    /// It resets the connection when it is asked.
    Resets,
}

/// What one check has come to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Finding {
    /// The target is well.
    Well,
    /// It did not answer in time.
    Timeout,
    /// It refused, reset, or made no sense.
    Failed,
    /// It answered with a wrong status.
    Mismatch,
}

impl Ailment {
    /// Those that a check can meet.
    pub const fn of(check: Check) -> &'static [Self] {
        const PAGE: [Ailment; 8] = [
            Ailment::Refuses,
            Ailment::Silent,
            Ailment::Late,
            Ailment::WrongStatus,
            Ailment::Garbage,
            Ailment::HalfThenSilence,
            Ailment::HalfThenEnd,
            Ailment::Resets,
        ];
        if check.asks_for_a_page { &PAGE } else { &[Ailment::Refuses, Ailment::Silent] }
    }

    /// What a check finds, if nothing is lost on the way.
    pub const fn finding(self) -> Finding {
        match self {
            Self::None => Finding::Well,
            Self::Silent | Self::Late | Self::HalfThenSilence => Finding::Timeout,
            Self::WrongStatus => Finding::Mismatch,
            Self::Refuses | Self::Garbage | Self::HalfThenEnd | Self::Resets => Finding::Failed,
        }
    }
}

impl Finding {
    /// The reason that the API gives for it.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Well => None,
            Self::Timeout => Some(Reason::Timeout),
            Self::Failed => Some(Reason::FailedHealthChecks),
            Self::Mismatch => Some(Reason::ResponseCodeMismatch),
        }
    }
}

/// How one target is over time: from each of these moments on, in order. Before the first it is well.
#[derive(Clone, Default, Debug)]
pub struct Course(pub Vec<(Duration, Ailment)>);

impl Course {
    /// How it is at a moment.
    pub fn at(&self, now: Duration) -> Ailment {
        self.0.iter().rev().find(|(from, _)| *from <= now).map_or(Ailment::None, |(_, ailment)| *ailment)
    }

    /// Everything that it is within a span of time.
    pub fn during(&self, from: Duration, to: Duration) -> impl Iterator<Item = Ailment> {
        let later = self.0.iter().filter(move |(at, _)| (from..=to).contains(at));
        [self.at(from)].into_iter().chain(later.map(|(_, ailment)| *ailment))
    }
}
