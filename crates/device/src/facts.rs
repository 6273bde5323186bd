//! What the machine shows of the privileges that this process has, and of those that it could get.

use std::fs;
use std::str::FromStr;

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgroups};
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
        let effective = effective_capabilities();
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
                Ok(file) if Identity::own().is_kept_out(&file) => {
                    Self::Closed { mode: file.st_mode & 0o7777 }
                }
                _ => Self::Forbidden,
            },
            Err(_) => Self::Forbidden,
        }
    }
}

/// As whom a process opens files.
struct Identity {
    user: u32,
    groups: Vec<u32>,
    overrides: bool,
}

impl Identity {
    fn own() -> Self {
        let mut groups = getgroups().unwrap_or_default();
        groups.push(getegid());
        Self {
            user: geteuid().as_raw(),
            groups: groups.into_iter().map(|group| group.as_raw()).collect(),
            overrides: effective_capabilities().contains(CapabilitySet::DAC_OVERRIDE),
        }
    }

    /// Whether the permission bits of a file keep it from reading or from writing. (Not what a mount, a device cgroup or
    /// a security module says.)
    fn is_kept_out(&self, file: &Stat) -> bool {
        const READ_AND_WRITE: u32 = 0o6;
        let bits = if file.st_uid == self.user {
            file.st_mode >> 6
        } else if self.groups.contains(&file.st_gid) {
            file.st_mode >> 3
        } else {
            file.st_mode
        };
        !self.overrides && bits & READ_AND_WRITE != READ_AND_WRITE
    }
}

fn effective_capabilities() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

fn is_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

fn read<T: FromStr>(path: &str) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_that_count_are_those_of_the_owner_the_group_or_the_others() {
        // Its owner and its group are read from a file that is there everywhere.
        let file = |mode| {
            let mut file = rustix::fs::stat("/proc/self").unwrap();
            file.st_mode = libc::S_IFCHR | mode;
            file
        };
        let Stat { st_uid: user, st_gid: group, .. } = file(0);
        let owner = Identity { user, groups: vec![group], overrides: false };
        let member = Identity { user: user + 1, groups: vec![group + 1, group], overrides: false };
        let stranger = Identity { user: user + 1, groups: vec![group + 1], overrides: false };
        for (mode, kept_out) in [
            (0o666, [false, false, false]),
            (0o660, [false, false, true]),
            (0o600, [false, true, true]),
            (0o640, [false, true, true]),
            (0o606, [false, true, false]),
            (0o066, [true, false, false]),
            (0o444, [true, true, true]),
            (0o000, [true, true, true]),
        ] {
            let found = [&owner, &member, &stranger].map(|who| who.is_kept_out(&file(mode)));
            assert_eq!(found, kept_out, "{mode:04o}");
            let root = Identity { overrides: true, ..Identity::own() };
            assert!(!root.is_kept_out(&file(mode)), "{mode:04o}");
        }
    }
}
