//! Lanes end, and are carried again, while workers go on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use engine::Worker;
use flow::{Fate, FlowPath};
use topology::{Origin, Topology};
use wire::Frame;

use super::*;

const ROUNDS: usize = 400;

/// What the threads of a test share: the round that is going on, and that which the control side is done with.
struct Rounds {
    bounds: Barrier,
    done: AtomicUsize,
}

impl Rounds {
    fn of(threads: usize) -> Self {
        Self { bounds: Barrier::new(threads), done: AtomicUsize::new(0) }
    }

    /// Does `work` again and again, at least once, until the control side is done with its part of the round.
    fn work(&self, round: usize, mut work: impl FnMut()) {
        self.bounds.wait();
        work();
        while self.done.load(Ordering::Acquire) < round {
            work();
        }
    }

    /// The control side's part of a round.
    fn steer(&self, round: usize, steer: impl FnOnce()) {
        self.bounds.wait();
        steer();
        self.done.store(round, Ordering::Release);
    }

    /// All have done their part.
    fn end(&self) {
        self.bounds.wait();
    }
}

/// Opens connections while lanes end, and then takes notice of that.
fn connect(worker: &mut Worker, consumer: DeviceId, rounds: &Rounds, first_port: u16) {
    let mut port = first_port;
    for round in 1..=ROUNDS {
        let mut left = 40;
        rounds.work(round, || {
            if left > 0 {
                left -= 1;
                port = first_port + (port + 1 - first_port) % 20_000;
                let mut syn = tcp((CLIENT, port), (INTERFACE, TERMINATED), SYN, (1, 0), &[]);
                worker.input(consumer, &mut [Frame::plain(&mut syn)], START, &mut Said::default());
            }
        });
        worker.message(Message::Planned, START, &mut Said::default());
        rounds.end();
        rounds.end(); // the control side looks
    }
}

/// What a worker opens by a wheel or a plan that is about to be replaced, it ends when it has heard of that.
#[test]
fn no_terminated_connection_outlives_its_lane() {
    let setup = Setup::checked(2, "");
    let mut lab = Lab::of(&setup.file(), 2);
    (0..2).for_each(|worker| lab.pass(worker, START, &mut Said::default()));
    found(&lab, [1, 2], Standing::HEALTHY, START);
    let one = target(&lab, 1);
    let (consumer, shared, rounds) = (lab.consumers[0], Arc::clone(&lab.shared), Rounds::of(3));
    let turn_to = |standing| {
        shared.health().set(one, standing);
        shared.review(START);
    };
    let reload = |tcp| {
        let file = Setup { tcp, ..setup.clone() }.file();
        let fresh = Topology::parse(&file, &Origin::new("/lab.toml")).unwrap();
        shared.adopt(Arc::new(fresh.succeed(&shared.topology()).unwrap()), START);
    };
    let (mut opened, mut left) = (0, 0);
    std::thread::scope(|scope| {
        for (worker, first_port) in lab.workers.iter_mut().zip([1000, 30_000]) {
            let rounds = &rounds;
            scope.spawn(move || connect(worker, consumer, rounds, first_port));
        }
        for round in 1..=ROUNDS {
            rounds.steer(round, || match round % 4 {
                0 => turn_to(UNWELL),
                1 => turn_to(Standing::HEALTHY),
                2 => reload(false),
                _ => reload(true),
            });
            rounds.end();
            shared.flows().each(START, |view| {
                let is_relay = matches!(view.path, FlowPath::Terminated { .. });
                let is_over = shared.flows().lanes().fate(view.lane) != Fate::Carried;
                opened += usize::from(is_relay);
                left += usize::from(is_relay && is_over);
            });
            rounds.end();
        }
    });
    assert!(opened > ROUNDS, "connections were opened: {opened}");
    assert_eq!(left, 0, "and none is left where none may be");
}
