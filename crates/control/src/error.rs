//! What can go wrong on either side of the socket, each with what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::Refusal;

/// An instance could not have its socket.
#[derive(Debug, Error)]
pub enum ClaimError {
    /// The directory of sockets cannot be made or used.
    #[error("cannot use {} for the control socket: {cause}; run with sudo, or choose another place with --socket", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        cause: io::Error,
    },

    /// The instance runs.
    #[error(
        "instance {instance} is already running{}; stop that one first, or give this one another `run.name` or --socket",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Running {
        /// The instance.
        instance: String,
        /// Its process, where that is known.
        pid: Option<u32>,
    },

    /// Something else is at the socket's place.
    #[error("{} is there already and is not a socket that sidegate left behind; choose another --socket", path.display())]
    Occupied {
        /// The socket's place.
        path: PathBuf,
    },

    /// A path is too long for a socket, or another thing that the kernel does not like about it.
    #[error("cannot make the control socket {}: {cause}; choose another place with --socket (107 bytes at most)", path.display())]
    Socket {
        /// The socket's place.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },

    /// The server's threads cannot be started.
    #[error("cannot start a thread for the control socket: {0}; the process may be at its thread limit")]
    Thread(io::Error),
}

/// An instance could not be asked.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nobody answers there.
    #[error("no sidegate answers at {}; start it with `sidegate run --config FILE`, or say with --socket where it answers", socket.display())]
    NotRunning {
        /// The socket.
        socket: PathBuf,
    },

    /// The socket is somebody else's.
    #[error("asking at {} is not permitted; run as the user that runs sidegate, most likely with sudo", socket.display())]
    NotPermitted {
        /// The socket.
        socket: PathBuf,
    },

    /// It did not answer, or not in time.
    #[error("no answer from {}: {cause}; look at the log of that sidegate", socket.display())]
    NoAnswer {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        cause: io::Error,
    },

    /// Its answer makes no sense.
    #[error("cannot understand the answer of {}: {cause}; is that a sidegate of another version?", socket.display())]
    Answer {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with the answer.
        cause: serde_json::Error,
    },

    /// It refused, and says why.
    #[error(transparent)]
    Refused(#[from] Refusal),
}
