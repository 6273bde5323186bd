//! Errors about a terminated flow: what its own TCP makes of them.

use std::time::Duration;

use engine::Message;

use super::*;

/// A TCP packet with the largest window.
fn wide(mut bytes: Vec<u8>) -> Vec<u8> {
    let packet = wire::parse(&bytes).unwrap();
    let at = packet.transport;
    bytes[at + 14..at + 16].copy_from_slice(&u16::MAX.to_be_bytes());
    let checksum = wire::transport_checksum(&bytes, &packet);
    bytes[at + 16..at + 18].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// A terminated connection that is open.
struct Terminated {
    lab: Lab,
    ends: Ends,
    node_port: u16,
    /// The numbers that we expect to be acknowledged by consumer and target.
    ours: [u32; 2],
}

impl Terminated {
    fn open(ends: Ends, workers: usize) -> Self {
        let mut lab = Lab::new(workers);
        for worker in &mut lab.workers {
            // Each segment is a packet then, and its size can be seen.
            worker.message(Message::Offload(false), Duration::ZERO, &mut Said::default());
        }
        let (provider, [consumer, _]) = (lab.provider, lab.consumers);
        let (client, interface) = ((ends.client, 40_001), (ends.interface, 8443));
        let said = lab.input(consumer, &wide(tcp(client, interface, SYN, (1, 0), &[])));
        let dialled = wire::parse(&said.sent[0].1).unwrap();
        let next = dialled.sequence.wrapping_add(1);
        let answer = tcp((ends.target, 8080), (ends.node, dialled.source_port), SYN | ACK, (100, next), &[]);
        let said = lab.input(provider, &wide(answer));
        let syn_ack = said.sent.iter().find(|(device, _)| *device == consumer).unwrap();
        let theirs = wire::parse(&syn_ack.1).unwrap().sequence.wrapping_add(1);
        lab.input(consumer, &wide(tcp(client, interface, ACK, (2, theirs), &[])));
        Self { lab, ends, node_port: dialled.source_port, ours: [theirs, next] }
    }

    /// The consumer (or the target) sends so many bytes; returns what goes on to the other one.
    fn send(&mut self, from_consumer: bool, bytes: usize) -> Vec<Vec<u8>> {
        let ends = self.ends;
        let (provider, [consumer, _]) = (self.lab.provider, self.lab.consumers);
        let data = vec![7; bytes];
        let (device, to, packet) = if from_consumer {
            let (client, interface) = ((ends.client, 40_001), (ends.interface, 8443));
            (consumer, provider, tcp(client, interface, ACK, (2, self.ours[0]), &data))
        } else {
            let (target, node) = ((ends.target, 8080), (ends.node, self.node_port));
            (provider, consumer, tcp(target, node, ACK, (101, self.ours[1]), &data))
        };
        let said = self.lab.input(device, &wide(packet));
        assert_eq!(said.verdicts[0].reason, Reason::Terminated);
        said.sent.into_iter().filter(|(device, _)| *device == to).map(|(_, bytes)| bytes).collect()
    }
}

fn longest(said: &Said) -> Option<usize> {
    said.sent.iter().map(|(_, bytes)| bytes.len()).max()
}

#[test]
fn a_terminated_flows_own_tcp_heeds_the_mtu_of_either_path() {
    for from_consumer in [true, false] {
        let mut flow = Terminated::open(V6, 1);
        let (from, at, device) = if from_consumer {
            (V6.far, V6.node, flow.lab.provider)
        } else {
            (V6.near, V6.interface, flow.lab.consumers[0])
        };
        let sent = flow.send(from_consumer, 2000);
        assert_eq!(sent[0].len(), 2000 + 60, "in one piece");
        let tell = |flow: &mut Terminated, header, quote: &[u8], second| {
            let error = icmp(header, from, at, quote);
            let said = flow.lab.input_at(0, device, &error, Duration::from_secs(second));
            assert!(said.verdicts[0].flow.is_some());
            (said.verdicts[0].reason, longest(&said))
        };
        // Not what somebody guesses who has not seen the segment, nor what is no more than somebody's word …
        let mut guessed = sent[0].clone();
        guessed[44..48].copy_from_slice(&77u32.to_be_bytes());
        assert_eq!(tell(&mut flow, V6.too_big(1280), &guessed, 0), (Reason::IcmpNoFlow, None));
        assert_eq!(tell(&mut flow, V6.unreachable(), &sent[0], 0), (Reason::IcmpTerminated, None));
        let mut repeated = Said::default();
        flow.lab.pass(0, Duration::from_secs(5), &mut repeated);
        assert_eq!(longest(&repeated), Some(2000 + 60), "nothing has changed");
        // … but what is said about a segment that is under way: it leaves again at once, in pieces.
        assert_eq!(tell(&mut flow, V6.too_big(1400), &sent[0], 5), (Reason::IcmpTerminated, Some(1400)));
    }
}

#[test]
fn a_terminated_flows_error_goes_to_its_owner() {
    for ends in [V4, V6] {
        let mut flow = Terminated::open(ends, 2);
        let sent = flow.send(true, 2000);
        let provider = flow.lab.provider;
        let error = ends.error(ends.too_big(1400), &sent[0]);
        let elsewhere = flow.lab.input_at(1, provider, &error, Duration::ZERO);
        assert!(elsewhere.verdicts.is_empty() && elsewhere.handed[0].0.index() == 0);
        assert_eq!(elsewhere.handed[0].2, error, "as it came");
        let said = flow.lab.input(provider, &elsewhere.handed[0].2);
        assert_eq!((said.verdicts[0].reason, longest(&said)), (Reason::IcmpTerminated, Some(1400)));
    }
}
