//! Network namespaces to measure in: made with iproute2, entered by threads, gone when they are dropped.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
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
        let table = |name| {
            let path = format!("/proc/thread-self/net/{name}");
            File::open(&path).and_then(|file| listening(BufReader::new(file))).context(path)
        };
        let open = self.inside(|| Ok([table("tcp")?, table("tcp6")?].concat()))?;
        Ok(ports.iter().all(|port| open.contains(port)))
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

/// The ports that something listens on, by a table such as `/proc/net/tcp`. It has listeners first, and after them every connection,
/// which may be very many: these are not asked for.
fn listening(table: impl BufRead) -> io::Result<Vec<u16>> {
    let mut ports = Vec::new();
    for line in table.lines().skip(1) {
        let Some(port) = listener(&line?) else { break };
        ports.push(port);
    }
    Ok(ports)
}

/// The port, if this line is about a listening socket.
fn listener(line: &str) -> Option<u16> {
    const LISTEN: &str = "0A";
    let mut fields = words(line).skip(1);
    let (_, port) = fields.next()?.rsplit_once(':')?;
    (fields.nth(1)? == LISTEN).then(|| u16::from_str_radix(port, 16).ok())?
}

/// Runs iproute2's `ip`, in a process group of its own: a Ctrl-C is for this process, which has namespaces to remove.
pub fn ip(arguments: &str) -> Result<()> {
    let output =
        Command::new("ip").args(words(arguments)).process_group(0).output().context("ip (iproute2)")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n";
    const HTTP: &str = "   0: 0200020A:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n";
    const BULK: &str = "   1: 00000000000000000000000000000000:1451 00000000:0000 0A 00000000:00000000\n";
    const OPEN: &str = "   2: 0200020A:1B59 0200010A:1F90 01 00000000:00000000 00:00000000 00000000\n";

    #[test]
    fn listeners_are_found_up_to_the_first_connection() {
        let ports = |lines: &[&str]| listening(lines.concat().as_bytes()).unwrap();
        assert_eq!(ports(&[HEAD, HTTP, BULK, OPEN]), [8080, 5201]);
        assert!(ports(&[HEAD, OPEN, HTTP]).is_empty(), "what follows a connection is not read");
        assert!(ports(&[HEAD]).is_empty());
    }

    #[test]
    fn the_kernel_lists_a_listener_ahead_of_its_connections() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let _connections = [(); 3].map(|()| std::net::TcpStream::connect(address).unwrap());
        let table = File::open("/proc/thread-self/net/tcp").unwrap();
        assert!(listening(BufReader::new(table)).unwrap().contains(&address.port()));
    }
}
