//! The fence around one flow's TCP: a panic within ends that flow, and neither the worker nor the process.
//!
//! smoltcp panics where its arithmetic would underflow, which is better than to go on with wrong numbers. What a panic leaves
//! behind is a relay, which is dropped, and the worker's stack, which holds nothing from one call to the next.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use topology::DeviceId;
use wire::Frame;

use crate::contract::{Egress, Output};

/// The way out through the fence.
pub(crate) struct Gate<'a, O> {
    out: &'a mut O,
    /// Whether the output has the word.
    is_outside: bool,
}

impl<O: Output> Gate<'_, O> {
    /// Sends a frame that the stack has built.
    pub(crate) fn emit(&mut self, frame: &mut Frame<'_>, device: DeviceId) {
        self.is_outside = true;
        self.out.emit(frame, Egress::Device(device));
        self.is_outside = false;
    }
}

/// Does `work`; `None` if it has panicked. A panic of the output's own goes on: it is no fault of the flow's.
pub(crate) fn fenced<O: Output, T>(out: &mut O, work: impl FnOnce(&mut Gate<'_, O>) -> T) -> Option<T> {
    let mut gate = Gate { out, is_outside: false };
    let guarded = || {
        #[cfg(test)]
        tests::spring();
        work(&mut gate)
    };
    match catch_unwind(AssertUnwindSafe(guarded)) {
        Ok(done) => Some(done),
        Err(panic) if gate.is_outside => resume_unwind(panic),
        Err(_) => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::contract::{Event, HandOverFull, WorkerId};
    use crate::verdict::Verdict;

    thread_local! {
        static IS_PLANTED: Cell<bool> = const { Cell::new(false) };
    }

    /// The next work behind a fence of this thread panics.
    pub(crate) fn plant() {
        IS_PLANTED.set(true);
    }

    pub(super) fn spring() {
        assert!(!IS_PLANTED.take(), "this panic is planted");
    }

    /// An output that takes frames up to a number.
    struct Taking(usize);

    impl Output for Taking {
        fn forward(&mut self, _: usize, _: &mut Frame<'_>, _: Egress) {}
        fn emit(&mut self, _: &mut Frame<'_>, _: Egress) {
            self.0 = self.0.checked_sub(1).expect("no more frames");
        }
        fn hand_over(&mut self, _: WorkerId, _: DeviceId, _: &Frame<'_>) -> Result<(), HandOverFull> {
            Ok(())
        }
        fn verdict(&mut self, _: usize, _: Verdict) {}
        fn event(&mut self, _: Event) {}
    }

    fn emit(gate: &mut Gate<'_, Taking>) {
        gate.emit(&mut Frame::plain(&mut []), DeviceId(0));
    }

    #[test]
    fn a_panic_ends_the_work_and_nothing_else() {
        let mut out = Taking(3);
        assert_eq!(fenced(&mut out, |gate| (emit(gate), 7).1), Some(7));
        let broken = fenced(&mut out, |gate| {
            emit(gate);
            plant();
            spring();
        });
        assert_eq!(broken, None);
        plant();
        assert_eq!(fenced(&mut out, emit), None, "nothing was done");
        assert_eq!((fenced(&mut out, emit), out.0), (Some(()), 0));
    }

    #[test]
    #[should_panic(expected = "no more frames")]
    fn the_outputs_own_panic_goes_on() {
        fenced(&mut Taking(0), emit);
    }
}
