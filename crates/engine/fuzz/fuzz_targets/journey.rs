//! Whatever arrives, in whatever order: what [`engine_fuzz`] watches over holds.

#![no_main]

use engine_fuzz::{Script, play};
use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;

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
