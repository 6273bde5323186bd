//! An HTTP check's conversation: the request, in the clear or over TLS, and the answer to it.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection};
use stack::{Connection, State};
use topology::CheckProtocol;

use super::checks::Check;
use super::head::Head;
use super::tls;
use crate::verdict::Reason;

/// The most bytes that are taken from a target before its answer is known; certificates are most of it.
const MOST_HEARD: usize = 128 << 10;

/// A page that is asked for.
pub(super) struct Page {
    tls: Option<Box<ClientConnection>>,
    /// What is to be sent, as it goes over the connection.
    unsent: Vec<u8>,
    head: Head,
    answer: Option<Answer>,
    /// How many bytes more may come.
    room: usize,
}

/// What has come of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// HTTP, with this status.
    Status(u16),
    /// Not HTTP, or with too long a head; or nothing to the end.
    Garbage,
}

/// What came is no TLS, or too much.
struct Broken;

impl Page {
    /// The page that a check asks for, if it asks for one. What is to be asked over TLS is never asked without.
    pub(super) fn of(check: &Check, config: Option<&Arc<ClientConfig>>) -> Result<Option<Self>, Reason> {
        let session = || tls::session(config?, &check.host, check.to.ip()).map(Box::new);
        let (http, tls) = match &check.how.protocol {
            CheckProtocol::Tcp => return Ok(None),
            CheckProtocol::Http(http) => (http, None),
            CheckProtocol::Https(http) => (http, Some(session().ok_or(Reason::TlsUnavailable)?)),
        };
        let mut page = Self { tls, unsent: Vec::new(), head: Head::new(), answer: None, room: MOST_HEARD };
        page.say(&request(&http.path, &check.host));
        Ok(Some(page))
    }

    /// Moves it on, over an open connection: says what there is to say, and hears what has come. Tells what the answer is, once
    /// that is known.
    pub(super) fn advance(&mut self, connection: &mut Connection) -> Option<Answer> {
        if self.exchange(connection).is_err() {
            self.answer.get_or_insert(Answer::Garbage);
        }
        let has_ended = connection.state() != State::Open;
        self.answer.or(has_ended.then_some(Answer::Garbage))
    }

    /// Says that nothing more is wanted.
    pub(super) fn take_leave(&mut self, connection: &mut Connection) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.send(connection);
    }

    fn exchange(&mut self, connection: &mut Connection) -> Result<(), Broken> {
        self.send(connection);
        // What has come may lie in two pieces, and be answered.
        while self.answer.is_none() {
            let mut heard = Ok(());
            let taken = connection.receive_with(|bytes| match self.hear(bytes) {
                Ok(taken) => taken,
                Err(broken) => {
                    heard = Err(broken);
                    bytes.len()
                }
            });
            self.send(connection);
            heard?;
            if taken == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Hears some bytes off the connection, and says how many.
    fn hear(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        self.room = self.room.checked_sub(bytes.len()).ok_or(Broken)?;
        let Some(tls) = &mut self.tls else {
            self.answer = self.head.hear(bytes);
            return Ok(bytes.len());
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            // After the end of the session it takes nothing more.
            tls.read_tls(&mut rest).ok().filter(|taken| *taken > 0).ok_or(Broken)?;
            let processed = tls.process_new_packets();
            let mut buffer = [0; 4096];
            while self.answer.is_none()
                && let Ok(length @ 1..) = tls.reader().read(&mut buffer)
            {
                self.answer = self.head.hear(&buffer[..length]);
            }
            processed.map_err(|_| Broken)?;
        }
        Ok(bytes.len())
    }

    /// Puts some bytes behind what is to be sent.
    fn say(&mut self, bytes: &[u8]) {
        let said = match &mut self.tls {
            // It keeps them until the handshake is done.
            Some(tls) => tls.writer().write_all(bytes),
            None => self.unsent.write_all(bytes),
        };
        // Neither refuses what is as short as a request.
        drop(said);
    }

    /// Sends what can be sent.
    fn send(&mut self, connection: &mut Connection) {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() && tls.write_tls(&mut self.unsent).is_ok() {}
        }
        let sent = connection.send(&self.unsent);
        self.unsent.drain(..sent);
    }
}

/// The request, as the real load balancer words it.
fn request(path: &str, host: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ELB-HealthChecker/2.0\r\nConnection: close\r\n\r\n")
        .into_bytes()
}
