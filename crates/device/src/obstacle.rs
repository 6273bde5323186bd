//! What stands in the way when the system refuses: one sentence for each cause, with what to do about it.
//!
//! An error number says little: a user who is not root, a container, AppArmor and a chroot all come as EPERM. So the
//! machine is asked for [`Facts`], and [`diagnose`], which is pure, tells from them which it was.

use std::io;

use rustix::io::Errno;
use thiserror::Error;

use crate::facts::{Facts, TunNode};
use crate::rootless;

/// The oldest kernel that sidegate works on: the first that has everything it asks for.
pub(crate) const OLDEST: (u32, u32) = (5, 3);

/// The start of a container that may do everything that sidegate does.
macro_rules! container {
    () => {
        "`docker run --cap-add NET_ADMIN --cap-add SYS_ADMIN --device /dev/net/tun --security-opt apparmor=unconfined …`"
    };
}

/// Why the system refuses. Each sentence ends in what to do.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Obstacle {
    /// The kernel does not know what it is asked for.
    #[error(
        "Linux {release} is too old; use {}.{} or later (USO, which makes UDP faster, needs 6.2)",
        OLDEST.0,
        OLDEST.1
    )]
    OldKernel {
        /// Which it is.
        release: String,
    },

    /// The machine has no TUN driver, or the container does not show it.
    #[error(
        "/dev/net/tun is missing; load the driver with `sudo modprobe tun`, or start the container with \
         `--device /dev/net/tun`"
    )]
    TunMissing,

    /// The file of the TUN driver is not open to this user.
    #[error(
        "/dev/net/tun is closed to this user (mode {mode:04o}); run with sudo, or open it until the next boot with \
         `sudo chmod 0666 /dev/net/tun`, and for good with the udev rule `KERNEL==\"tun\", MODE=\"0666\"` (harmless: \
         making a device takes more than this file)"
    )]
    TunClosed {
        /// Its permission bits.
        mode: u32,
    },

    /// The file of the TUN driver is there, and something else than its mode keeps it closed.
    #[error(
        "/dev/net/tun is there, but may not be opened, whatever its mode: it lies on a mount with `nodev` \
         (`findmnt -T /dev/net/tun`), or a device cgroup or a security module such as SELinux forbids it; change that, or \
         start the container, if it is one, with {}",
        container!()
    )]
    TunForbidden,

    /// An ordinary user asks for what only root may do.
    #[error("this user is not root; run with sudo, or grant CAP_NET_ADMIN and CAP_SYS_ADMIN")]
    NotRoot,

    /// Root has not all that makes it root.
    #[error(
        "root has no {} here, as is usual in a container; start it with {}",
        missing.join(" and no "),
        container!()
    )]
    RootWithout {
        /// The capabilities that are missing.
        missing: Vec<&'static str>,
    },

    /// Root may not, and has all that the kernel asks for.
    #[error(
        "root is kept from it, most likely by the AppArmor or seccomp profile of a container; start the container with {}",
        container!()
    )]
    RootConfined,

    /// The kernel was built without user namespaces.
    #[error("this kernel has no user namespaces, which sidegate needs to do without root; run with sudo")]
    NoUserNamespaces,

    /// The limit is zero.
    #[error(
        "this system allows no user namespaces (user.max_user_namespaces = 0), which sidegate needs to do without root; \
         run with sudo, or allow them with `sudo sysctl -w user.max_user_namespaces=10000`"
    )]
    UserNamespacesOff,

    /// A limit is reached.
    #[error(
        "no more namespaces are allowed here; end what uses them, raise user.max_user_namespaces, \
         user.max_net_namespaces and user.max_mnt_namespaces, or run with sudo"
    )]
    NamespacesUsedUp,

    /// Debian's and others' switch.
    #[error(
        "this kernel keeps user namespaces, which sidegate needs to do without root, to root \
         (kernel.unprivileged_userns_clone = 0); run with sudo, or open them with \
         `sudo sysctl -w kernel.unprivileged_userns_clone=1`"
    )]
    UserNamespacesOfRoot,

    /// Ubuntu's restriction: there are user namespaces, and nothing can be done in them.
    #[error(
        "AppArmor makes user namespaces, which sidegate needs to do without root, useless to ordinary users \
         (kernel.apparmor_restrict_unprivileged_userns = 1, as on Ubuntu since 23.10); run with sudo, or lift the \
         restriction with `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
    )]
    AppArmor,

    /// A filter of system calls, such as containers have.
    #[error(
        "user namespaces, which sidegate needs to do without root, are filtered out here (seccomp), most likely in a \
         container; run as root in one that was started with {}",
        container!()
    )]
    Filtered,

    /// Nothing that is known explains it.
    #[error(
        "user namespaces, which sidegate needs to do without root, are forbidden here, as in a chroot or by a security \
         module; run with sudo"
    )]
    UserNamespacesForbidden,
}

/// What was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attempt {
    /// A step into namespaces of an ordinary user's own.
    UserNamespace,
    /// A request to the TUN driver.
    Driver,
    /// Anything else that takes root's capabilities.
    Privileged,
}

impl Obstacle {
    /// What stood in the way of `attempt`; nothing if it is something that privilege does not explain.
    pub(crate) fn behind(attempt: Attempt, error: &io::Error) -> Option<Self> {
        diagnose(attempt, Errno::from_io_error(error)?, &rootless::facts())
    }

    /// What stood in the way of a system call that `error` says is not there: a kernel that is too old, if it is.
    pub fn of_old_kernel(error: &io::Error) -> Option<Self> {
        let errno = Errno::from_io_error(error).filter(|errno| *errno == Errno::NOSYS)?;
        diagnose(Attempt::Privileged, errno, &rootless::facts())
    }
}

/// Tells what an error number means on a machine with these facts.
pub(crate) fn diagnose(attempt: Attempt, errno: Errno, facts: &Facts) -> Option<Obstacle> {
    match (attempt, errno) {
        (_, Errno::PERM | Errno::ACCESS) => Some(denied(attempt, facts)),
        (Attempt::Driver, Errno::NOENT | Errno::NODEV | Errno::NXIO) => Some(Obstacle::TunMissing),
        (Attempt::UserNamespace, Errno::NOSPC | Errno::USERS) => Some(match facts.max_user_namespaces {
            Some(0) => Obstacle::UserNamespacesOff,
            _ => Obstacle::NamespacesUsedUp,
        }),
        (_, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOTTY) => unknown(attempt, facts),
        _ => None,
    }
}

/// Why it is not permitted.
fn denied(attempt: Attempt, facts: &Facts) -> Obstacle {
    match attempt {
        Attempt::UserNamespace if facts.unprivileged_userns_clone == Some(0) => {
            Obstacle::UserNamespacesOfRoot
        }
        Attempt::UserNamespace if facts.apparmor_restricts_userns == Some(1) => Obstacle::AppArmor,
        Attempt::UserNamespace if facts.filtered => Obstacle::Filtered,
        Attempt::UserNamespace => Obstacle::UserNamespacesForbidden,
        Attempt::Driver => {
            facts.closed_tun().unwrap_or_else(|| facts.lack().unwrap_or(Obstacle::RootConfined))
        }
        Attempt::Privileged => facts.lack().unwrap_or(Obstacle::RootConfined),
    }
}

/// Why the kernel does not know what it is asked for.
fn unknown(attempt: Attempt, facts: &Facts) -> Option<Obstacle> {
    if facts.kernel().is_some_and(|kernel| kernel < OLDEST) {
        return Some(Obstacle::OldKernel { release: facts.release.clone() });
    }
    (attempt == Attempt::UserNamespace).then_some(Obstacle::NoUserNamespaces)
}

impl Facts {
    /// What keeps this process from doing what only root may.
    pub(crate) fn lack(&self) -> Option<Obstacle> {
        let missing: Vec<_> = [(self.net_admin, "CAP_NET_ADMIN"), (self.sys_admin, "CAP_SYS_ADMIN")]
            .into_iter()
            .filter_map(|(there, name)| (!there).then_some(name))
            .collect();
        match (self.root, missing.is_empty()) {
            (_, true) => None,
            (false, _) => Some(Obstacle::NotRoot),
            (true, false) => Some(Obstacle::RootWithout { missing }),
        }
    }

    /// What keeps this process from opening the TUN driver's file.
    pub(crate) fn closed_tun(&self) -> Option<Obstacle> {
        match self.tun {
            TunNode::Open => None,
            TunNode::Missing => Some(Obstacle::TunMissing),
            TunNode::Closed { mode } => Some(Obstacle::TunClosed { mode }),
            TunNode::Forbidden => Some(Obstacle::TunForbidden),
        }
    }

    /// The kernel's version: its first two numbers.
    fn kernel(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user on a machine where nothing is in the way.
    fn user() -> Facts {
        Facts {
            release: "6.8.0-45-generic".into(),
            root: false,
            net_admin: false,
            sys_admin: false,
            filtered: false,
            tun: TunNode::Open,
            max_user_namespaces: Some(10_000),
            unprivileged_userns_clone: None,
            apparmor_restricts_userns: None,
        }
    }

    fn root() -> Facts {
        Facts { root: true, net_admin: true, sys_admin: true, ..user() }
    }

    /// The sentence for a refusal.
    fn told(attempt: Attempt, errno: Errno, facts: &Facts) -> String {
        diagnose(attempt, errno, facts).map_or("nothing".into(), |obstacle| obstacle.to_string())
    }

    #[track_caller]
    fn tells(attempt: Attempt, errno: Errno, facts: &Facts, words: &[&str]) {
        let told = told(attempt, errno, facts);
        assert!(words.iter().all(|word| told.contains(word)), "{words:?} are not all in: {told}");
    }

    #[test]
    fn each_lock_on_user_namespaces_is_named_with_its_key() {
        use Attempt::UserNamespace;
        let ubuntu = Facts { apparmor_restricts_userns: Some(1), ..user() };
        for errno in [Errno::PERM, Errno::ACCESS] {
            tells(
                UserNamespace,
                errno,
                &ubuntu,
                &["AppArmor", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"],
            );
        }
        let none = Facts { max_user_namespaces: Some(0), ..user() };
        tells(UserNamespace, Errno::NOSPC, &none, &["sudo sysctl -w user.max_user_namespaces=10000"]);
        tells(UserNamespace, Errno::NOSPC, &user(), &["no more namespaces"]);
        let debian = Facts { unprivileged_userns_clone: Some(0), ..user() };
        tells(
            UserNamespace,
            Errno::PERM,
            &debian,
            &["sudo sysctl -w kernel.unprivileged_userns_clone=1", "run with sudo"],
        );
        let container = Facts { filtered: true, ..user() };
        tells(UserNamespace, Errno::PERM, &container, &["seccomp", "docker run"]);
        tells(UserNamespace, Errno::PERM, &user(), &["chroot", "run with sudo"]);
        tells(UserNamespace, Errno::INVAL, &user(), &["this kernel has no user namespaces"]);
    }

    #[test]
    fn a_lock_that_is_open_is_not_blamed() {
        let open = Facts {
            unprivileged_userns_clone: Some(1),
            apparmor_restricts_userns: Some(0),
            filtered: false,
            ..user()
        };
        let obstacle = diagnose(Attempt::UserNamespace, Errno::PERM, &open);
        assert_eq!(obstacle, Some(Obstacle::UserNamespacesForbidden));
    }

    #[test]
    fn the_tun_drivers_file_is_missing_closed_or_forbidden() {
        use Attempt::Driver;
        for errno in [Errno::NOENT, Errno::NODEV, Errno::NXIO] {
            tells(Driver, errno, &root(), &["sudo modprobe tun", "--device /dev/net/tun"]);
        }
        let closed = Facts { tun: TunNode::Closed { mode: 0o600 }, ..user() };
        tells(
            Driver,
            Errno::ACCESS,
            &closed,
            &["mode 0600", "sudo chmod 0666 /dev/net/tun", "udev", "run with sudo"],
        );
        let forbidden = Facts { tun: TunNode::Forbidden, ..root() };
        tells(Driver, Errno::PERM, &forbidden, &["may not be opened", "nodev", "--device /dev/net/tun"]);
        tells(Driver, Errno::PERM, &user(), &["not root", "run with sudo"]);
    }

    #[test]
    fn root_in_a_container_is_told_how_to_start_it() {
        let docker = "docker run --cap-add NET_ADMIN --cap-add SYS_ADMIN --device /dev/net/tun";
        let bare = Facts { net_admin: false, sys_admin: false, ..root() };
        tells(
            Attempt::Privileged,
            Errno::PERM,
            &bare,
            &["no CAP_NET_ADMIN and no CAP_SYS_ADMIN here", docker],
        );
        let half = Facts { sys_admin: false, ..root() };
        tells(Attempt::Driver, Errno::PERM, &half, &["root has no CAP_SYS_ADMIN here", docker]);
        tells(Attempt::Privileged, Errno::ACCESS, &root(), &["apparmor=unconfined", docker]);
        tells(
            Attempt::Privileged,
            Errno::PERM,
            &user(),
            &["not root", "sudo", "CAP_NET_ADMIN and CAP_SYS_ADMIN"],
        );
    }

    #[test]
    fn an_old_kernel_is_blamed_only_for_what_it_does_not_know() {
        let old = |release: &str| Facts { release: release.into(), ..root() };
        for release in ["4.19.0-27-amd64", "5.2.21", "3.10"] {
            tells(Attempt::Driver, Errno::INVAL, &old(release), &[release, "use 5.3 or later"]);
            tells(Attempt::UserNamespace, Errno::NOSYS, &old(release), &["too old"]);
            tells(Attempt::Privileged, Errno::NOSYS, &old(release), &[release, "use 5.3 or later"]);
        }
        for release in ["5.3.0", "5.15.153.1-microsoft-standard-WSL2", "6.18.44", "10.0", "odd"] {
            assert_eq!(told(Attempt::Driver, Errno::INVAL, &old(release)), "nothing", "{release}");
        }
        assert_eq!(told(Attempt::Privileged, Errno::BUSY, &old("4.19.0")), "nothing");
    }
}
