//! What the machine shows of the privileges that this process has, and of those that it could get.

use std::fs;
use std::str::FromStr;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities};

use crate::tun;

/// What a refusal is explained with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    /// Which kernel it is, as `uname -r` says it.
    pub(crate) release: String,
    /// Whether this process is root's.
    pub(crate) root: bool,
    /// Whether it may make and set up devices.
    pub(crate) net_admin: bool,
    /// Whether it may make and enter namespaces.
    pub(crate) sys_admin: bool,
    /// Whether its system calls go through a filter.
    pub(crate) filtered: bool,
    /// What became of opening the TUN driver's file.
    pub(crate) tun: TunNode,
    /// The sysctl `user.max_user_namespaces`.
    pub(crate) max_user_namespaces: Option<u64>,
    /// The sysctl `kernel.unprivileged_userns_clone`, which few kernels have.
    pub(crate) unprivileged_userns_clone: Option<u64>,
    /// The sysctl `kernel.apparmor_restrict_unprivileged_userns`, which Ubuntu has.
    pub(crate) apparmor_restricts_userns: Option<u64>,
}

/// The TUN driver's file, as this process sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TunNode {
    /// It can be opened.
    Open,
    /// It is not there, or nothing is behind it.
    Missing,
    /// Its permission bits keep this process out.
    Closed {
        /// Those bits.
        mode: u32,
    },
    /// Something else does.
    Forbidden,
}

impl Facts {
    /// Looks.
    pub(crate) fn observe() -> Self {
        let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        Self {
            release: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            root: geteuid().is_root(),
            net_admin: effective.contains(CapabilitySet::NET_ADMIN),
            sys_admin: effective.contains(CapabilitySet::SYS_ADMIN),
            filtered: is_filtered(),
            tun: TunNode::observe(),
            max_user_namespaces: read("/proc/sys/user/max_user_namespaces"),
            unprivileged_userns_clone: read("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restricts_userns: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        }
    }
}

impl TunNode {
    /// Opening it makes no device, and loads the driver where that has not happened yet.
    fn observe() -> Self {
        match rustix::fs::open(tun::PATH, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
            Ok(_) => Self::Open,
            Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => Self::Missing,
            Err(Errno::ACCESS) => match rustix::fs::stat(tun::PATH) {
                Ok(stat) => Self::Closed { mode: stat.st_mode & 0o7777 },
                Err(_) => Self::Forbidden,
            },
            Err(_) => Self::Forbidden,
        }
    }
}

fn is_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

fn read<T: FromStr>(path: &str) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
