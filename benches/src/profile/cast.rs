//! Who takes part in a recording, and who a sample belongs to.

use super::{Code, Recording, Sample};

/// By what those who take part are known.
pub struct Cast {
    /// Processes of the peer's own.
    pub programs: Vec<u32>,
    /// The network namespace (its inode) where a peer lives that is a box between two networks.
    pub middle: u64,
    /// Where clients run.
    pub consumer: u64,
    /// Where servers run.
    pub provider: u64,
}

/// Whom a core worked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Party {
    /// Nobody: it waited.
    Idle,
    /// Those who began the connections.
    Client,
    /// Those who were connected to.
    Server,
    /// The peer.
    Forwarder,
    /// The kernel's own threads, and what it did on a core that nobody used.
    Kernel,
    /// The machine's other programs, this one and `perf` among them.
    Other,
}

impl Party {
    /// As it is called in tables and pictures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Client => "client",
            Self::Server => "server",
            Self::Forwarder => "forwarder",
            Self::Kernel => "kernel threads",
            Self::Other => "others",
        }
    }
}

impl Cast {
    /// Whose sample this is.
    #[must_use]
    pub fn party(&self, recording: &Recording<'_>, sample: &Sample<'_>) -> Party {
        if sample.pid == 0 {
            return if waits(sample) { Party::Idle } else { Party::Kernel };
        }
        if self.programs.contains(&sample.pid) {
            return Party::Forwarder;
        }
        if sample.stack.first().is_some_and(|outermost| outermost.name.starts_with("ret_from_fork")) {
            return Party::Kernel;
        }
        match recording.network(sample) {
            Some(network) if network == self.consumer => Party::Client,
            Some(network) if network == self.provider => Party::Server,
            Some(network) if network == self.middle => Party::Forwarder,
            _ => Party::Other,
        }
    }
}

/// Whether the idle task does what it is named for. An interrupt that carries packets runs on its stack too.
fn waits(sample: &Sample<'_>) -> bool {
    const WAITING: [&str; 3] = ["halt", "idle", "mwait"];
    sample.stack.last().is_none_or(|caught| {
        caught.code == Code::Kernel && WAITING.iter().any(|word| caught.name.contains(word))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::Frame;
    use super::*;

    /// Threads in every role, as `perf` saw them, and a program's in the middle besides. What is sidegate's is in the host's
    /// namespace.
    pub(crate) const PRINTED: &str = include_str!("samples.txt");

    /// Who they are.
    pub(crate) fn cast() -> Cast {
        Cast { programs: vec![100], middle: 0xf000_0001, consumer: 0xf000_0002, provider: 0xf000_0003 }
    }

    #[test]
    fn everyone_is_known_by_process_or_by_place() {
        let recording = Recording::parse(PRINTED).unwrap();
        let party = |sample: &Sample<'_>| cast().party(&recording, sample);
        let parties: Vec<_> = recording.samples.iter().map(party).collect();
        let [idle, client, server, peers @ .., kernel, other] = &parties[..] else { panic!("{parties:?}") };
        assert_eq!((*idle, *client, *server), (Party::Idle, Party::Client, Party::Server));
        assert!(peers.len() > 5 && peers.iter().all(|party| *party == Party::Forwarder), "{peers:?}");
        assert_eq!((*kernel, *other), (Party::Kernel, Party::Other));

        let middle = Sample { thread: "haproxy", pid: 400, tid: 400, stack: Vec::new() };
        assert_eq!(party(&middle), Party::Forwarder);
        let caught = Frame { name: "net_rx_action", code: Code::Kernel };
        let interrupted = Sample { thread: "swapper", pid: 0, tid: 0, stack: vec![caught] };
        assert_eq!(party(&interrupted), Party::Kernel);
    }
}
