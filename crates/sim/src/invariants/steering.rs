//! What must hold of targets and of what the operator changes: health is as the table of the real load balancer has it, newcomers
//! are sent to those who take them, and a flow ends if its attributes say so, and only then.

use std::time::Duration;

use balance::Standing;
use flow::{Cause, FlowId};
use topology::TargetId;

use super::{Invariant, Violation};

/// 15. What is known of a target is what its checks can have found.
pub fn health_follows_table(
    target: TargetId,
    seen: Standing,
    mut possible: impl Iterator<Item = Standing> + Clone,
) -> Result<(), Violation> {
    let all = possible.clone();
    if possible.any(|standing| standing == seen) {
        return Ok(());
    }
    let message = format!("{target:?} is {seen:?}, and can only be {:?}", all.collect::<Vec<_>>());
    Err(Violation::new(Invariant::HealthFollowsTable, message))
}

/// 15, of news: it is about somebody who is checked, and it is new.
pub fn health_is_told(target: TargetId, before: Option<Standing>, seen: Standing) -> Result<(), Violation> {
    if before.is_some_and(|before| before != seen) {
        return Ok(());
    }
    let message = format!("{target:?} is said to be {seen:?} now, and was {before:?}");
    Err(Violation::new(Invariant::HealthFollowsTable, message))
}

/// 15, of the schedule: a target is asked as often as its group says, give or take half of that.
pub fn check_is_due(
    target: TargetId,
    now: Duration,
    (earliest, latest): (Duration, Duration),
) -> Result<(), Violation> {
    if (earliest..=latest).contains(&now) {
        return Ok(());
    }
    let message = format!("{target:?} is to be asked between {earliest:?} and {latest:?}");
    Err(Violation::new(Invariant::HealthFollowsTable, message))
}

/// 16. A newcomer is sent to somebody who takes newcomers, in a group that its listener forwards to.
pub fn newcomer_is_welcome(flow: FlowId, target: TargetId, is_welcome: bool) -> Result<(), Violation> {
    let why = format!("{flow:?} is sent to {target:?}, which takes no newcomers");
    if is_welcome { Ok(()) } else { Err(Violation::new(Invariant::NewcomersWelcome, why)) }
}

/// 17. We end a flow only where the attributes say so.
pub fn flow_may_end(flow: FlowId, cause: Cause, grounds: [Option<Cause>; 2]) -> Result<(), Violation> {
    if grounds.contains(&Some(cause)) {
        return Ok(());
    }
    let message = format!("{flow:?} was ended as {cause:?}; what there is to say against it is {grounds:?}");
    Err(Violation::new(Invariant::FlowsEndAsTheirAttributesSay, message))
}

/// 17. Where they say so, a flow does end.
pub fn flow_ends_in_time(flow: FlowId, cause: Cause, late: Duration) -> Result<(), Violation> {
    let message = format!("{flow:?} was to end as {cause:?}, {late:?} ago");
    Err(Violation::new(Invariant::FlowsEndAsTheirAttributesSay, message))
}

/// 17. Whose connection is ended is told so.
pub fn end_is_told(flow: FlowId, cause: Cause, is_told: bool) -> Result<(), Violation> {
    let why = format!("{flow:?} was ended as {cause:?}, and its consumer is not told");
    if is_told { Ok(()) } else { Err(Violation::new(Invariant::FlowsEndAsTheirAttributesSay, why)) }
}

/// 5, of what goes on by itself: when all is over, nobody is asked how he is, and no lane counts a flow.
pub fn nobody_is_asked(probes: usize, on_lanes: usize) -> Result<(), Violation> {
    let message = format!("{probes} checks are under way, and {on_lanes} flows are counted on lanes");
    if (probes, on_lanes) == (0, 0) { Ok(()) } else { Err(Violation::new(Invariant::NothingLeft, message)) }
}
