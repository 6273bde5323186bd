//! A running forwarder as other threads see it: they look at it, ask it, and give it another topology.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use topology::Topology;

use crate::board::Board;
use crate::reload::{PATIENCE, ReloadError};
use crate::report::{Report, Reporter};
use crate::snapshot::{
    EndpointDetail, Explanation, FlowFilter, FlowList, Question, Reloaded, ServiceStatus, Snapshot,
    TargetStatus,
};

/// Looks at a forwarder and asks it, from any thread.
#[derive(Clone)]
pub struct Observer {
    pub(crate) board: Arc<Board>,
    pub(crate) reporter: Reporter,
}

impl Observer {
    /// How the forwarder looks now.
    pub fn snapshot(&self) -> Snapshot {
        self.board.snapshot()
    }

    /// How the targets are, in the order of their groups' names.
    pub fn targets(&self) -> Vec<TargetStatus> {
        self.board.targets()
    }

    /// How the services are.
    pub fn services(&self) -> Vec<ServiceStatus> {
        self.board.services()
    }

    /// How the endpoints are.
    pub fn endpoints(&self) -> Vec<EndpointDetail> {
        self.board.endpoint_details()
    }

    /// The flows that fit the question. An error says what is wrong with the question.
    pub fn flows(&self, filter: &FlowFilter) -> Result<FlowList, String> {
        self.board.list_flows(filter)
    }

    /// What would become of a newcomer. An error says what is wrong with the question.
    pub fn explain(&self, question: &Question) -> Result<Explanation, String> {
        self.board.explain(question)
    }

    /// In how long a topology that was accepted takes effect, if one is to. A reload that is refused leaves it so.
    pub fn reload_in(&self) -> Option<Duration> {
        self.board.reload_in()
    }

    /// Has the forwarder take up another topology, fresh from its file: now, or after its propagation delay. Flows that the
    /// change does not concern go on undisturbed.
    pub fn reload(&self, topology: Topology) -> Result<Reloaded, ReloadError> {
        let (answer, answers) = bounded(1);
        self.reporter.tell(Report::Reload(Box::new(topology), answer));
        answers.recv_timeout(PATIENCE).unwrap_or(Err(ReloadError::Silent))
    }
}

/// The topologies that come into force, each when it has. It ends with the forwarder; one that was replaced before anybody
/// looked is left out.
pub struct Successions {
    pub(crate) board: Arc<Board>,
    pub(crate) bell: Receiver<()>,
}

impl Iterator for Successions {
    type Item = Arc<Topology>;

    /// Waits until another topology is in force.
    fn next(&mut self) -> Option<Arc<Topology>> {
        self.bell.recv().ok()?;
        Some(self.board.topology())
    }
}
