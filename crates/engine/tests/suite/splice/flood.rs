//! SYNs from nobody, 100,000 a second: what one costs, and whom it harms.

use super::*;
use crate::allocations::allocations;
use engine::{Egress, HandOverFull, Output, Verdict, WorkerId};
use wire::Frame;

/// Counts what leaves, by where, and keeps nothing.
#[derive(Default)]
struct Watch {
    /// Towards the flood, and towards anybody else.
    left: [usize; 2],
    provider: usize,
    handshakes: usize,
}

impl Output for Watch {
    fn forward(&mut self, _: usize, frame: &mut Frame<'_>, egress: Egress) {
        self.emit(frame, egress);
    }
    fn emit(&mut self, _: &mut Frame<'_>, Egress::Device(device): Egress) {
        self.left[usize::from(usize::from(device.0) == self.provider)] += 1;
    }
    fn hand_over(&mut self, _: WorkerId, _: DeviceId, _: &Frame<'_>) -> Result<(), HandOverFull> {
        Ok(())
    }
    fn verdict(&mut self, _: usize, verdict: Verdict) {
        self.handshakes += usize::from(verdict.reason == Reason::SpliceHandshake);
    }
    fn event(&mut self, _: Event) {}
}

/// SYNs to the splice listener, each from somebody else.
fn syns(first: u32, count: u32) -> Vec<Vec<u8>> {
    let syn = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        let source: (Addr, u16) = (Addr::v4([172, a, b, c]), 1000);
        let mut buffer = [0; SEGMENT_CAPACITY];
        let len = segment(SYN, n, 0, MODERN).write_between(source, (addr(INTERFACE), DOOR), &mut buffer);
        buffer[..len].to_vec()
    };
    (first..first + count).map(syn).collect()
}

/// Ten microseconds for each.
fn flood(scene: &mut Scene, syns: &mut [Vec<u8>], watch: &mut Watch) {
    let device = scene.lab.consumers[0];
    for syn in syns {
        scene.lab.now += Duration::from_micros(10);
        scene.lab.workers[0].input(device, &mut [Frame::plain(syn)], scene.lab.now, watch);
        scene.lab.pass(0, scene.lab.now, watch);
    }
}

#[test]
fn a_flood_costs_the_target_nothing_and_us_no_memory() {
    let mut scene = Scene::met();
    let mut watch = Watch { provider: scene.lab.provider.0.into(), ..Watch::default() };
    flood(&mut scene, &mut syns(0, 100_000), &mut watch);
    let mut more = syns(100_000, 100_000);
    let count = allocations(|| flood(&mut scene, &mut more, &mut watch));
    assert_eq!(count, 0, "what there was room for is used again");
    assert_eq!(watch.handshakes, 200_000, "each is answered");
    assert_eq!(watch.left[1], 0, "the target has heard of none");
    assert!((200_000..210_000).contains(&watch.left[0]), "{:?}", watch.left);
}

#[test]
fn whoever_talks_goes_on_and_whoever_means_it_gets_through() {
    let mut scene = Scene::met();
    let established = (scene.ports, scene.ours.wrapping_add(1));
    let mut watch = Watch { provider: scene.lab.provider.0.into(), ..Watch::default() };
    flood(&mut scene, &mut syns(0, 50_000), &mut watch);
    // Another client, ten milliseconds away, as is its target.
    scene.ports = [CLIENT_PORT + 7, 0];
    scene.ours = scene.greeted(&segment(SYN, ISN, 0, MODERN)).packet.sequence;
    flood(&mut scene, &mut syns(50_000, 1000), &mut watch);
    scene.dial(stamped(710, 0));
    flood(&mut scene, &mut syns(51_000, 1000), &mut watch);
    scene.meet(ANSWER);
    flood(&mut scene, &mut syns(52_000, 50_000), &mut watch);
    let hello = |ours| segment(ACK, START, ours, stamped(720, 0));
    let ours = scene.ours.wrapping_add(1);
    assert_eq!(scene.carried(true, &hello(ours)).numbers(), (START, THEIR_START));
    scene.ports = established.0;
    assert_eq!(scene.carried(true, &hello(established.1)).numbers(), (START, THEIR_START));
    assert_eq!(watch.left[1], 0);
}

#[test]
fn whose_handshake_is_complete_makes_room_for_nobody() {
    let mut scene = Scene::dialled(MODERN, ANSWER);
    // Its endpoint has half of them: its own, and one that whoever comes takes from who came before.
    scene.lab.workers[0].limit_escorts(4);
    let mut watch = Watch { provider: scene.lab.provider.0.into(), ..Watch::default() };
    flood(&mut scene, &mut syns(0, 100), &mut watch);
    assert_eq!(watch.handshakes, 100);
    scene.meet(ANSWER);
}
