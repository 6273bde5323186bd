//! A keep-alive connection with at most one request on it, and what the benchmarks' HTTP server answers.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::generator::Request;
use crate::connections::way::Way;
use crate::process::Interrupt;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
const HEAD: &[u8] = b"HTTP/1.1 200 ";
const BODY: &[u8] = b"\r\n\r\nthrough\n";
/// What an answer may take at most.
const ROOM: usize = 1024;

/// A connection.
pub(super) struct Connection {
    stream: TcpStream,
    asked: Option<Request>,
    heard: Vec<u8>,
}

impl Connection {
    /// A free one.
    pub(super) fn connect(
        way: Way,
        registry: &Registry,
        token: Token,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let stream = way.connect(interrupt)?.into_inner();
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Self { stream, asked: None, heard: Vec::with_capacity(ROOM) })
    }

    /// Sends a request. It fits: nothing else is on its way.
    pub(super) fn ask(&mut self, request: Request) -> Result<()> {
        let written = self.stream.write(REQUEST).context("sending a request")?;
        ensure!(written == REQUEST.len(), "only {written} bytes of a request could be sent");
        self.asked = Some(request);
        Ok(())
    }

    /// Takes in what has come: the request that it completes the answer to, if it does.
    pub(super) fn hear(&mut self) -> Result<Option<Request>> {
        let mut buffer = [0; ROOM];
        // Less than fits is all that there is: what comes later makes an event of its own.
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("a connection was closed that was to be kept"),
            Ok(len) => self.heard.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("reading an answer"),
        }
        if !is_whole(&self.heard)? {
            return Ok(None);
        }
        self.heard.clear();
        let request = self.asked.take().context("an answer to nothing")?;
        Ok(Some(request))
    }
}

/// Whether this is an answer, all of it; an error if it cannot become one.
fn is_whole(heard: &[u8]) -> Result<bool> {
    let is_head = heard.iter().zip(HEAD).all(|(heard, wanted)| heard == wanted);
    ensure!(is_head && heard.len() < ROOM, "the HTTP server answered {:?}", String::from_utf8_lossy(heard));
    Ok(heard.len() > HEAD.len() && heard.ends_with(BODY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nthrough\n";

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        for len in 0..ANSWER.len() {
            assert!(!is_whole(&ANSWER[..len]).unwrap(), "{len} bytes of it");
        }
        assert!(is_whole(ANSWER).unwrap());
    }

    #[test]
    fn whatever_else_is_said_is_an_error() {
        assert!(is_whole(b"HTTP/1.1 502 Bad Gateway\r\n").unwrap_err().to_string().contains("502"));
        assert!(is_whole(b"x").is_err());
        assert!(is_whole(&[ANSWER, &[b' '; ROOM]].concat()).is_err());
    }
}
