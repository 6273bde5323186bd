//! Doing without root: an ordinary user is root in a user namespace of their own, and may make network namespaces and
//! devices there, which nobody outside sees.

use std::fs;
use std::io;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{getegid, geteuid};
use rustix::thread::UnshareFlags;

use crate::facts::Facts;
use crate::obstacle::{Attempt, Obstacle, diagnose};

/// As what a process makes namespaces and devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Privilege {
    /// As root.
    Root,
    /// As an ordinary user, in namespaces of its own.
    Rootless,
}

/// Makes sure that this process may make namespaces and devices. Root's may, and stays where it is. That of an ordinary
/// user moves, for good, into new user, mount and network namespaces, where it is root and has a /run of its own. The
/// kernel moves only a process of one thread, so this comes before any other is started.
///
/// Who wants to look in from outside enters the user and the mount namespace of this process:
/// `nsenter --preserve-credentials -U -m -t PID`.
pub fn gain_privilege() -> Result<Privilege, Obstacle> {
    // The machine shows something else once we have moved, so this comes before.
    let facts = Facts::observe();
    let lack = if facts.root { facts.lack() } else { None };
    if let Some(obstacle) = lack.or_else(|| facts.closed_tun()) {
        return Err(obstacle);
    }
    if facts.root {
        return Ok(Privilege::Root);
    }
    let obstacle = |error: io::Error| {
        let errno = Errno::from_io_error(&error)?;
        diagnose(Attempt::UserNamespace, errno, &facts)
    };
    move_in().map_err(|error| obstacle(error).unwrap_or(Obstacle::UserNamespacesForbidden))?;
    OUTSIDE.get_or_init(|| facts);
    Ok(Privilege::Rootless)
}

/// What the machine showed before this process moved into a user namespace.
static OUTSIDE: OnceLock<Facts> = OnceLock::new();

/// What a refusal is explained with. In a user namespace everybody is root, and for what is refused there it matters that
/// outside they are not: so what was seen outside counts.
pub(crate) fn facts() -> Facts {
    OUTSIDE.get().cloned().unwrap_or_else(Facts::observe)
}

fn move_in() -> io::Result<()> {
    let (user, group) = (geteuid(), getegid());
    unshare(UnshareFlags::NEWUSER)?;
    // A group may be there to keep its members out of a file, so the kernel wants none to be given up.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    unshare(UnshareFlags::NEWNS | UnshareFlags::NEWNET)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // Namespaces get their names in /run/netns, and instances their sockets in /run/sidegate.
    Ok(mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=0755"))?)
}

/// Moves the calling thread into new namespaces.
#[expect(unsafe_code, reason = "rustix marks unshare unsafe for the sake of other flags")]
pub(crate) fn unshare(namespaces: UnshareFlags) -> Result<(), Errno> {
    let namespaces = namespaces.difference(UnshareFlags::FILES);
    // SAFETY: unsafe only with the flag FILES, which would part this thread from the others' file descriptors.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}
