//! What a running instance answers on its control socket.

use control::Refusal;
use runtime::{Observer, TargetStatus};

use crate::Failure;
use crate::reload::Reloads;
use crate::request::{Answer, Request};

/// Answers for one forwarder.
pub(crate) struct Answers {
    observer: Observer,
    reloads: Option<Reloads>,
}

impl Answers {
    /// Of an instance that has no file to read again, unless reloads are done.
    pub(crate) fn new(observer: Observer, reloads: Option<Reloads>) -> Self {
        Self { observer, reloads }
    }

    /// The answer to a request.
    pub(crate) fn to(&self, request: Request) -> Result<Answer, Refusal> {
        Ok(match request {
            Request::Status {} => Answer::Status(Box::new(self.observer.snapshot())),
            Request::Reload {} => Answer::Reload(self.reloads()?.wait_for_one()?),
            Request::Targets { group } => Answer::Targets(self.targets(group.as_deref())?),
            Request::Services {} => Answer::Services(self.observer.services()),
            Request::Endpoints {} => Answer::Endpoints(self.observer.endpoints()),
            Request::Flows { filter } => {
                Answer::Flows(self.observer.flows(&filter).map_err(Refusal::Mistake)?)
            }
            Request::Explain { question } => {
                Answer::Explain(self.observer.explain(&question).map_err(Refusal::Mistake)?)
            }
        })
    }

    fn reloads(&self) -> Result<&Reloads, Failure> {
        let none =
            || Failure::mistake("this instance has no file to read again; start one with `sidegate run`");
        self.reloads.as_ref().ok_or_else(none)
    }

    fn targets(&self, group: Option<&str>) -> Result<Vec<TargetStatus>, Failure> {
        let mut targets = self.observer.targets();
        let Some(group) = group else { return Ok(targets) };
        targets.retain(|target| target.group == group);
        if targets.is_empty() {
            return Err(Failure::mistake(format_args!(
                "there is no target group {group:?} with targets; `sidegate targets` lists all"
            )));
        }
        Ok(targets)
    }
}
