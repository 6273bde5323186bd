//! Where instances have their sockets.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Where sockets are, unless the operator says otherwise.
pub const DIRECTORY: &str = "/run/sidegate";

/// What a socket's name ends in.
const EXTENSION: &str = "sock";

/// The socket of the instance with this name.
pub fn socket_of(instance: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{instance}.{EXTENSION}"))
}

/// An instance that runs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Its socket.
    pub socket: PathBuf,
}

/// The instances in `directory` that run, by name. A directory that is not there has none.
pub fn running(directory: &Path) -> io::Result<Vec<Instance>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut instances = Vec::new();
    for entry in entries {
        let socket = entry?.path();
        if let Some(name) = instance_of(&socket)
            && answers(&socket)
        {
            instances.push(Instance { name, socket });
        }
    }
    instances.sort();
    Ok(instances)
}

fn instance_of(socket: &Path) -> Option<String> {
    let is_socket = socket.extension().is_some_and(|extension| extension == EXTENSION);
    is_socket.then(|| Some(socket.file_stem()?.to_str()?.to_owned()))?
}

/// Whether somebody answers there. One that may not be asked is there, too.
fn answers(socket: &Path) -> bool {
    match UnixStream::connect(socket) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
    }
}
