//! The asking side.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::protocol::{Answer, MAX_ANSWER, line};
use crate::{AskError, Request};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the instance whose socket this is.
pub fn ask<T: DeserializeOwned>(socket: &Path, request: Request) -> Result<T, AskError> {
    let stream = UnixStream::connect(socket).map_err(|cause| match cause.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => AskError::NotRunning { socket: socket.into() },
        ErrorKind::PermissionDenied => AskError::NotPermitted { socket: socket.into() },
        _ => AskError::NoAnswer { socket: socket.into(), cause },
    })?;
    let answer =
        converse(stream, request).map_err(|cause| AskError::NoAnswer { socket: socket.into(), cause })?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Ok(answer)) => Ok(answer),
        Ok(Answer::Error(reason)) => Err(AskError::Refused { socket: socket.into(), reason }),
        Err(cause) => Err(AskError::Answer { socket: socket.into(), cause }),
    }
}

/// Sends the request; reads one line.
fn converse(mut stream: UnixStream, request: Request) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&line(&request)?)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_until(b'\n', &mut answer)?;
    if answer.ends_with(b"\n") { Ok(answer) } else { Err(ErrorKind::UnexpectedEof.into()) }
}
