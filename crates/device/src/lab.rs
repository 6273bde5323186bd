//! Named network namespaces made and removed as `ip netns` does it, without iproute2: for the demo and for tests. And
//! whether a crate's namespace tests may run here.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, thread};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change, unmount,
};
use rustix::thread::UnshareFlags;
use tracing::warn;

use crate::link::Link;
use crate::namespace::NAMED;
use crate::rootless::unshare;
use crate::{DeviceError, DeviceSpec, OffloadOpener, Offloads, Opener, Privilege, gain_privilege, inside};

/// A namespace of our own. It is removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    path: PathBuf,
}

impl Namespace {
    /// Makes the namespace `name`; `ip netns exec` knows it.
    pub fn create(name: &str) -> Result<Self, DeviceError> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(DeviceError::NamespaceName { name: name.into() });
        }
        let path = Path::new(NAMED).join(name);
        shared_directory().map_err(|cause| DeviceError::lab(&path, "prepare /run/netns", cause))?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o000).open(&path);
        file.map_err(|cause| match cause.kind() {
            ErrorKind::AlreadyExists => DeviceError::NamespaceExists { path: path.clone() },
            _ => DeviceError::lab(&path, "make its file", cause),
        })?;
        // From here on, dropping it cleans up.
        let namespace = Self { name: name.into(), path };
        populate(&namespace.path).map_err(|cause| DeviceError::lab(&namespace.path, "make it", cause))?;
        Ok(namespace)
    }

    /// Makes a namespace that no one else has: `label`, this process, a count.
    pub fn unique(label: &str) -> Result<Self, DeviceError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::create(&format!("{label}-{}-{count}", process::id()))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings its loopback interface up and assigns addresses to it, usable at once. Each is local by itself,
    /// whatever its prefix length.
    pub fn address(&self, addresses: &[(IpAddr, u8)]) -> Result<(), DeviceError> {
        let work = || -> io::Result<()> {
            let mut loopback = Link::find("lo")?;
            loopback.up()?;
            addresses.iter().try_for_each(|(address, prefix)| loopback.assign(*address, *prefix))
        };
        let step = "give its loopback interface addresses";
        inside(&self.path, work)?.map_err(|cause| DeviceError::lab(&self.path, step, cause))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            warn!("{error}");
        }
    }
}

/// The names of all namespaces that have one.
pub fn names() -> Result<Vec<String>, DeviceError> {
    let read = || match fs::read_dir(NAMED) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
    };
    let mut names: Vec<String> =
        read().map_err(|cause| DeviceError::lab(Path::new(NAMED), "list the names in it", cause))?;
    names.sort();
    Ok(names)
}

/// Removes a namespace, whoever made it.
pub fn remove(name: &str) -> Result<(), DeviceError> {
    let path = Path::new(NAMED).join(name);
    // Nothing is mounted if making it failed half-way.
    let _ = unmount(&path, UnmountFlags::DETACH);
    fs::remove_file(&path).map_err(|cause| DeviceError::lab(&path, "remove it", cause))
}

/// Which of a crate's namespace tests may run.
#[derive(Clone, Copy, Debug)]
pub struct Permit {
    of: &'static str,
    privilege: Option<Privilege>,
    required: bool,
}

impl Permit {
    /// Gets as much privilege as there is to be had; if that is none, says so loudly. It has to come before any thread is
    /// started: without root, the process moves into a user namespace. Under `SIDEGATE_REQUIRE_PRIVILEGES=1` nothing is
    /// skipped where there is no privilege at all: it fails.
    pub fn obtain(of: &'static str) -> Self {
        let required = env::var_os("SIDEGATE_REQUIRE_PRIVILEGES").is_some_and(|value| value == "1");
        let privilege =
            gain_privilege().map_err(DeviceError::from).and_then(|gained| prove().map(|()| gained));
        if let (Err(lack), false) = (&privilege, required) {
            eprintln!("SKIPPED: the namespace tests of `{of}`: {lack}");
        }
        Self { of, privilege: privilege.ok(), required }
    }

    /// Whether the tests are to be skipped.
    pub fn skips(self) -> bool {
        self.privilege.is_none() && !self.required
    }

    /// Whether those are to be skipped that only root can set the stage for; if so, says it loudly.
    pub fn skips_those_of_root(self) -> bool {
        let rootless = self.privilege == Some(Privilege::Rootless);
        if rootless {
            eprintln!(
                "SKIPPED: some tests of `{}`: only root can set the stage for them; run them with sudo",
                self.of
            );
        }
        rootless || self.skips()
    }
}

/// Whether this process may make namespaces and devices, found out by doing both; or why not.
fn prove() -> Result<(), DeviceError> {
    let namespace = Namespace::unique("sg-privilege")?;
    let spec = DeviceSpec {
        name: "sg-privilege".into(),
        namespace: namespace.path().into(),
        queues: 1,
        mtu: 1500,
        offloads: Offloads::ALL,
        steering: None,
        routed: Vec::new(),
        local: Vec::new(),
        answers: Vec::new(),
        answers_may_wait: false,
    };
    OffloadOpener.open(&spec).map(drop)
}

/// Makes /run/netns, as a mount that others share, so that a namespace made here shows in every mount namespace.
fn shared_directory() -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(NAMED)?;
    // Like `ip netns`: one at a time, or the directory ends up mounted over itself more than once.
    let lock = rustix::fs::open(NAMED, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    let share = || mount_change(NAMED, MountPropagationFlags::SHARED | MountPropagationFlags::REC);
    match share() {
        Err(Errno::INVAL) => {
            mount_bind_recursive(NAMED, NAMED)?;
            share()?;
        }
        done => done?,
    }
    Ok(())
}

/// Makes a namespace on a throw-away thread, and mounts it over `path` to keep it.
fn populate(path: &Path) -> io::Result<()> {
    let work = || -> io::Result<()> {
        unshare(UnshareFlags::NEWNET)?;
        Ok(mount_bind("/proc/thread-self/ns/net", path)?)
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("namespace".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
