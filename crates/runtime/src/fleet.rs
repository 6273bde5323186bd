//! The fleet: all devices. It opens them, notices when a namespace is replaced or gone or a device fails or falls, and
//! attaches to it again.
//!
//! A TUN's descriptor keeps a deleted namespace alive: without a look now and then, one would go on forwarding into a ghost
//! after `ip netns del x; ip netns add x`.
//!
//! It also keeps the offloads that all devices share. Frames pass from any device to any other, so none may have what one
//! of them lacks; and a kernel that refuses what it has agreed to is asked for it no more.

mod succession;

use std::sync::Arc;

use crossbeam::channel::unbounded;
use crossbeam::sync::WaitGroup;
use device::{
    Answer, DeviceError, DeviceSpec, Fallen, Hold, NamespaceIdentity, Offloads, Opened, Opener, Steering,
    Undone,
};
use topology::{DeviceBackend, DeviceId, Namespace, Topology};

use crate::board::Board;
use crate::command::{Command, Line};
use crate::snapshot::DeviceState;

/// The devices' own MTU: above what the path carries, so that the limit is the engine's to enforce and not hidden by the
/// consumer's kernel.
const DEVICE_MTU: u32 = 9001;

/// All devices, and the workers that have their queues.
pub(crate) struct Fleet {
    board: Arc<Board>,
    opener: Arc<dyn Opener>,
    lines: Vec<Line>,
    /// For each device, what keeps it; `None` while it is down.
    attached: Vec<Option<Attached>>,
    /// What every device may leave undone.
    offloads: Offloads,
    /// Why that is not all, if it needs to be said.
    remark: Option<String>,
}

/// What we know of a device that is up, and hold for it.
struct Attached {
    namespace: NamespaceIdentity,
    hold: Option<Hold>,
    steering: Option<Steering>,
    /// Whether nothing leads to it but what the topology in force wants.
    is_settled: bool,
}

impl Attached {
    /// Renews what the kernel has forgotten beside the device; finds out whether packets still come to it.
    fn keep(&mut self) -> Result<(), Fallen> {
        self.hold.as_mut().map_or(Ok(()), Hold::keep)
    }
}

impl Fleet {
    /// A fleet none of whose devices is open yet.
    pub(crate) fn new(board: Arc<Board>, opener: Arc<dyn Opener>, lines: Vec<Line>) -> Self {
        let topology = board.topology();
        let attached = topology.namespaces.iter().map(|_| None).collect();
        let remark = match topology.run.device {
            DeviceBackend::Offload => None,
            DeviceBackend::Plain => Some("plain".into()),
        };
        Self { board, opener, lines, attached, offloads: Offloads::ALL, remark }
    }

    /// Opens every device, or none.
    pub(crate) fn open_all(&mut self) -> Result<(), DeviceError> {
        (0..self.attached.len()).try_for_each(|index| self.open(DeviceId(index as u16), false))?;
        let (offloads, steering) = (self.shown_offloads(), self.board.snapshot().steering());
        tracing::info!("{} devices are up, offloads {offloads}, steering {steering}", self.attached.len());
        Ok(())
    }

    /// Looks at every namespace: closes devices that have lost theirs, opens those that are down and can be up.
    pub(crate) fn look_around(&mut self) {
        let topology = self.board.topology();
        // A device of a namespace that is not used any more is let go of soon, whatever becomes of it.
        let used = topology.namespaces.iter().enumerate().filter(|(_, namespace)| namespace.is_used());
        for (index, namespace) in used {
            let device = DeviceId(index as u16);
            let there = NamespaceIdentity::of(&namespace.path).ok();
            match (&mut self.attached[index], there) {
                (Some(own), Some(there)) if own.namespace == there => {
                    if let Err(fallen) = own.keep() {
                        self.lost(device, &fallen.to_string());
                    }
                }
                (Some(_), Some(_)) => {
                    tracing::warn!("namespace {:?} was replaced: attaching to the new one", namespace.name);
                    self.close(device);
                    self.open_again(device);
                }
                (Some(_), None) => {
                    let name = &namespace.name;
                    tracing::warn!("namespace {name:?} is gone: its endpoints are down until it is back");
                    self.close(device);
                    self.board.set_device(device, DeviceState::Down("the namespace is gone".into()));
                }
                (None, Some(_)) => self.open_again(device),
                (None, None) => {}
            }
        }
    }

    /// A queue failed, or nothing comes to the device any more: it is made anew in the next round. If it is down already,
    /// another worker's report came first.
    pub(crate) fn lost(&mut self, device: DeviceId, why: &str) {
        if self.attached[device.index()].is_none() {
            return;
        }
        if self.board.topology().namespaces[device.index()].is_used() {
            tracing::warn!(
                "the device in namespace {:?} is lost ({why}): it is made anew",
                self.name(device)
            );
        }
        self.close(device);
        self.board.set_device(device, DeviceState::Down(why.into()));
    }

    /// The kernel does not keep its word. Frames that were on their way when it was released from it say so again.
    pub(crate) fn refused(&mut self, device: DeviceId, undone: Undone) {
        if !self.offloads.allow(undone) {
            return;
        }
        let lowered = self.offloads.without(undone);
        tracing::warn!(
            "the kernel refused {undone} in namespace {:?}, against its word: offloads are {lowered} from now on",
            self.name(device)
        );
        self.lower(lowered, Some(format!("lowered: the kernel refused {undone}")));
    }

    /// Gives every worker an order, and waits until all have carried it out.
    pub(crate) fn order(&self, command: impl Fn(WaitGroup) -> Command) {
        let done = WaitGroup::new();
        for line in &self.lines {
            line.tell(command(done.clone()));
        }
        done.wait();
    }

    fn name(&self, device: DeviceId) -> String {
        self.board.topology().namespaces[device.index()].name.clone()
    }

    /// A new device has been granted this: whatever it lacks, the others give up.
    fn share(&mut self, device: DeviceId, granted: Offloads) {
        let common = self.offloads & granted;
        if common == self.offloads {
            return;
        }
        let others = self.attached.iter().any(Option::is_some);
        let remark = others.then(|| {
            let name = self.name(device);
            tracing::warn!(
                "the kernel grants the device in namespace {name:?} only {granted}: so do all others"
            );
            format!("lowered: the device in namespace {name:?} has no more")
        });
        self.lower(common, remark);
    }

    fn lower(&mut self, offloads: Offloads, remark: Option<String>) {
        self.offloads = offloads;
        self.remark = remark.or(self.remark.take());
        self.board.set_offloads(self.shown_offloads());
        self.order(|done| Command::Lower(offloads, done));
    }

    fn shown_offloads(&self) -> String {
        match &self.remark {
            Some(remark) => format!("{} ({remark})", self.offloads),
            None => self.offloads.to_string(),
        }
    }

    /// Opens a device that is down.
    fn open_again(&mut self, device: DeviceId) {
        // An endpoint need not wait for a link that hosts are answered on: it may be gone for a moment only.
        match self.open(device, true) {
            Ok(()) => tracing::info!("attached to namespace {:?} again", self.name(device)),
            Err(error) => {
                let state = DeviceState::Down(error.to_string());
                if self.board.set_device(device, state) {
                    tracing::warn!("{error}");
                }
            }
        }
    }

    fn open(&mut self, device: DeviceId, answers_may_wait: bool) -> Result<(), DeviceError> {
        let topology = self.board.topology();
        let spec = self.spec(&topology, device, answers_may_wait);
        let opened = self.opener.open(&spec)?;
        self.attach(device, spec.steering, opened);
        Ok(())
    }

    /// What the device has to be.
    fn spec(&self, topology: &Topology, device: DeviceId, answers_may_wait: bool) -> DeviceSpec {
        let namespace = &topology.namespaces[device.index()];
        DeviceSpec {
            name: self.board.device_name.clone(),
            namespace: namespace.path.clone(),
            queues: self.lines.len(),
            mtu: DEVICE_MTU,
            offloads: self.offloads,
            steering: steering(topology, device),
            routed: namespace.routed.clone(),
            local: namespace.local.clone(),
            answers: answers(namespace),
            answers_may_wait,
        }
    }

    /// Gives every worker its queue of a device that has just been opened, to be steered like this.
    fn attach(&mut self, device: DeviceId, steering: Option<Steering>, opened: Opened) {
        let Opened { queues, offloads, steering: steered, namespace, hold, .. } = opened;
        self.share(device, offloads);
        self.attached[device.index()] = Some(Attached { namespace, hold, steering, is_settled: true });
        self.board.set_opened(device, queues.len(), steered.to_string(), self.shown_offloads());
        let done = WaitGroup::new();
        let counters = self.board.device_counters(device);
        for ((line, queue), counters) in self.lines.iter().zip(queues).zip(counters) {
            line.tell(Command::Attach(device, queue, counters, done.clone()));
        }
        done.wait();
    }

    /// Takes the device from every worker; when this returns, it is gone, and nobody is answered any more.
    fn close(&mut self, device: DeviceId) {
        self.attached[device.index()] = None;
        let (answer, queues) = unbounded();
        for line in &self.lines {
            line.tell(Command::Detach(device, answer.clone()));
        }
        drop(answer);
        // Closed on this thread, which no packet waits for.
        queues.into_iter().for_each(drop);
    }
}

/// How packets are to find their queue, and so their worker. Where only answers of targets come in, by the port that the
/// flow's worker has chosen for it; where clients speak, by the flow.
fn steering(topology: &Topology, device: DeviceId) -> Option<Steering> {
    let has_clients = || topology.endpoints.iter().any(|(_, endpoint)| endpoint.device == device);
    match topology.run.steering {
        topology::Steering::Kernel => None,
        topology::Steering::Flow if has_clients() => Some(Steering::ByFlow),
        topology::Steering::Flow => Some(Steering::ByDestinationPort),
    }
}

/// The addresses of the namespace that hosts on a link are answered for.
pub fn answers(namespace: &Namespace) -> Vec<Answer> {
    let answer = |answer: &topology::Answer| Answer { link: answer.link.clone(), address: answer.address };
    namespace.answers.iter().map(answer).collect()
}
