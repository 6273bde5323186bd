//! What must hold, whatever arrives: between what came and what left, and over time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use engine::{Event, Outcome, Reason};
use flow::{Cause, FlowPath, Table};
use topology::DeviceId;
use wire::{Checksum, Offload};

use crate::frames::{self, Limits};
use crate::making::{Shifting, leads_to, shifting};
use crate::packets::{Layout, UDP};
use crate::streams::Streams;
use crate::world::{PROVIDER, Said, Sent};

/// A frame as it was handed in.
pub(crate) struct Arrived {
    pub(crate) device: DeviceId,
    pub(crate) offload: Offload,
    pub(crate) bytes: Vec<u8>,
    pub(crate) layout: Option<Layout>,
}

impl Arrived {
    pub(crate) fn new(device: DeviceId, offload: Offload, bytes: Vec<u8>) -> Self {
        let layout = Layout::of(&bytes);
        Self { device, offload, bytes, layout }
    }

    pub(crate) fn sender(&self) -> Option<Side> {
        self.layout.and_then(|layout| Side::sender(self.device, &self.bytes, &layout))
    }

    /// Whether its header's checksum was right, and that of what it carries.
    fn is_right(&self) -> bool {
        let partial = self.offload.checksum == Checksum::Partial;
        self.layout.is_some_and(|layout| {
            let whole = layout.fragment.is_none();
            layout.header_is_right(&self.bytes) && (!whole || layout.checksum_is_right(&self.bytes, partial))
        })
    }
}

/// One side of a conversation: who talks to which of the engine's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Side {
    pub(crate) device: DeviceId,
    protocol: u8,
    pub(crate) remote: (IpAddr, u16),
    pub(crate) local: (IpAddr, u16),
}

impl Side {
    /// The side that a packet comes from.
    fn sender(device: DeviceId, bytes: &[u8], layout: &Layout) -> Option<Self> {
        let [from, to] = layout.ports(bytes)?;
        let (remote, local) = ((layout.source, from), (layout.destination, to));
        Some(Self { device, protocol: layout.protocol, remote, local })
    }

    /// The side that a packet goes to.
    pub(crate) fn receiver(device: DeviceId, bytes: &[u8], layout: &Layout) -> Option<Self> {
        let side = Self::sender(device, bytes, layout)?;
        Some(Self { remote: side.local, local: side.remote, ..side })
    }
}

/// What is known from outside about the engine's flows, and the rules.
pub(crate) struct Invariants {
    limits: Limits,
    /// Each side of a nat flow, and what a packet from there was sent on as when the flow was new.
    onward: HashMap<Side, Side>,
    streams: Streams,
    opened: usize,
    closed: usize,
    /// Fragments that wait in the engine.
    kept: usize,
    /// No fragment came whose header was wrong already.
    fragments_are_right: bool,
}

impl Invariants {
    pub(crate) fn new(limits: Limits) -> Self {
        let (onward, streams) = (HashMap::new(), Streams::default());
        Self { limits, onward, streams, opened: 0, closed: 0, kept: 0, fragments_are_right: true }
    }

    /// The table has no more than it may, and no other flows than those of which it was said.
    pub(crate) fn hold_for(&self, flows: &Table, now: Duration) {
        assert!(flows.len() <= flows.capacity(), "{} flows in a table for {}", flows.len(), flows.capacity());
        // Checks are flows of which nothing is said.
        let mut probes = 0;
        flows.each(now, |flow| probes += usize::from(matches!(flow.path, FlowPath::Probe { .. })));
        assert_eq!(
            self.opened - self.closed,
            flows.live() - probes,
            "flows opened and closed, and flows there"
        );
    }

    /// Nothing is left of all that has been.
    pub(crate) fn hold_after_all(&self, flows: &Table) {
        assert!(flows.is_quiet(), "a flow that nobody forgets");
        assert_eq!(flows.lanes().ports_in_use(), 0, "a port that nobody gives back");
        assert_eq!(self.kept, 0, "fragments that nobody drops");
    }

    /// Judges what was said without a frame.
    pub(crate) fn note(&mut self, said: &Said) {
        self.count(&said.events);
        for sent in &said.sent {
            assert!(sent.built, "a frame that nobody handed in");
            frames::judge(sent, true, self.limits);
            self.streams.watch(sent, None);
        }
    }

    /// Judges what was said about a frame.
    pub(crate) fn judge(&mut self, arrived: &Arrived, said: &Said) {
        self.streams.hear(arrived);
        let opened = self.count(&said.events);
        let right = arrived.is_right();
        let fragment = arrived.layout.is_some_and(|layout| layout.fragment.is_some());
        self.fragments_are_right &= right || !fragment;
        for sent in &said.sent {
            let right = if fragment { self.fragments_are_right } else { right || sent.built };
            frames::judge(sent, right, self.limits);
        }
        let reason = said.verdicts[0].reason;
        // Of a flow that was opened by a packet that got no further, the next one tells where it leads.
        if opened
            && (reason.outcome() != Outcome::Carried || reason == Reason::SpliceHandshake)
            && let Some(from) = arrived.sender()
        {
            self.onward.remove(&from);
        }
        // Targets of flows that had to make room, or that end with their lane, are told first.
        let is_told = |cause: &Cause| {
            matches!(cause, Cause::CrowdedOut | Cause::Unhealthy | Cause::Deregistered | Cause::Removed)
        };
        let made_room = said
            .events
            .iter()
            .filter(|event| matches!(event, Event::FlowClosed { cause, .. } if is_told(cause)));
        let told = said.sent.iter().take(made_room.count()).take_while(|sent| sent.built).count();
        match (reason, reason.outcome(), &said.sent[told..]) {
            (Reason::Forwarded | Reason::StrayForwarded, _, [ahead @ .., sent]) => {
                let shifting = self.judge_flow(arrived, sent, opened);
                let may_speak =
                    |ahead: &Sent| shifting.is_some() && ahead.built && ahead.device == sent.device;
                assert!(ahead.iter().all(may_speak), "only a header or a RST goes ahead");
                frames::judge_rewrite(arrived, sent, shifting);
            }
            (Reason::FragmentForwarded, _, sent @ [_, ..]) => {
                self.judge_fragments(arrived, sent, said.late(), opened);
            }
            (Reason::IcmpForwarded, _, [sent]) => self.judge_report(arrived, sent),
            (Reason::FragmentKept, _, []) => self.kept += 1,
            // Its own TCP says what it has to say, be it about another packet than this one; and both ends are told of an end.
            (
                Reason::Terminated
                | Reason::TerminateMemory
                | Reason::TimeWait
                | Reason::SpliceHandshake
                | Reason::SpliceTerminated
                | Reason::SpliceMismatch
                | Reason::IcmpTerminated
                | Reason::HealthCheck
                | Reason::TargetUnhealthy
                | Reason::TargetDeregistered
                | Reason::WayRemoved
                | Reason::BadChecksum,
                _,
                sent,
            ) => {
                assert!(sent.iter().all(|sent| sent.built), "{reason:?} forwards nothing");
            }
            (_, Outcome::Answered, [sent]) => assert_eq!(sent.device, arrived.device, "back to who asked"),
            (_, Outcome::Dropped | Outcome::Ignored, []) => {}
            (reason, _, sent) => panic!("{} frames left, with the verdict {reason:?}", sent.len()),
        }
        for sent in &said.sent {
            self.streams.watch(sent, Some((arrived, reason)));
        }
    }

    /// Counts what comes and goes; says whether a flow came.
    fn count(&mut self, events: &[Event]) -> bool {
        let before = self.opened;
        for event in events {
            match event {
                Event::FlowOpened { .. } => self.opened += 1,
                Event::FlowClosed { .. } => self.closed += 1,
                Event::FragmentsEnded { count, .. } => self.kept -= count,
                Event::ExpiredFlowHit { .. } | Event::HealthChanged { .. } | Event::CheckPutOff { .. } => {}
            }
        }
        self.opened > before
    }

    /// A packet goes where its flow goes, and comes back the same way. Says how its sides' numbers differ.
    fn judge_flow(&mut self, arrived: &Arrived, sent: &Sent, opened: bool) -> Option<Shifting> {
        let to = Layout::of(&sent.bytes).and_then(|layout| Side::receiver(sent.device, &sent.bytes, &layout));
        let (from, to) = arrived.sender().zip(to).expect("what is forwarded has ports");
        let is_reply = from.device.index() == PROVIDER;
        let (consumer, target) = if is_reply { (to, from) } else { (from, to) };
        let shifting = shifting(consumer.local.1);
        let is_spliced = shifting.is_some_and(|shifting| shifting.spliced);
        // Of a spliced flow, it may be the target's packet that is forwarded first.
        let is_met = is_reply && is_spliced && !self.onward.contains_key(&consumer);
        if opened || is_met || !self.onward.contains_key(&from) {
            assert!(is_met || !is_reply, "the provider opens nothing");
            assert_eq!(target.device.index(), PROVIDER, "and only consumers are served");
            assert!(leads_to(consumer.local.1, target.remote), "to where the listener leads");
            self.onward.insert(from, to);
            self.onward.insert(to, from);
            if !is_spliced {
                self.streams.begin(&target);
            }
        }
        assert_eq!(self.onward.get(&from), Some(&to), "a flow's packets go one way");
        shifting
    }

    /// The fragment that tells the ports goes where its flow goes; what is sent with it, to the same place.
    fn judge_fragments(&mut self, arrived: &Arrived, sent: &[Sent], late: usize, opened: bool) {
        let layout = arrived.layout.expect("what is forwarded has a layout");
        let tells = |sent: &&Sent| Layout::of(&sent.bytes).is_some_and(|layout| layout.begins());
        let first = sent.iter().find(tells);
        assert_eq!(first.is_some(), layout.begins(), "the first fragment leaves when it comes");
        assert_eq!(late, sent.len() - 1, "what had waited is said to be sent");
        if let Some(first) = first {
            self.judge_flow(arrived, first, opened);
        }
        for sent in sent {
            let known = |side: &Side| {
                (side.device, side.protocol) == (sent.device, UDP)
                    && frames::is_between(sent, side.local.0, side.remote.0)
            };
            assert!(self.onward.values().any(known), "a fragment between two that never spoke");
        }
    }

    /// An ICMP error goes to the other side of the flow that it quotes, and quotes what that side has sent.
    fn judge_report(&self, arrived: &Arrived, sent: &Sent) {
        let layout = arrived.layout.expect("what is forwarded has a layout");
        let quote = |bytes: &[u8], transport: usize| bytes.get(transport + 8..).map(<[u8]>::to_vec);
        let old = quote(&arrived.bytes, layout.transport).expect("an error quotes");
        let new = quote(&sent.bytes, Layout::of(&sent.bytes).map_or(0, |layout| layout.transport))
            .expect("and so on");
        let (was, is) = Layout::of_quote(&old).zip(Layout::of_quote(&new)).expect("a packet");
        let quoted = Side::receiver(arrived.device, &old, &was);
        let side = Side::sender(sent.device, &new, &is);
        let (quoted, side) = quoted.zip(side).expect("a quote has ports");
        assert!(is.header_is_right(&new) || !was.header_is_right(&old), "a wrong checksum in a quote");
        let known = self.onward.get(&quoted);
        assert!(known.is_none_or(|known| *known == side), "what is quoted is the other side's own packet");
        assert!(frames::is_between(sent, side.local.0, side.remote.0), "from our address to who sent it");
    }
}
