//! The claim to an instance's name: a lock file beside its socket.
//!
//! The lock is the kernel's, so it ends with the process however that ends, and two processes that start at the same
//! moment cannot both get it. Whatever socket is found by the holder of the lock is a dead one's, and is removed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use tracing::warn;

use crate::ClaimError;

/// The sole right to run an instance. Dropping it gives the right back.
#[derive(Debug)]
pub struct Claim {
    socket: PathBuf,
    lock: PathBuf,
    /// Holds the lock for as long as it is open.
    _locked: File,
}

impl Claim {
    /// Claims `instance`, whose socket is to be at `socket`.
    pub fn take(instance: &str, socket: &Path) -> Result<Self, ClaimError> {
        let directory = match socket.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let unusable = |cause| ClaimError::Directory { directory: directory.into(), cause };
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(unusable)?;

        let lock = beside(socket);
        let mut locked = match lock_file(&lock).map_err(unusable)? {
            Locked::Ours(file) => file,
            Locked::Theirs { pid } => return Err(ClaimError::Running { instance: instance.into(), pid }),
        };
        locked.set_len(0).map_err(unusable)?;
        writeln!(locked, "{}", process::id()).map_err(unusable)?;
        // From here on dropping the claim removes the lock file.
        let claim = Self { socket: socket.into(), lock, _locked: locked };
        claim.clear_the_way()?;
        Ok(claim)
    }

    /// Where the socket is to be.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Removes what a dead process left at the socket's place.
    fn clear_the_way(&self) -> Result<(), ClaimError> {
        let occupied = || ClaimError::Occupied { path: self.socket.clone() };
        match fs::symlink_metadata(&self.socket) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Ok(found) if found.file_type().is_socket() => {}
            _ => return Err(occupied()),
        }
        match UnixStream::connect(&self.socket) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(&self.socket)
                .map_err(|cause| ClaimError::Socket { path: self.socket.clone(), cause }),
            // Somebody answers who does not hold the lock: no sidegate.
            _ => Err(occupied()),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The lock file goes first and while it is locked: whoever opened it sees that it is no longer the one in
        // the directory, and starts over.
        if let Err(error) = fs::remove_file(&self.lock) {
            warn!(file = %self.lock.display(), %error, "cannot remove the lock file");
        }
    }
}

enum Locked {
    Ours(File),
    Theirs { pid: Option<u32> },
}

/// Opens and locks the file in the directory at this moment, not one that its last holder is about to remove.
fn lock_file(path: &Path) -> io::Result<Locked> {
    loop {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(&file, path)? => return Ok(Locked::Ours(file)),
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid)?;
                return Ok(Locked::Theirs { pid: pid.trim().parse().ok() });
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// `orders.sock` is locked by `orders.lock`, and a socket of any other name by itself and `.lock`.
fn beside(socket: &Path) -> PathBuf {
    match socket.extension() {
        Some(extension) if extension == "sock" => socket.with_extension("lock"),
        _ => {
            let mut name = socket.as_os_str().to_owned();
            name.push(".lock");
            name.into()
        }
    }
}
