//! What a reload has changed, for `sidegate reload`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A reload that was accepted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What is different, in the order of services, groups, targets and endpoints. Empty if nothing is.
    pub changes: Vec<Change>,
    /// After how many seconds it takes effect: `run.propagation_delay`; 0 says that it has.
    pub in_effect_after: f64,
}

/// One thing that is different. Its sentence is its `Display`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What kind of thing it is: `service`, `group`, `target`, `endpoint`.
    pub thing: String,
    /// Its name; a target's address, port and group.
    pub name: String,
    /// What became of it.
    pub how: ChangeKind,
}

/// What a reload did to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is there no more.
    Removed,
    /// Something about it is different.
    Changed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Changed => "changed",
        };
        write!(f, "{} {} {how}", self.thing, self.name)
    }
}
