//! The numbers that a connection begins with: its initial sequence number, and what its timestamps start from.
//!
//! Both follow RFC 6528: a clock, plus a keyed hash of the addresses. Nobody can guess another's numbers, and a later
//! connection between the same addresses begins higher, so that a peer in TIME-WAIT lets it in.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use siphasher::sip::SipHasher24;

/// Deals out beginnings: to connections here, and to whoever else answers a SYN.
pub struct Numbers {
    seed: [u64; 2],
}

/// What a connection begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beginning {
    /// Its initial sequence number.
    pub sequence: u32,
    /// What its timestamps add to the milliseconds.
    pub timestamp: u32,
}

impl Numbers {
    /// Those of a secret, that is random.
    pub fn new(seed: [u64; 2]) -> Self {
        Self { seed }
    }

    /// The beginning of a connection between these two that opens now.
    pub fn begin(&self, local: SocketAddr, remote: SocketAddr, now: Duration) -> Beginning {
        let mut hasher = SipHasher24::new_with_keys(self.seed[0], self.seed[1]);
        (local, remote).hash(&mut hasher);
        let hash = hasher.finish();
        // One tick is 64 ns, as in Linux: fast enough that a connection rarely outruns the clock.
        let ticks = (now.as_nanos() >> 6) as u32;
        Beginning { sequence: ticks.wrapping_add(hash as u32), timestamp: (hash >> 32) as u32 }
    }
}

/// The seed for a new smoltcp interface, such that the first sequence number that it deals out is `isn`.
///
/// smoltcp takes no sequence number from outside: it draws one from its interface's generator, a PCG. So we run that
/// generator backwards. A test below holds smoltcp to it.
pub(crate) fn interface_seed(isn: u32) -> u64 {
    // With its top three bits clear, a state's output is the 32 bits above the lowest 29, which are free.
    let drawn = |free: u64| u64::from(isn) << 29 | free;
    // A new interface draws an IP identification first, and once more if that is 0: avoid the states where it does.
    let (mut free, mut first) = (0, step_back(drawn(0)));
    while identification(first) == 0 {
        free += 1;
        first = step_back(drawn(free));
    }
    step_back(first)
}

const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;
const INVERSE: u64 = inverse(MULTIPLIER);

/// The generator's state before `state`.
fn step_back(state: u64) -> u64 {
    state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE)
}

/// The 16 bits that the generator yields in `state`.
fn identification(state: u64) -> u16 {
    let output = (state >> (29 - (state >> 61))) as u32;
    (output ^ output >> 16) as u16
}

/// The inverse of an odd number modulo 2^64, by Newton's method: each round doubles the correct bits, from three.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut round = 0;
    while round < 5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::parse;

    use super::*;
    use crate::{Connection, Memory, Settings, Stack};

    const HERE: &str = "10.0.0.1:40000";
    const THERE: &str = "10.0.0.2:80";

    fn sequence(seed: [u64; 2], remote: &str, now: Duration) -> u32 {
        Numbers::new(seed).begin(HERE.parse().unwrap(), remote.parse().unwrap(), now).sequence
    }

    #[test]
    fn numbers_grow_with_time_and_differ_by_address_and_seed() {
        let [early, late] = [5, 6].map(|second| sequence([1, 2], THERE, Duration::from_secs(second)));
        assert_eq!(late.wrapping_sub(early), 1_000_000_000 / 64);
        assert_ne!(early, sequence([1, 2], "10.0.0.2:81", Duration::from_secs(5)));
        assert_ne!(early, sequence([1, 3], THERE, Duration::from_secs(5)));
    }

    #[test]
    fn a_zero_identification_is_stepped_around() {
        // Found by search: with 0 in the free bits, this number would follow an identification of 0.
        let isn = (0..u32::MAX).find(|isn| identification(step_back(u64::from(*isn) << 29)) == 0).unwrap();
        let first = interface_seed(isn).wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
        assert_ne!(identification(first), 0);
    }

    proptest! {
        #[test]
        fn smoltcp_deals_out_the_number_we_chose(seed: [u64; 2], millis in 0u64..1 << 40) {
            let now = Duration::from_millis(millis);
            let [here, there] = [HERE, THERE].map(|address| address.parse().unwrap());
            let mut stack = Stack::new(Settings { buffer: 1, connections: 1, ..Settings::new(seed) }, &Memory::new(0));
            let mut client = Connection::dial(&mut stack, here, there, now).unwrap();
            let mut sent = None;
            client.poll(&mut stack, now, &mut |frame| sent = Some(parse(frame.bytes).unwrap().sequence));
            prop_assert_eq!(sent, Some(sequence(seed, THERE, now)));
        }
    }
}
