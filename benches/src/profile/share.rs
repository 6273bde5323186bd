//! What the cores' time went into: the peer's own code, its system calls by kind, and what these ran of others' TCP.

use super::cast::{Cast, Party};
use super::{Code, Frame, Recording, Sample};

/// One kind of thing that a core can be at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    /// Whatever others than the peer do.
    Of(Party),
    /// The peer's own code.
    Own,
    /// The peer reads.
    Read,
    /// The peer writes: the device and everything below TCP.
    Write,
    /// … the receiver's TCP or UDP, which runs inside the write.
    WriteTransport,
    /// … what the receiver's TCP sends in answer: acknowledgements, and data that waited for one.
    WriteReply,
    /// … the waking of whoever waits for what was written.
    WriteWake,
    /// The peer asks what is ready, and sleeps.
    Wait,
    /// Its other system calls.
    Call,
    /// The way into the kernel and back.
    Entry,
    /// Interrupts and page faults while the peer ran.
    Interrupt,
}

impl Share {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 15] = [
        Self::Of(Party::Idle),
        Self::Of(Party::Client),
        Self::Of(Party::Server),
        Self::Own,
        Self::Read,
        Self::Write,
        Self::WriteTransport,
        Self::WriteReply,
        Self::WriteWake,
        Self::Wait,
        Self::Call,
        Self::Entry,
        Self::Interrupt,
        Self::Of(Party::Kernel),
        Self::Of(Party::Other),
    ];

    /// As it heads its column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Of(party) => party.as_str(),
            Self::Own => "own code",
            Self::Read => "reads",
            Self::Write => "writes",
            Self::WriteTransport => "… TCP, UDP",
            Self::WriteReply => "… replies",
            Self::WriteWake => "… wake-ups",
            Self::Wait => "waits",
            Self::Call => "other calls",
            Self::Entry => "entries",
            Self::Interrupt => "interrupts",
        }
    }

    /// Whether it is the peer's time.
    #[must_use]
    pub const fn is_the_peers(self) -> bool {
        !matches!(self, Self::Of(_))
    }

    /// What was going on in this sample.
    #[must_use]
    pub fn of(cast: &Cast, recording: &Recording<'_>, sample: &Sample<'_>) -> Self {
        match cast.party(recording, sample) {
            Party::Forwarder => of_the_peers(&sample.stack),
            party => Self::Of(party),
        }
    }
}

fn of_the_peers(stack: &[Frame<'_>]) -> Share {
    if stack.last().is_none_or(|caught| caught.code != Code::Kernel) {
        return Share::Own;
    }
    let kernel = Kernel(stack);
    if kernel.has(|name| name.starts_with("asm_")) {
        return Share::Interrupt;
    }
    match kernel.call() {
        Some("read" | "readv" | "recvfrom" | "recvmsg") => Share::Read,
        Some("write" | "writev" | "sendto" | "sendmsg") => of_a_write(&kernel),
        Some(name) if name.starts_with("epoll_") => Share::Wait,
        Some(_) => Share::Call,
        None => Share::Entry,
    }
}

/// A device hands over what is written to it at once: so the receiver's TCP or UDP runs, may send, and wakes.
fn of_a_write(kernel: &Kernel<'_>) -> Share {
    const WAKING: [&str; 4] =
        ["sock_def_readable", "sock_def_write_space", "sk_stream_write_space", "try_to_wake_up"];
    // Of the UDP functions, not every version of the kernel has each on the stack.
    const RECEIVING: [&str; 6] = [
        "tcp_v4_rcv",
        "tcp_v6_rcv",
        "__udp4_lib_rcv",
        "__udp6_lib_rcv",
        "udp_unicast_rcv_skb",
        "udp6_unicast_rcv_skb",
    ];
    if kernel.has(|name| name.starts_with("__wake_up") || WAKING.contains(&name)) {
        return Share::WriteWake;
    }
    let Some(receives) = kernel.names().position(|name| RECEIVING.contains(&name)) else {
        return Share::Write;
    };
    let replies = kernel.names().skip(receives).any(|name| name == "__tcp_transmit_skb");
    if replies { Share::WriteReply } else { Share::WriteTransport }
}

/// The kernel's part of a stack, from the outside in.
struct Kernel<'a>(&'a [Frame<'a>]);

impl Kernel<'_> {
    /// The functions' names, without what the compiler adds to those that it has split or changed.
    fn names(&self) -> impl Iterator<Item = &str> {
        let kernel = self.0.iter().filter(|frame| frame.code == Code::Kernel);
        kernel.map(|frame| frame.name.split_once('.').map_or(frame.name, |(name, _)| name))
    }

    fn has(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.names().any(is_it)
    }

    /// The system call that is carried out; with io_uring, what it does for the ring, and else it waits.
    fn call(&self) -> Option<&str> {
        let for_a_ring = self.names().find_map(|name| match name {
            "io_read" | "io_read_mshot" | "__io_read" => Some("read"),
            "io_write" => Some("write"),
            _ => None,
        });
        let waits = || self.has(|name| name == "io_cqring_wait").then_some("epoll_wait");
        for_a_ring.or_else(waits).or_else(|| {
            // x86-64's way in, and that of 64-bit ARM.
            let names = self.names().skip_while(|name| !matches!(*name, "do_syscall_64" | "invoke_syscall"));
            let name = names.skip(1).find(|name| *name != "x64_sys_call")?;
            ["__x64_sys_", "__arm64_sys_", "ksys_", "__do_sys_", "__sys_", "do_"]
                .into_iter()
                .find_map(|prefix| name.strip_prefix(prefix))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::cast::tests::{PRINTED, cast};
    use super::*;

    #[test]
    fn every_sample_has_its_share() {
        let recording = Recording::parse(PRINTED).unwrap();
        let shares = recording.samples.iter().map(|sample| Share::of(&cast(), &recording, sample));
        assert_eq!(
            shares.collect::<Vec<_>>(),
            [
                Share::Of(Party::Idle),
                Share::Of(Party::Client),
                Share::Of(Party::Server),
                Share::Own,
                Share::Read,
                Share::Write,
                Share::WriteTransport,
                Share::WriteReply,
                Share::WriteWake,
                Share::Wait,
                Share::Entry,
                Share::Interrupt,
                Share::Of(Party::Kernel),
                Share::Of(Party::Other),
            ]
        );
    }

    #[test]
    fn calls_have_other_names_elsewhere() {
        let share = |names: &[&'static str]| {
            let frame = |name: &&'static str| Frame { name, code: Code::Kernel };
            of_the_peers(&names.iter().map(frame).collect::<Vec<_>>())
        };
        let enter = ["entry_SYSCALL_64_after_hwframe", "do_syscall_64", "__x64_sys_io_uring_enter"];
        assert_eq!(share(&enter), Share::Call);
        assert_eq!(share(&[&enter[..], &["io_issue_sqe", "io_read", "tun_do_read"]].concat()), Share::Read);
        let wait = ["do_syscall_64", "__do_sys_io_uring_enter", "io_cqring_wait"];
        assert_eq!(share(&wait), Share::Wait);
        assert_eq!(share(&wait[..2]), Share::Call);
        let read = ["__io_run_local_work", "io_poll_task_func", "io_read_mshot", "tun_chr_read_iter"];
        assert_eq!(share(&[&wait[..], &read].concat()), Share::Read);
        let write = [&enter[..], &["io_issue_sqe", "io_write", "tun_get_user.constprop.0"]].concat();
        assert_eq!(share(&write), Share::Write);
        assert_eq!(share(&[&write[..], &["tcp_v6_rcv"]].concat()), Share::WriteTransport);
        assert_eq!(share(&[&write[..], &["udp_unicast_rcv_skb"]].concat()), Share::WriteTransport);
        // What a proxy's own TCP sends arrives within its call, and is no reply.
        let send = ["do_syscall_64", "__sys_sendto", "__tcp_transmit_skb"];
        assert_eq!(share(&send), Share::Write);
        assert_eq!(share(&[&send[..], &["tcp_v4_rcv"]].concat()), Share::WriteTransport);
        assert_eq!(share(&[&send[..], &["tcp_v4_rcv", "__tcp_transmit_skb"]].concat()), Share::WriteReply);
        assert_eq!(share(&["el0_svc", "invoke_syscall.constprop.0", "__arm64_sys_readv"]), Share::Read);
    }

    #[test]
    fn all_are_in_the_table_once() {
        for share in Share::ALL {
            assert_eq!(Share::ALL.iter().filter(|other| **other == share).count(), 1, "{share:?}");
        }
    }
}
