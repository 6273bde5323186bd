//! Network namespaces to measure in: made with iproute2, entered by threads, gone when they are dropped.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace that lives as long as this does.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes it.
    pub fn new(name: String) -> Result<Self> {
        ip(&format!("netns add {name}"))?;
        Ok(Self { name })
    }

    /// Its name under `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        path_of(&self.name)
    }

    /// The number that it goes by in the kernel.
    pub fn inode(&self) -> Result<u64> {
        let path = self.path();
        Ok(fs::metadata(&path).with_context(|| path.display().to_string())?.ino())
    }

    /// Moves the calling thread into it, for the rest of the thread's life.
    pub fn enter(&self) -> Result<()> {
        enter(&self.name)
    }

    /// Does something inside, on a thread that exists for this alone.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let outcome = thread::scope(|scope| scope.spawn(|| self.enter().and_then(|()| work())).join());
        outcome.unwrap_or_else(|_| Err(anyhow!("a thread in {} panicked", self.name)))
    }

    /// Sets one of its own kernel settings.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.inside(|| fs::write(&path, value).with_context(|| format!("{} = {value}", path.display())))
    }

    /// Whether something in it listens on each of these TCP ports.
    pub fn listens(&self, ports: &[u16]) -> Result<bool> {
        let table = |name| read(&format!("/proc/thread-self/net/{name}"));
        let sockets = self.inside(|| Ok(table("tcp")? + &table("tcp6")?))?;
        Ok(ports.iter().all(|port| sockets.lines().any(|line| is_listener(line, *port))))
    }

    /// Whether it has a device of this name.
    pub fn has_device(&self, name: &str) -> Result<bool> {
        let devices = self.inside(|| read("/proc/thread-self/net/dev"))?;
        Ok(devices.lines().filter_map(|line| line.split_once(':')).any(|(device, _)| device.trim() == name))
    }

    /// Runs iproute2's `ip` on it.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        ip(&format!("-n {} {arguments}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("netns del {}", self.name)) {
            eprintln!("namespace {} stays behind: {error:#}", self.name);
        }
    }
}

/// Moves the calling thread into the namespace of this name, which another process may have made, for the rest of the thread's life.
pub fn enter(name: &str) -> Result<()> {
    let file = path_of(name);
    let opened = File::open(&file).with_context(|| file.display().to_string())?;
    move_into_link_name_space(opened.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("entering {name}"))
}

fn path_of(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// Whether this line of `/proc/net/tcp` is a listening socket on `port`.
fn is_listener(line: &str, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let mut fields = words(line).skip(1);
    let local = fields.next().is_some_and(|address| address.ends_with(&format!(":{port:04X}")));
    local && fields.nth(1) == Some(LISTEN)
}

/// Runs iproute2's `ip`.
pub fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(words(arguments)).output().context("ip (iproute2)")?;
    if !output.status.success() {
        bail!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Reads a file of the kernel's.
pub fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.to_owned())
}

/// The words of a line.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}
