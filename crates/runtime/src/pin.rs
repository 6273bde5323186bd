//! `run.pin`: each worker stays on a core of its own, of those that the process may use.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Keeps the calling thread, the `nth` worker, on the nth core; they are shared again where there are fewer.
pub(crate) fn stay_on_core(nth: usize) -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let Some(core) = nth.checked_rem(cores.len()).map(|place| cores[place]) else { return Ok(()) };
    let mut own = CpuSet::new();
    own.set(core);
    Ok(sched_setaffinity(None, &own)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_spread_over_the_cores_that_there_are() {
        let stays = |nth| {
            let thread = std::thread::spawn(move || {
                stay_on_core(nth).unwrap();
                let own = sched_getaffinity(None).unwrap();
                (0..CpuSet::MAX_CPU).filter(|core| own.is_set(*core)).collect::<Vec<_>>()
            });
            thread.join().unwrap()
        };
        let cores = std::thread::available_parallelism().unwrap().get();
        let own: Vec<_> = (0..cores).map(stays).collect();
        assert!(own.iter().all(|cores| cores.len() == 1), "{own:?}");
        assert!((1..cores).all(|nth| own[nth] != own[nth - 1]), "{own:?}");
        assert_eq!(stays(cores), own[0]);
    }
}
