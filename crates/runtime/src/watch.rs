//! The watch: opens devices, notices when a namespace is replaced or gone or a device fails or falls, and re-attaches.
//!
//! A TUN's descriptor keeps a deleted namespace alive: without the watch, one would go on forwarding into a ghost after
//! `ip netns del x; ip netns add x`.
//!
//! It also keeps the offloads that all devices share. Frames pass from any device to any other, so none may have what one
//! of them lacks; and a kernel that refuses what it has agreed to is asked for it no more.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, tick};
use crossbeam::select;
use crossbeam::sync::WaitGroup;
use device::{
    Answer, Answering, DeviceError, DeviceSpec, Fallen, NamespaceIdentity, Offloads, Opened, Opener,
    Standing, Steering, Undone,
};
use flow::{Key, Place};
use topology::{DeviceBackend, DeviceId, Namespace, Topology};

use crate::board::Board;
use crate::command::{Command, Line};
use crate::snapshot::DeviceState;

/// The devices' own MTU: above what the path carries, so that the limit is the engine's to enforce and not hidden by the
/// consumer's kernel.
const DEVICE_MTU: u32 = 9001;
/// How often the namespaces are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is told to the watch.
pub(crate) enum Report {
    /// A worker's queue of this device is of no use any more, and why.
    Lost(DeviceId, String),
    /// The kernel would not finish what a good frame for this device left undone.
    Refused(DeviceId, Undone),
    /// A packet came for a flow that had expired: its sides at the consumer and at the target, and how long it was silent.
    ExpiredFlowHit(Key, Key, Duration),
    /// The forwarder stops.
    Stop,
}

/// The thread that looks after the devices.
pub(crate) struct Watch {
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
    standing: Option<Standing>,
    answering: Option<Answering>,
}

impl Attached {
    /// Renews what the kernel has forgotten beside the device; finds out whether packets still come to it.
    fn keep(&mut self) -> Result<(), Fallen> {
        self.standing.as_mut().map_or(Ok(()), Standing::check)?;
        self.answering.iter_mut().for_each(Answering::renew);
        Ok(())
    }
}

impl Watch {
    /// A watch over devices none of which is open yet.
    pub(crate) fn new(board: Arc<Board>, opener: Arc<dyn Opener>, lines: Vec<Line>) -> Self {
        let attached = board.topology.namespaces.iter().map(|_| None).collect();
        let remark = match board.topology.run.device {
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

    /// Looks after the devices until told to stop.
    pub(crate) fn run(mut self, reports: &Receiver<Report>) {
        let rounds = tick(INTERVAL);
        loop {
            // Rounds have their turn, however many reports there are.
            let next = select! {
                recv(reports) -> report => report.map_or(ControlFlow::Break(()), |report| self.heed(report)),
                recv(rounds) -> _ => self.look_around(reports),
            };
            if next.is_break() {
                return;
            }
        }
    }

    fn heed(&mut self, report: Report) -> ControlFlow<()> {
        match report {
            Report::Lost(device, why) => self.lost(device, &why),
            Report::Refused(device, undone) => self.refused(device, undone),
            Report::ExpiredFlowHit(original, reply, silent) => self.say_expired(&original, &reply, silent),
            Report::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn namespace(&self, device: DeviceId) -> &Namespace {
        &self.board.topology.namespaces[device.index()]
    }

    fn say_expired(&self, original: &Key, reply: &Key, silent: Duration) {
        let [from, to] = [original, reply].map(|key| SocketAddr::new(key.remote.ip(), key.remote_port));
        let address = |place| match place {
            Place::Interface(id) => self.board.topology.interfaces[id].address,
            Place::Node(id) => self.board.topology.nodes[id].address,
        };
        let [door, node] = [original, reply].map(|key| SocketAddr::new(address(key.place), key.local_port));
        let seconds = silent.as_secs();
        tracing::info!(
            "expired flow hit: {from} -> {door}, carried as {node} -> {to}, was silent for {seconds} s before this \
             packet, which was answered with a RST"
        );
    }

    fn look_around(&mut self, reports: &Receiver<Report>) -> ControlFlow<()> {
        // Before a device is opened anew, all that was said of the old one has to be heard.
        reports.try_iter().take(reports.len()).try_for_each(|report| self.heed(report))?;
        for index in 0..self.attached.len() {
            let device = DeviceId(index as u16);
            let there = NamespaceIdentity::of(&self.namespace(device).path).ok();
            match (&mut self.attached[index], there) {
                (Some(own), Some(there)) if own.namespace == there => {
                    if let Err(fallen) = own.keep() {
                        self.lost(device, &fallen.to_string());
                    }
                }
                (Some(_), Some(_)) => {
                    tracing::warn!(
                        "namespace {:?} was replaced: attaching to the new one",
                        self.namespace(device).name
                    );
                    self.close(device);
                    self.open_again(device);
                }
                (Some(_), None) => {
                    let name = &self.namespace(device).name;
                    tracing::warn!("namespace {name:?} is gone: its endpoints are down until it is back");
                    self.close(device);
                    self.board.set_device(device, DeviceState::Down("the namespace is gone".into()));
                }
                (None, Some(_)) => self.open_again(device),
                (None, None) => {}
            }
        }
        ControlFlow::Continue(())
    }

    /// A queue failed, or nothing comes to the device any more: it is made anew in the next round. If it is down already,
    /// another worker's report came first.
    fn lost(&mut self, device: DeviceId, why: &str) {
        if self.attached[device.index()].is_none() {
            return;
        }
        tracing::warn!(
            "the device in namespace {:?} is lost ({why}): it is made anew",
            self.namespace(device).name
        );
        self.close(device);
        self.board.set_device(device, DeviceState::Down(why.into()));
    }

    /// The kernel does not keep its word. Frames that were on their way when it was released from it say so again.
    fn refused(&mut self, device: DeviceId, undone: Undone) {
        if !self.offloads.allow(undone) {
            return;
        }
        let lowered = self.offloads.without(undone);
        let name = &self.namespace(device).name;
        tracing::warn!(
            "the kernel refused {undone} in namespace {name:?}, against its word: offloads are {lowered} from now on"
        );
        self.lower(lowered, Some(format!("lowered: the kernel refused {undone}")));
    }

    /// A new device has been granted this: whatever it lacks, the others give up.
    fn share(&mut self, device: DeviceId, granted: Offloads) {
        let common = self.offloads & granted;
        if common == self.offloads {
            return;
        }
        let others = self.attached.iter().any(Option::is_some);
        let remark = others.then(|| {
            let name = &self.namespace(device).name;
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

    fn open_again(&mut self, device: DeviceId) {
        // An endpoint need not wait for a link that hosts are answered on: it may be gone for a moment only.
        match self.open(device, true) {
            Ok(()) => tracing::info!("attached to namespace {:?} again", self.namespace(device).name),
            Err(error) => {
                let state = DeviceState::Down(error.to_string());
                if self.board.set_device(device, state) {
                    tracing::warn!("{error}");
                }
            }
        }
    }

    fn open(&mut self, device: DeviceId, answers_may_wait: bool) -> Result<(), DeviceError> {
        let namespace = self.namespace(device);
        let opened = self.opener.open(&DeviceSpec {
            name: self.board.device_name.clone(),
            namespace: namespace.path.clone(),
            queues: self.lines.len(),
            mtu: DEVICE_MTU,
            offloads: self.offloads,
            steering: steering(&self.board.topology, device),
            routed: namespace.routed.clone(),
            local: namespace.local.clone(),
            answers: answers(namespace),
            answers_may_wait,
        })?;
        self.share(device, opened.offloads);
        let Opened { queues, steering, namespace, standing, answering, .. } = opened;
        self.attached[device.index()] = Some(Attached { namespace, standing, answering });
        self.board.set_opened(device, queues.len(), steering.to_string(), self.shown_offloads());
        let done = WaitGroup::new();
        for (line, queue) in self.lines.iter().zip(queues) {
            line.tell(Command::Attach(device, queue, done.clone()));
        }
        done.wait();
        Ok(())
    }

    /// Takes the device from every worker; when this returns, it is gone, and nobody is answered any more.
    fn close(&mut self, device: DeviceId) {
        self.attached[device.index()] = None;
        self.order(|done| Command::Detach(device, done));
    }

    /// Gives every worker an order, and waits until all have carried it out.
    fn order(&self, command: impl Fn(WaitGroup) -> Command) {
        let done = WaitGroup::new();
        for line in &self.lines {
            line.tell(command(done.clone()));
        }
        done.wait();
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
