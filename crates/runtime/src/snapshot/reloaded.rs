//! What a reload has changed, for `sidegate reload`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A reload that was accepted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What is different from what is in force, in the order of services, groups, targets, endpoints, namespaces and
    /// settings. Empty if nothing is.
    pub changes: Vec<Change>,
    /// After how many seconds it takes effect: `run.propagation_delay`, less what has passed of it if the same was asked for
    /// before; 0 says that it has.
    pub in_effect_after: f64,
    /// Whether another, which was accepted and was to take effect later, is given up for it.
    pub gives_up: bool,
}

/// One thing that is different. Its sentence is its `Display`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What kind of thing it is: `service`, `group`, `target`, `endpoint`, `namespace`, `setting`.
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
