//! Whatever two peers say, in whatever order: what [`stack_fuzz`] watches over holds.

#![no_main]

use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use stack_fuzz::{Script, play};

/// What the fuzzer has made up. As a type of its own it is shown as the script that it is when it has found something.
#[derive(Debug)]
struct Input(Script);

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> libfuzzer_sys::arbitrary::Result<Self> {
        let len = bytes.len();
        Ok(Self(Script::decode(bytes.bytes(len)?)))
    }
}

fuzz_target!(|input: Input| {
    play(&input.0);
});
