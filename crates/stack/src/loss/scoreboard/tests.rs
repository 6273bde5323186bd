//! The list beside a model that knows each byte.

use proptest::prelude::*;

use super::*;

/// Where numbers begin: they cross the end of the sequence space.
const FIRST: u32 = u32::MAX - 200;

/// What is done to the list, with numbers relative to the first.
#[derive(Clone, Debug)]
enum Step {
    Send(u32),
    Acknowledge(u32),
    Select(u32, u32),
    SendAgain(u32, u32),
    CondemnHead(u32),
    CondemnTail(u32),
    CondemnOlder,
    CondemnAll,
}

fn step() -> impl Strategy<Value = Step> {
    let place = 0..600u32;
    prop_oneof![
        4 => (1..60u32).prop_map(Step::Send),
        2 => place.clone().prop_map(Step::Acknowledge),
        6 => (place.clone(), 1..30u32).prop_map(|(at, len)| Step::Select(at, at + len)),
        4 => (place, 1..30u32).prop_map(|(at, len)| Step::SendAgain(at, at + len)),
        1 => (1..30u32).prop_map(Step::CondemnHead),
        1 => (1..30u32).prop_map(Step::CondemnTail),
        3 => Just(Step::CondemnOlder),
        1 => Just(Step::CondemnAll),
    ]
}

/// The same, byte by byte: each with its fate and when it was sent. Those before `first` are acknowledged.
#[derive(Default)]
struct Model {
    first: usize,
    bytes: Vec<(Fate, Micros)>,
}

impl Model {
    fn change(&mut self, begin: u32, end: u32, mut change: impl FnMut(&mut (Fate, Micros))) {
        let end = (end as usize).min(self.bytes.len());
        let begin = (begin as usize).max(self.first).min(end);
        self.bytes[begin..end].iter_mut().for_each(&mut change);
    }

    fn count(&self, fate: Fate) -> u32 {
        self.bytes[self.first..].iter().filter(|byte| byte.0 == fate).count() as u32
    }
}

/// Does a step to both; returns how many bytes the list says to have been delivered by it, and how many were.
fn take(step: &Step, board: &mut Scoreboard, model: &mut Model, now: Micros) -> (u32, u32) {
    let (len, first) = (model.bytes.len() as u32, model.first as u32);
    let number = |at: u32| FIRST.wrapping_add(at);
    let mut delivery = Delivery::default();
    let before = model.count(Fate::Sacked);
    let mut delivered = 0;
    let condemn = |byte: &mut (Fate, Micros)| {
        if byte.0 == Fate::Flying {
            byte.0 = Fate::Lost;
        }
    };
    match *step {
        Step::Send(more) => {
            board.send(number(len + more), now, 0);
            model.bytes.resize((len + more) as usize, (Fate::Flying, now));
        }
        Step::Acknowledge(to) if (first + 1..=len).contains(&to) => {
            board.acknowledge(number(to), &mut delivery);
            model.change(first, to, |byte| delivered += u32::from(byte.0 != Fate::Sacked));
            model.first = to as usize;
        }
        Step::Acknowledge(_) => {}
        Step::Select(begin, end) => {
            board.select(number(begin)..number(end), &mut delivery);
            if begin > first && end <= len {
                model.change(begin, end, |byte| byte.0 = Fate::Sacked);
                delivered = model.count(Fate::Sacked) - before;
            }
        }
        Step::SendAgain(begin, end) if first <= begin && end <= len => {
            board.send_again(number(begin), number(end), now);
            model.change(begin, end, |byte| {
                if byte.0 == Fate::Lost {
                    *byte = (Fate::Flying, now);
                }
            });
        }
        Step::SendAgain(..) => {}
        Step::CondemnHead(bytes) => {
            board.condemn_head(bytes);
            model.change(first, first + bytes, condemn);
        }
        Step::CondemnTail(bytes) => {
            board.condemn_tail(bytes);
            model.change(len.saturating_sub(bytes), len, condemn);
        }
        Step::CondemnOlder => {
            let latest = Sent { at: now - 5, end: FIRST, again: false };
            board.condemn(&latest, 0, now);
            model.change(first, len, |byte| {
                if byte.0 == Fate::Flying && byte.1 < now - 5 {
                    byte.0 = Fate::Lost;
                }
            });
        }
        Step::CondemnAll => {
            board.condemn_all();
            model.change(first, len, |byte| byte.0 = Fate::Lost);
        }
    }
    (delivery.bytes, delivered)
}

/// What the list says of each byte beyond the first that is not acknowledged.
fn fates(board: &Scoreboard) -> Vec<Fate> {
    let mut begin = board.first();
    let mut fates = Vec::new();
    for run in board.runs() {
        fates.resize(fates.len() + run.end.wrapping_sub(begin) as usize, run.fate);
        begin = run.end;
    }
    fates
}

proptest! {
    #[test]
    fn the_list_says_of_each_byte_what_happened_to_it(steps in prop::collection::vec(step(), 1..40)) {
        let (mut board, mut model) = (Scoreboard::new(FIRST), Model::default());
        for (now, step) in (100..).zip(&steps) {
            // Beyond that, it may forget.
            prop_assume!(board.len + 3 < RUNS);
            let (said, delivered) = take(step, &mut board, &mut model, now);
            prop_assert_eq!(said, delivered, "{:?}", step);
            let known: Vec<Fate> = model.bytes[model.first..].iter().map(|byte| byte.0).collect();
            prop_assert_eq!(fates(&board), known, "{:?}", step);
            let counts = [board.flying(), board.sacked(), board.lost()];
            prop_assert_eq!(counts, [Fate::Flying, Fate::Sacked, Fate::Lost].map(|fate| model.count(fate)));
        }
    }

    #[test]
    fn a_list_without_room_forgets_but_makes_nothing_up(steps in prop::collection::vec(step(), 100..400)) {
        let (mut board, mut model) = (Scoreboard::new(FIRST), Model::default());
        for (now, step) in (100..).zip(&steps) {
            take(step, &mut board, &mut model, now);
            prop_assert!(board.len <= RUNS);
            prop_assert_eq!(board.outstanding() as usize, model.bytes.len() - model.first);
            prop_assert_eq!(board.flying() + board.sacked() + board.lost(), board.outstanding());
        }
    }
}

#[test]
fn a_full_list_takes_what_is_sent() {
    let mut board = Scoreboard::new(0);
    board.send(10_000, 0, 0);
    for block in 0..1000 {
        board.select(block * 10 + 5..block * 10 + 9, &mut Delivery::default());
    }
    assert_eq!(board.len, RUNS - 1, "one place is left for what is sent next");
    board.send(10_100, 1, 0);
    board.select(10_000..10_100, &mut Delivery::default());
    board.send(10_200, 2, 0);
    board.send(10_300, 3, 0);
    assert_eq!((board.end(), board.look(10_250)), (10_300, Some((false, 50))));
    board.condemn_all();
    assert_eq!((board.len, board.first_lost()), (1, Some(0)));
}

#[test]
fn what_is_overtaken_is_told_from_what_is_lost() {
    let mut board = Scoreboard::new(0);
    board.send(1000, 0, 0);
    let mut delivery = Delivery::default();
    board.select(500..1000, &mut delivery);
    assert!(!delivery.reordered);
    let latest = delivery.latest.unwrap();
    assert_eq!(board.condemn(&latest, 10, 4), (0, Some(6)), "it may still come");
    board.select(100..200, &mut delivery);
    assert!(delivery.reordered);
    assert_eq!(board.condemn(&latest, 10, 10), (400, None));
    assert_eq!((board.first_lost(), board.look(0)), (Some(0), Some((true, 100))));
}
