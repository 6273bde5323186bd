//! What `perf` saw while a peer worked: stacks of threads caught on a core, read from what `perf script` prints. Whose they are is in
//! [`cast`], what they were at in [`share`], how it looks in [`flame`] and [`page`].

pub mod cast;
pub mod flame;
pub mod page;
pub mod share;

use std::collections::HashMap;

/// What `perf script` has to print of a sample.
pub const FIELDS: &str = "comm,pid,tid,ip,sym";

/// Addresses from here on are the kernel's, on every machine with 64 bits that this runs on.
const KERNEL: u64 = 1 << 63;
/// The address of what calls the outermost function.
const NOWHERE: u64 = u64::MAX;
/// What is in a line that tells of a thread's namespaces.
const NAMESPACES: &str = "PERF_RECORD_NAMESPACES";

/// `perf script` printed something else than was asked of it.
#[derive(Debug, thiserror::Error)]
#[error("perf script printed a line that makes no sense here: {0:?}")]
pub struct Unreadable(String);

/// All that was seen.
pub struct Recording<'a> {
    /// One for each tick of each core.
    pub samples: Vec<Sample<'a>>,
    /// The network namespace that a thread was in last, by the thread's id.
    networks: HashMap<u32, u64>,
}

/// A thread, caught on a core.
#[derive(PartialEq, Debug)]
pub struct Sample<'a> {
    /// The thread's name.
    pub thread: &'a str,
    /// Its process.
    pub pid: u32,
    /// Itself.
    pub tid: u32,
    /// From the outermost caller to where it was caught.
    pub stack: Vec<Frame<'a>>,
}

/// A function on a stack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Frame<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whose it is.
    pub code: Code,
}

/// Whose a function is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Code {
    /// A program's.
    Program,
    /// The kernel's.
    Kernel,
}

impl<'a> Recording<'a> {
    /// Reads what `perf script --show-namespace-events` printed with [`FIELDS`].
    pub fn parse(printed: &'a str) -> Result<Self, Unreadable> {
        let mut recording = Self { samples: Vec::new(), networks: HashMap::new() };
        let mut lines = printed.lines();
        while let Some(line) = lines.next() {
            if line.trim().is_empty() {
                continue;
            }
            let unreadable = || Unreadable(line.to_owned());
            if line.contains(NAMESPACES) {
                let network = network(line, lines.by_ref()).ok_or_else(unreadable)?;
                recording.networks.extend([network]);
            } else {
                let sample = sample(line, lines.by_ref()).ok_or_else(unreadable)?;
                recording.samples.push(sample);
            }
        }
        Ok(recording)
    }

    /// The network namespace of whoever was caught, where it is known.
    #[must_use]
    pub fn network(&self, sample: &Sample<'_>) -> Option<u64> {
        self.networks.get(&sample.tid).or_else(|| self.networks.get(&sample.pid)).copied()
    }
}

/// A thread's name and ids, and in the lines to the next empty one its stack, innermost first.
fn sample<'a>(head: &'a str, lines: impl Iterator<Item = &'a str>) -> Option<Sample<'a>> {
    let (thread, ids) = head.trim_end().rsplit_once(' ')?;
    let (pid, tid) = ids.split_once('/')?;
    let lines = lines.take_while(|line| !line.trim().is_empty());
    let places = lines.map(place).collect::<Option<Vec<_>>>()?;
    let stack = places.into_iter().rev().filter(|(address, _)| *address != NOWHERE).map(frame).collect();
    Some(Sample { thread: thread.trim(), pid: id(pid)?, tid: id(tid)?, stack })
}

/// An address, and the name of the function that it is in.
fn place(line: &str) -> Option<(u64, &str)> {
    let (address, name) = line.trim().split_once(' ')?;
    Some((u64::from_str_radix(address, 16).ok()?, name))
}

fn frame((address, name): (u64, &str)) -> Frame<'_> {
    Frame { name, code: if address >= KERNEL { Code::Kernel } else { Code::Program } }
}

/// A thread's id and its network namespace; the list of its namespaces takes several lines, up to a bracket.
fn network<'a>(head: &str, lines: impl Iterator<Item = &'a str>) -> Option<(u32, u64)> {
    let (_, told) = head.split_once(NAMESPACES)?;
    let (_, tid) = told.split_whitespace().next()?.split_once('/')?;
    let mut network = None;
    for line in lines {
        if let Some((_, net)) = line.split_once("/net: ") {
            let inode = net.split([',', ']', ' ']).next()?.rsplit('/').next()?;
            network = u64::from_str_radix(inode.trim_start_matches("0x"), 16).ok();
        }
        if line.trim_end().ends_with(']') {
            break;
        }
    }
    Some((id(tid)?, network?))
}

/// Of a process or a thread; -1 is one that has ended.
fn id(printed: &str) -> Option<u32> {
    printed.parse::<i32>().ok().map(i32::cast_unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_thread_and_its_stack_from_the_outside_in() {
        let printed = "tokio worker 1   712/715     \n\
            \tffffffff81c0e2f1 tcp_v4_rcv\n\
            \tffffffff81283e01 do_syscall_64\n\
            \t          37e846 engine::journey::Journey<O>::rewrite\n\
            \tffffffffffffffff [unknown]\n\n\
            :-1 18294/-1    \n\n\
            swapper     0/0     \n\
            \tffffffff81c29aff pv_native_safe_halt\n\n";
        let recording = Recording::parse(printed).unwrap();
        let [worker, ended, idle] = &recording.samples[..] else { panic!("three samples") };
        assert_eq!((worker.thread, worker.pid, worker.tid), ("tokio worker 1", 712, 715));
        assert_eq!(
            worker.stack,
            [
                Frame { name: "engine::journey::Journey<O>::rewrite", code: Code::Program },
                Frame { name: "do_syscall_64", code: Code::Kernel },
                Frame { name: "tcp_v4_rcv", code: Code::Kernel },
            ]
        );
        assert_eq!((ended.pid, ended.stack.len()), (18294, 0));
        assert_eq!((idle.thread, idle.stack.len()), ("swapper", 1));
    }

    #[test]
    fn threads_are_where_they_were_last() {
        let printed = "peers 90/91 PERF_RECORD_NAMESPACES 90/91 - nr_namespaces: 7\n\
            \t\t[0/net: 4/0xf0000075, 1/uts: 4/0xeffffffe, 2/ipc: 4/0xefffffff, 3/pid: 4/0xeffffffc, \n\
            \t\t 4/user: 4/0xeffffffd, 5/mnt: 4/0xf0000000, 6/cgroup: 4/0xeffffffb]\n\
            peers 90/91 PERF_RECORD_NAMESPACES 90/91 - nr_namespaces: 1\n\
            \t\t[0/net: 4/0xf0000077]\n\
            iperf3 92/92 PERF_RECORD_NAMESPACES 92/92 - nr_namespaces: 1\n\
            \t\t[0/net: 4/0xf0000076]\n\
            iperf3 92/92 \n\tffffffff81283e01 do_syscall_64\n\n\
            iperf3 92/99 \n\tffffffff81283e01 do_syscall_64\n\n\
            peers 90/91 \n\tffffffff81283e01 do_syscall_64\n\n\
            peers 90/93 \n\tffffffff81283e01 do_syscall_64\n\n";
        let recording = Recording::parse(printed).unwrap();
        let networks: Vec<_> = recording.samples.iter().map(|sample| recording.network(sample)).collect();
        assert_eq!(networks, [Some(0xf000_0076), Some(0xf000_0076), Some(0xf000_0077), None]);
    }

    #[test]
    fn what_makes_no_sense_is_no_sample() {
        for printed in ["worker-0\n", "worker-0 1/2\n\tnonsense\n", "worker-0 1/x\n\tff00 f\n"] {
            assert!(Recording::parse(printed).is_err(), "{printed:?}");
        }
        assert!(Recording::parse("").unwrap().samples.is_empty());
    }
}
