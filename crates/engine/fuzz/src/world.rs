//! An engine on a small topology, and a script that plays on it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use balance::{Reason as Unwell, Standing, State};
use engine::{Egress, Event, HandOverFull, Message, Output, Reason, Shared, Verdict, Worker, WorkerId};
use topology::{DeviceId, IcmpPolicy, Origin, Topology};
use wire::{Frame, Offload};

use crate::frames::Limits;
use crate::invariants::{Arrived, Invariants};
use crate::making::{answer, ask, report, treat};
use crate::script::{Left, Making, Script, Setting, Step, Treatment};

/// Two consumers with the same addresses, one provider, both families, every path; and a target that is an
/// endpoint again.
const FILE: &str = r#"
[run]
name = "fuzz"
[flows]
capacity = 1024
[[service]]
name = "orders"
namespace = "provider"
nodes = [{ zone = "a", address = "10.2.9.1" }, { zone = "a", address = "fd02::9:1" }]
listeners = [
  { protocol = "tcp", port = 80, forward = "web" },
  { protocol = "tcp", port = 8443, forward = "web", path = "terminate" },
  { protocol = "tcp", port = 444, forward = "round" },
  { protocol = "udp", port = 53, forward = "dns" },
  { protocol = "tcp", port = 82, forward = "told" },
  { protocol = "tcp", port = 8444, forward = "told", path = "splice" },
  { protocol = "tcp", port = 83, forward = "told-at-once" },
  { protocol = "tcp", port = 8445, forward = "web", path = "splice" },
]
[[target_group]]
name = "web"
targets = [
  { address = "10.2.0.2", port = 8080 }, { address = "fd02::2", port = 8080 },
  { address = "10.2.0.3", port = 8080 }, { address = "fd02::3", port = 8080 },
]
attributes = { "deregistration_delay.timeout_seconds" = 0, "deregistration_delay.connection_termination.enabled" = true }
[[target_group]]
name = "round"
targets = [{ address = "10.1.9.50", port = 80 }, { address = "fd01::9:50", port = 80 }]
[[target_group]]
name = "dns"
targets = [{ address = "10.2.0.2", port = 5353 }, { address = "fd02::2", port = 5353 }]
[[target_group]]
name = "told"
targets = [{ address = "10.2.0.2", port = 8081 }, { address = "fd02::2", port = 8081 }]
attributes = { "proxy_protocol_v2.enabled" = true }
[[target_group]]
name = "told-at-once"
targets = [{ address = "10.2.0.2", port = 8082 }, { address = "fd02::2", port = 8082 }]
[target_group.attributes]
"proxy_protocol_v2.enabled" = true
"proxy_protocol_v2.client_to_server.header_placement" = "on_first_ack"
[[endpoint]]
name = "orders-a"
service = "orders"
namespace = "consumer-a"
ids = { aws = "vpce-0000000000000000a" }
interfaces = [{ zone = "a", address = "10.1.9.50" }, { zone = "a", address = "fd01::9:50" }]
[[endpoint]]
name = "orders-b"
service = "orders"
namespace = "consumer-b"
ids = { aws = "vpce-0000000000000000b" }
interfaces = [{ zone = "a", address = "10.1.9.50" }, { zone = "a", address = "fd01::9:50" }]
"#;

/// What a reload changes in that file: nothing, a listener is gone, targets are replaced, an endpoint is gone.
const RELOADS: [(&str, &str); 4] = [
    ("", ""),
    ("{ protocol = \"tcp\", port = 80, forward = \"web\" },", ""),
    (
        "{ address = \"10.2.0.2\", port = 8080 }, { address = \"fd02::2\", port = 8080 },",
        "{ address = \"10.2.0.4\", port = 8080 }, { address = \"fd02::4\", port = 8080 },",
    ),
    (SECOND, ""),
];
const SECOND: &str = r#"[[endpoint]]
name = "orders-b"
service = "orders"
namespace = "consumer-b"
ids = { aws = "vpce-0000000000000000b" }
interfaces = [{ zone = "a", address = "10.1.9.50" }, { zone = "a", address = "fd01::9:50" }]
"#;
const CHECK: &str = "attributes = { \"dereg";

/// Each of these, without checks and with them.
static TOPOLOGIES: LazyLock<[[Topology; 2]; RELOADS.len()]> = LazyLock::new(|| {
    let checked = format!("health_check = {{ protocol = \"tcp\", interval = 5, timeout = 5 }}\n{CHECK}");
    RELOADS.map(|(old, new)| {
        let file = FILE.replacen(old, new, 1);
        let files = [file.clone(), file.replacen(CHECK, &checked, 1)];
        files.map(|file| {
            let topology = Topology::parse(&file, &Origin::new(Path::new("/fuzz.toml")));
            let topology = topology.expect("the file above is right");
            let names: Vec<&str> = topology.namespaces.iter().map(|own| own.name.as_str()).collect();
            assert!(["provider", "consumer-a", "consumer-b"].starts_with(&names));
            topology
        })
    })
});

/// The provider's device; the consumers' are the next ones.
pub(crate) const PROVIDER: usize = 0;
const DEVICES: usize = 3;
/// How many flows a small table holds.
const FEW: usize = 8;
/// How far back a script can refer to what the engine has sent.
const REMEMBERED: usize = 16;
/// How often a worker may ask to be called again at once before that is a sleepless night.
const PATIENCE: usize = 10_000;

/// Slots that a worker looks at in one call.
const BUDGET: usize = 1_000;
/// A silence that ends every flow; a sweep takes ten calls, and so many go by until nothing is left.
const SILENCE: Duration = Duration::from_secs(400);
const SILENCES: usize = 24;

/// The topology of a reload.
fn topology(setting: Setting, variant: u8) -> Topology {
    let variants = &TOPOLOGIES[usize::from(variant) % RELOADS.len()];
    let mut topology = variants[usize::from(setting.checked)].clone();
    if setting.helpful {
        topology.run.icmp = IcmpPolicy::Helpful;
    }
    if setting.small_table {
        topology.flows.capacity = FEW;
    }
    topology
}

/// How many frames ended for each reason, and fragments that had been kept.
pub type Tally = [usize; Reason::COUNT];

/// Plays a script; panics if the engine does, or breaks an invariant.
pub fn play(script: &Script) -> Tally {
    let mut world = World::new(script.setting);
    for step in &script.steps {
        world.step(step);
    }
    world.settle();
    world.tally
}

/// A frame that left.
pub(crate) struct Sent {
    pub(crate) device: DeviceId,
    pub(crate) offload: Offload,
    pub(crate) bytes: Vec<u8>,
    /// The engine built it, it is not a frame that came in.
    pub(crate) built: bool,
}

/// What a worker has said during one call.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) sent: Vec<Sent>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) events: Vec<Event>,
    handed: Vec<(WorkerId, DeviceId, Vec<u8>)>,
    full_rings: bool,
}

impl Said {
    /// How many fragments that had been kept are said to be sent on.
    pub(crate) fn late(&self) -> usize {
        let count = |event: &Event| match event {
            Event::FragmentsEnded { reason: Reason::FragmentForwarded, count } => *count,
            _ => 0,
        };
        self.events.iter().map(count).sum()
    }

    fn send(&mut self, frame: &Frame<'_>, Egress::Device(device): Egress, built: bool) {
        self.sent.push(Sent { device, offload: frame.offload, bytes: frame.bytes.to_vec(), built });
    }
}

impl Output for Said {
    fn forward(&mut self, _: usize, frame: &mut Frame<'_>, egress: Egress) {
        self.send(frame, egress, false);
    }

    fn emit(&mut self, frame: &mut Frame<'_>, egress: Egress) {
        self.send(frame, egress, true);
    }

    fn hand_over(&mut self, to: WorkerId, device: DeviceId, frame: &Frame<'_>) -> Result<(), HandOverFull> {
        if self.full_rings {
            return Err(HandOverFull);
        }
        self.handed.push((to, device, frame.bytes.to_vec()));
        Ok(())
    }

    fn verdict(&mut self, _slot: usize, verdict: Verdict) {
        self.verdicts.push(verdict);
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// The engine, and what is known about it from outside.
struct World {
    setting: Setting,
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    now: Duration,
    /// What left last, the latest first.
    sent: VecDeque<Sent>,
    invariants: Invariants,
    tally: Tally,
}

impl World {
    fn new(setting: Setting) -> Self {
        let topology = topology(setting, 0);
        let count = if setting.two_workers { 2 } else { 1 };
        let invariants =
            Invariants::new(Limits { mtu: topology.run.mtu.into(), plain: setting.plain_devices });
        let shared = Arc::new(Shared::new(Arc::new(topology), count, [1, 2, 3, 4]));
        let worker = |id| Worker::new(Arc::clone(&shared), WorkerId(id), [5, 6]);
        let workers = (0..count as u8).map(worker).collect();
        let sent = VecDeque::with_capacity(REMEMBERED);
        let tally = [0; Reason::COUNT];
        let mut world = Self { setting, shared, workers, now: Duration::ZERO, sent, invariants, tally };
        world.tell(Message::Offload(!setting.plain_devices));
        for device in 0..DEVICES as u16 {
            world.tell(Message::Attach(DeviceId(device)));
        }
        world
    }

    fn step(&mut self, step: &Step) {
        let device = |number: u8| DeviceId(u16::from(number) % DEVICES as u16);
        match step {
            Step::Send(making, treatment) => self.send(making, treatment),
            Step::Pass(tenths) => self.pass(Duration::from_millis(100 * u64::from(*tenths))),
            Step::Detach(number) => self.tell(Message::Detach(device(*number))),
            Step::Attach(number) => self.tell(Message::Attach(device(*number))),
            Step::Judge { target, well } => self.judge(*target, *well),
            Step::Reload(variant) => self.reload(self.setting, *variant),
        }
        self.shared.review(self.now);
        self.invariants.hold_for(self.shared.flows(), self.now);
    }

    /// Somebody finds out how a target is.
    fn judge(&self, target: u8, well: bool) {
        let topology = self.shared.topology();
        let judged = topology.targets.iter().nth(usize::from(target) % topology.targets.len());
        let standing = if well { Standing::HEALTHY } else { Standing::of(State::Unhealthy, Unwell::Timeout) };
        if let Some((id, _)) = judged {
            self.shared.health().set(id, standing);
        }
    }

    /// Another file is put in force.
    fn reload(&mut self, setting: Setting, variant: u8) {
        let fresh = topology(setting, variant).succeed(&self.shared.topology());
        self.shared.adopt(Arc::new(fresh.expect("there are not many ids")), self.now);
        self.tell(Message::Planned);
    }

    /// Makes a packet, treats it and hands it in.
    fn send(&mut self, making: &Making, treatment: &Treatment) {
        let before = |back: u8| self.sent.get(usize::from(back).checked_rem(self.sent.len())?);
        let (device, made) = match making {
            Making::Ask { asker, door, segment } => {
                (1 + usize::from(asker.second), Some(ask(asker, *door, segment)))
            }
            Making::Answer { back, segment } => {
                let Some(sent) = before(*back) else { return };
                (sent.device.index(), answer(&sent.bytes, segment))
            }
            Making::Report { back, kind, word, quoted } => {
                let Some(sent) = before(*back) else { return };
                let device = sent.device.index();
                (device, report(&sent.bytes, device, *kind, *word, *quoted))
            }
            Making::Again { back, device } => {
                let Some(sent) = before(*back) else { return };
                (usize::from(*device) % DEVICES, Some(sent.bytes.clone()))
            }
            Making::Raw { device, bytes } => (usize::from(*device) % DEVICES, Some(bytes.clone())),
        };
        let Some(bytes) = made else { return };
        let made = !matches!(making, Making::Raw { .. } | Making::Again { .. });
        let mut treatment = treatment.clone();
        if self.setting.plain_devices {
            treatment.left = Left::Nothing;
        }
        for (nth, (offload, bytes)) in treat(bytes, made, &treatment).into_iter().enumerate() {
            let worker = usize::from(treatment.second_worker) + if treatment.spread { nth } else { 0 };
            self.hand_in(worker % self.workers.len(), DeviceId(device as u16), offload, bytes);
        }
    }

    /// Hands a frame to a worker, and on to the one that it says should have it.
    fn hand_in(&mut self, worker: usize, device: DeviceId, offload: Offload, bytes: Vec<u8>) {
        let arrived = Arrived::new(device, offload, bytes);
        let mut said = self.call(worker, &arrived);
        if let Some((to, from, bytes)) = said.handed.pop() {
            assert!(said.verdicts.is_empty() && said.sent.is_empty(), "a frame handed over is the other's");
            assert!(to.index() != worker && said.handed.is_empty(), "to one other worker");
            assert_eq!((from, &bytes), (device, &arrived.bytes), "as it was");
            self.invariants.note(&said);
            said = self.call(to.index(), &arrived);
        }
        assert!(said.handed.is_empty(), "nobody passes on what was handed to him");
        assert_eq!(said.verdicts.len(), 1, "one frame, one verdict");
        self.tally[said.verdicts[0].reason.index()] += 1;
        self.invariants.judge(&arrived, &said);
        self.remember(said);
    }

    fn call(&mut self, worker: usize, arrived: &Arrived) -> Said {
        let mut bytes = arrived.bytes.clone();
        let mut said = Said { full_rings: self.setting.full_rings, ..Said::default() };
        let frame = Frame { offload: arrived.offload, bytes: &mut bytes };
        self.workers[worker].input(arrived.device, &mut [frame], self.now, &mut said);
        said
    }

    fn tell(&mut self, message: Message) {
        for worker in 0..self.workers.len() {
            let mut said = Said::default();
            self.workers[worker].message(message, self.now, &mut said);
            self.unasked(said);
        }
    }

    /// Time goes by. The workers are called when they want to be, but not for every tenth of a second of it.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let slowly = Duration::from_secs(2);
        while self.now < until {
            self.now = if until - self.now > slowly { self.now + (until - self.now) / 2 } else { until };
            self.work();
        }
    }

    /// The workers do what is due, until there is nothing left.
    fn work(&mut self) {
        for worker in 0..self.workers.len() {
            let mut calls = 0;
            while self.workers[worker].next_deadline() <= self.now {
                calls += 1;
                assert!(calls < PATIENCE, "a worker that never sleeps");
                let mut said = Said::default();
                self.workers[worker].expire(self.now, BUDGET, &mut said);
                self.unasked(said);
            }
        }
    }

    /// After a long silence nothing is left: no flow, no port, no slot in limbo.
    fn settle(&mut self) {
        self.reload(Setting { checked: false, ..self.setting }, 0);
        for _ in 0..SILENCES {
            self.now += SILENCE;
            self.work();
        }
        self.invariants.hold_after_all(self.shared.flows());
        self.invariants.hold_for(self.shared.flows(), self.now);
    }

    /// What a worker says when no frame has arrived.
    fn unasked(&mut self, said: Said) {
        assert!(said.verdicts.is_empty() && said.handed.is_empty(), "a verdict about no frame");
        self.invariants.note(&said);
        self.remember(said);
    }

    fn remember(&mut self, said: Said) {
        for event in said.events {
            if let Event::FragmentsEnded { reason, count } = event {
                self.tally[reason.index()] += count;
            }
        }
        for sent in said.sent {
            self.sent.truncate(REMEMBERED - 1);
            self.sent.push_front(sent);
        }
    }
}
