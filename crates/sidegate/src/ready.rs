//! Telling whoever waits that packets flow: on stdout, on a descriptor, and to a service manager.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::RawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

use crate::{Failure, output};

/// Where systemd tells its services to report to.
pub(crate) const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// How long a service manager may take to listen.
const PATIENCE: Duration = Duration::from_secs(5);

/// A descriptor that was handed over by its number, to be told once.
#[derive(Debug)]
pub(crate) struct ReadyFd(File);

impl ReadyFd {
    /// Takes the descriptor over. Do it before any other is opened: that one might get the same number.
    pub(crate) fn take(number: RawFd) -> Result<Self, Failure> {
        let refused = |error: io::Error| {
            Failure::mistake(format_args!(
                "cannot write to descriptor {number}: {error}; give --ready-fd the number of an open pipe or file"
            ))
        };
        let own = OpenOptions::new().append(true).open(format!("/proc/self/fd/{number}")).map_err(refused)?;
        nix::unistd::close(number).map_err(|errno| refused(errno.into()))?;
        Ok(Self(own))
    }

    fn tell(mut self) {
        if let Err(error) = self.0.write_all(b"ready\n") {
            warn!(%error, "nobody reads what --ready-fd says");
        }
    }
}

/// Says that packets flow, everywhere but on stdout.
pub(crate) fn announce(ready_fd: Option<ReadyFd>) {
    if let Some(ready_fd) = ready_fd {
        ready_fd.tell();
    }
    if let Err(error) = notify("READY=1") {
        warn!(%error, "cannot tell the service manager that packets flow");
    }
}

/// Says the same on stdout.
pub(crate) fn print_ready() -> Result<(), Failure> {
    output::print("ready\n")
}

/// Says to a service manager that the file is being read again; [`announce`] says when that is over.
pub(crate) fn announce_reload() {
    let now = clock_gettime(ClockId::Monotonic);
    let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
    if let Err(error) = notify(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}")) {
        warn!(%error, "cannot tell the service manager that the file is read again");
    }
}

/// As `sd_notify` does it; nothing to do where no service manager asks for it.
fn notify(state: &str) -> io::Result<()> {
    let Some(name) = env::var_os(NOTIFY_SOCKET) else { return Ok(()) };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}
