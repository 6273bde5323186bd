//! The asking side.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::AskError;
use crate::protocol::{Answer, MAX_ANSWER, line};

/// Asks the instance whose socket this is, and waits for so long.
pub fn ask<T: DeserializeOwned>(
    socket: &Path,
    request: &impl Serialize,
    patience: Duration,
) -> Result<T, AskError> {
    let stream = UnixStream::connect(socket).map_err(|cause| match cause.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => AskError::NotRunning { socket: socket.into() },
        ErrorKind::PermissionDenied => AskError::NotPermitted { socket: socket.into() },
        _ => AskError::NoAnswer { socket: socket.into(), cause },
    })?;
    let answer = converse(stream, request, patience)
        .map_err(|cause| AskError::NoAnswer { socket: socket.into(), cause })?;
    let answer: Answer<T> =
        serde_json::from_slice(&answer).map_err(|cause| AskError::Answer { socket: socket.into(), cause })?;
    Ok(Result::from(answer)?)
}

/// Sends the request; reads one line.
fn converse(mut stream: UnixStream, request: &impl Serialize, patience: Duration) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(&line(request)?)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_until(b'\n', &mut answer)?;
    if answer.ends_with(b"\n") { Ok(answer) } else { Err(ErrorKind::UnexpectedEof.into()) }
}
