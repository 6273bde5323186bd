//! Where those are told who number differently.

use std::sync::Arc;
use std::time::Duration;

use flow::{Fate, FlowPath, Numbering};
use topology::{DeviceId, Path};

use super::*;
use crate::fixture::{CLIENT, CONSUMER, End, INTERFACE, NODE, PROVIDER, Said, TARGET, say, worker};
use crate::{Shared, Worker};

/// Where the consumer and the target expect the next byte, as the target numbers.
const NEXT: [u32; 2] = [u32::MAX - 5, 1101];

struct Lab {
    shared: Arc<Shared>,
    worker: Worker,
    node: End,
}

impl Lab {
    /// With a flow whose target has answered, on whose sides the numbers differ like this.
    fn of(numbering: &Numbering) -> Self {
        let (shared, worker) = worker(Path::Nat);
        let mut lab = Self { shared, worker, node: (NODE, 0) };
        let [consumers, targets] = NEXT;
        let said = lab.say(CONSUMER, [CLIENT, INTERFACE], TcpFlags::SYN, (targets - 1, 0));
        lab.node.1 = wire::parse(&said.sent[0].1).unwrap().source_port;
        let answer = (consumers.wrapping_sub(1), targets);
        lab.say(PROVIDER, [TARGET, lab.node], TcpFlags::SYN | TcpFlags::ACK, answer);
        lab.say(CONSUMER, [CLIENT, INTERFACE], TcpFlags::ACK, (targets, consumers));
        let mut flow = None;
        lab.shared.flows.each(Duration::ZERO, |view| flow = Some(view.flow));
        let turn = lab.shared.flows.turn(0);
        turn.steer(&turn.at(flow.unwrap()).unwrap(), FlowPath::Shifted, numbering);
        drop(turn);
        lab
    }

    fn say(&mut self, device: DeviceId, ends: [End; 2], flags: u8, numbers: (u32, u32)) -> Said {
        let (flags, (sequence, acknowledgement)) = (TcpFlags::new(flags), numbers);
        let segment = Segment { flags, sequence, acknowledgement, ..Segment::default() };
        say(&mut self.worker, device, ends, &segment, Duration::ZERO)
    }

    fn end(&self) {
        let (lane, _) = self.shared.flows.lanes().iter().next().unwrap();
        self.shared.flows.lanes().set_fate(lane, Fate::Ended(Cause::Deregistered));
    }
}

/// The numbers of the RSTs that have gone to the consumer, and to the target.
fn resets(said: &Said) -> [(DeviceId, Vec<u32>); 2] {
    [CONSUMER, PROVIDER].map(|to| {
        let own = said.resets().into_iter().filter(|(device, _)| *device == to);
        (to, own.map(|(_, sequence)| sequence).collect())
    })
}

#[test]
fn each_end_is_reset_where_it_expects_the_next_byte_by_its_own_numbers() {
    let window = wire::Scaling { from: 7, to: 2 };
    for numbering in [
        Numbering::default(),
        Numbering { header: 100, ..Numbering::default() },
        Numbering { header: 100, sequence: 1_000_000, timestamp: 77, window },
    ] {
        let at_consumer = NEXT[0].wrapping_add(numbering.sequence);
        let told = [(CONSUMER, vec![at_consumer]), (PROVIDER, vec![NEXT[1]])];

        let mut lab = Lab::of(&numbering);
        lab.end();
        let mut by_the_sweep = Said::default();
        lab.worker.expire(Duration::from_secs(1), 100, &mut by_the_sweep);
        assert_eq!(resets(&by_the_sweep), told, "{numbering:?}");

        let header = u32::from(numbering.header);
        let mut lab = Lab::of(&numbering);
        lab.end();
        let own = (NEXT[1] - header, at_consumer);
        let as_the_consumer_speaks = lab.say(CONSUMER, [CLIENT, INTERFACE], TcpFlags::ACK, own);
        assert_eq!(resets(&as_the_consumer_speaks), told, "{numbering:?}");

        let mut lab = Lab::of(&numbering);
        lab.end();
        let ends = [TARGET, lab.node];
        let as_the_target_speaks = lab.say(PROVIDER, ends, TcpFlags::ACK, NEXT.into());
        assert_eq!(resets(&as_the_target_speaks), told, "{numbering:?}");
    }
}
