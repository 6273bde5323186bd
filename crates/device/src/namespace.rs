//! Network namespaces: entering one on a throw-away thread, and telling one from its successor of the same name.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::DeviceError;

/// Where `ip netns` keeps its names.
pub(crate) const NAMED: &str = "/run/netns";

/// Which namespace it is, whatever its name. The kernel gives no two live namespaces the same identity, and an open
/// TUN queue keeps its namespace alive: if the file at the path now has another identity, the namespace was
/// replaced.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NamespaceIdentity {
    device: u64,
    inode: u64,
}

impl NamespaceIdentity {
    /// The identity of the namespace that `path` is the file of now.
    pub fn of(path: &Path) -> io::Result<Self> {
        let stat = rustix::fs::stat(path)?;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino })
    }
}

/// Does `work` inside a namespace, on a thread of its own that ends with it. The caller's threads stay where they
/// are.
pub fn inside<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> Result<T, DeviceError> {
    visit(namespace, |_| work())
}

/// As [`inside`], and tells `work` which namespace it is in.
pub(crate) fn visit<T: Send>(
    namespace: &Path,
    work: impl FnOnce(NamespaceIdentity) -> T + Send,
) -> Result<T, DeviceError> {
    on_a_thread(namespace, || enter(namespace).map(work))
}

/// A namespace that is held open: it can be entered whatever has become of its file.
pub(crate) struct Held {
    file: OwnedFd,
    /// What it was entered by; by now, that may be the file of another.
    path: PathBuf,
}

impl Held {
    /// The namespace of the calling thread, which was entered by `path`.
    pub(crate) fn current(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())?;
        Ok(Self { file, path: path.into() })
    }

    /// As [`inside`].
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, DeviceError> {
        on_a_thread(&self.path, || move_into(&self.file, &self.path).map(|()| work()))
    }
}

/// Does `visit` on a thread of its own, which may change its namespace.
fn on_a_thread<T: Send>(
    namespace: &Path,
    visit: impl FnOnce() -> Result<T, DeviceError> + Send,
) -> Result<T, DeviceError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("namespace".into())
            .spawn_scoped(scope, visit)
            .map_err(|cause| DeviceError::Thread { path: namespace.into(), cause })?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Moves the calling thread into a namespace.
fn enter(path: &Path) -> Result<NamespaceIdentity, DeviceError> {
    // Non-blocking, lest the path be that of a pipe.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| refused(path, errno))?;
    let stat = rustix::fs::fstat(&file).map_err(|errno| refused(path, errno))?;
    move_into(&file, path)?;
    Ok(NamespaceIdentity { device: stat.st_dev, inode: stat.st_ino })
}

/// Moves the calling thread into the namespace whose open file this is.
fn move_into(file: &OwnedFd, path: &Path) -> Result<(), DeviceError> {
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|errno| match errno {
        Errno::INVAL => DeviceError::NotANamespace { path: path.into() },
        _ => refused(path, errno),
    })
}

fn refused(path: &Path, errno: Errno) -> DeviceError {
    match errno {
        Errno::NOENT => DeviceError::NamespaceMissing { path: path.into() },
        _ => DeviceError::enter(path, errno.into()),
    }
}

/// The namespace as the operator knows it: its name if it has one, or else its path.
pub(crate) fn label(path: &Path) -> std::path::Display<'_> {
    name(path).unwrap_or(path).display()
}

/// The command that runs another inside the namespace, for remedies that can be pasted into a shell.
pub(crate) fn command_in(path: &Path) -> String {
    match name(path) {
        Some(name) => format!("ip netns exec {}", name.display()),
        None => format!("nsenter --net={}", path.display()),
    }
}

fn name(path: &Path) -> Option<&Path> {
    path.strip_prefix(NAMED).or_else(|_| path.strip_prefix("/var/run/netns")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_called_by_its_name_or_path() {
        assert_eq!(label(Path::new("/run/netns/provider")).to_string(), "provider");
        assert_eq!(label(Path::new("/var/run/netns/provider")).to_string(), "provider");
        assert_eq!(label(Path::new("/proc/7/ns/net")).to_string(), "/proc/7/ns/net");
        assert_eq!(command_in(Path::new("/run/netns/provider")), "ip netns exec provider");
        assert_eq!(command_in(Path::new("/proc/7/ns/net")), "nsenter --net=/proc/7/ns/net");
    }

    #[test]
    fn a_missing_namespace_is_told_from_a_wrong_file() {
        let missing = inside(Path::new("/run/netns/no-such-namespace"), || ()).unwrap_err();
        assert!(matches!(missing, DeviceError::NamespaceMissing { .. }), "{missing}");
        for wrong in ["/proc/self/ns/mnt", "/proc/self/exe", "/proc"] {
            let wrong = inside(Path::new(wrong), || ()).unwrap_err();
            assert!(matches!(wrong, DeviceError::NotANamespace { .. }), "{wrong}");
        }
    }
}
