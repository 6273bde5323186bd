//! How often that has happened which a seed is of little use without.

use std::ops::Add;

use flow::Cause;

use super::occasions::Occasions;

/// How much has happened, to targets and files and to headers.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    /// Topologies that were taken up.
    pub reloads: usize,
    /// How often something has become known of a target.
    pub news: usize,
    /// Newcomers that were sent to targets out of service, because too few are in it.
    pub failed_open: usize,
    /// Flows that were ended because their target was unhealthy …
    pub unhealthy: usize,
    /// … or deregistered …
    pub deregistered: usize,
    /// … or because the operator had taken their way away …
    pub removed: usize,
    /// … or because their target had never acknowledged its header.
    pub unheard: usize,
    /// Headers that were sent again.
    pub repeated: usize,
    /// Errors about a header that its consumer was told of, who knows of none.
    pub quoted: usize,
    /// What has befallen flows whose two sides differ in numbers.
    pub occasions: Occasions,
}

impl Tally {
    /// A flow has ended.
    pub(super) fn count(&mut self, cause: Cause) {
        match cause {
            Cause::Unhealthy => self.unhealthy += 1,
            Cause::Deregistered => self.deregistered += 1,
            Cause::Removed => self.removed += 1,
            Cause::HeaderUnheard => self.unheard += 1,
            _ => {}
        }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            reloads: self.reloads + other.reloads,
            news: self.news + other.news,
            failed_open: self.failed_open + other.failed_open,
            unhealthy: self.unhealthy + other.unhealthy,
            deregistered: self.deregistered + other.deregistered,
            removed: self.removed + other.removed,
            unheard: self.unheard + other.unheard,
            repeated: self.repeated + other.repeated,
            quoted: self.quoted + other.quoted,
            occasions: self.occasions + other.occasions,
        }
    }
}
