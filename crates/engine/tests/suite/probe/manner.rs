//! How a target behaves once somebody has connected to it.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};
use stack::{Connection, State};

/// A certificate for `target.test` that nobody has vouched for, and its key.
const CERTIFICATE: &[u8] = include_bytes!("certificate.der");
const KEY: &[u8] = include_bytes!("key.der");

/// What a target does. As it stands, it accepts, says nothing, and closes when we do.
#[derive(Clone, Default)]
pub(super) struct Manner {
    /// It answers a SYN with a RST.
    pub(super) refuses: bool,
    /// How long it takes to answer a SYN.
    pub(super) accepts_after: Duration,
    /// What it is to be told first. Without that it says nothing.
    pub(super) expects: &'static [u8],
    /// What it says before it is spoken to.
    pub(super) banner: Vec<u8>,
    /// What it says to a request.
    pub(super) reply: Vec<u8>,
    /// In pieces of so many bytes, if any, and so long apart.
    pub(super) piece: Option<usize>,
    pub(super) pause: Duration,
    /// It closes when it has said all.
    pub(super) closes_first: bool,
    /// It never closes.
    pub(super) clings: bool,
    /// It ends TLS when it is asked, and goes on in the clear.
    pub(super) ends_tls: bool,
    /// The byte at this place of what it sends over TLS is another one.
    pub(super) damages: Option<(usize, u8)>,
    pub(super) tls: Option<Arc<ServerConfig>>,
}

impl Manner {
    /// It accepts.
    pub(super) fn open() -> Self {
        Self::default()
    }

    /// It answers requests with this, and closes.
    pub(super) fn replying(reply: impl Into<Vec<u8>>) -> Self {
        Self { reply: reply.into(), closes_first: true, ..Self::default() }
    }

    /// The same over TLS.
    pub(super) fn over_tls(self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap().with_no_client_auth();
        let certificate = vec![CertificateDer::from(CERTIFICATE)];
        let config = builder.with_single_cert(certificate, PrivateKeyDer::try_from(KEY).unwrap()).unwrap();
        Self { tls: Some(Arc::new(config)), ..self }
    }
}

/// A target's side of one connection.
pub(super) struct Talk {
    pub(super) connection: Connection,
    pub(super) manner: Manner,
    /// What it was told first, as long as what it expects, and what it was asked then.
    pub(super) first: Vec<u8>,
    pub(super) asked: Vec<u8>,
    pub(super) session: Option<ServerConnection>,
    accepts_at: Duration,
    /// When it speaks next, and how much of its reply it has said.
    next: Duration,
    said: usize,
    /// How many bytes of TLS it has sent.
    written: usize,
    /// What waits to be sent.
    unsent: Vec<u8>,
}

impl Talk {
    pub(super) fn begin(connection: Connection, manner: &Manner, now: Duration) -> Self {
        let session = manner.tls.as_ref().map(|config| ServerConnection::new(Arc::clone(config)).unwrap());
        Self {
            connection,
            first: Vec::new(),
            asked: Vec::new(),
            session,
            accepts_at: now + manner.accepts_after,
            next: now,
            said: 0,
            written: 0,
            unsent: manner.banner.clone(),
            manner: manner.clone(),
        }
    }

    /// Does what it does at this time.
    pub(super) fn speak(&mut self, now: Duration) {
        if now >= self.accepts_at {
            self.connection.ready();
        }
        if matches!(self.connection.state(), State::Opening | State::Failed(_)) {
            return;
        }
        self.hear();
        let is_asked = self.first == self.manner.expects && self.asked.ends_with(b"\r\n\r\n");
        if is_asked && now >= self.next {
            self.reply();
            self.next = now + self.manner.pause;
        }
        self.write();
        let sent = self.connection.send(&self.unsent);
        self.unsent.drain(..sent);
        let has_said_all =
            !self.asked.is_empty() && self.said == self.manner.reply.len() && self.unsent.is_empty();
        let closes = self.manner.closes_first && has_said_all || self.connection.state() == State::HalfClosed;
        if closes && !self.manner.clings {
            self.connection.close();
        }
    }

    fn hear(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            let len = self.connection.receive(&mut buffer);
            let mut heard = &buffer[..len];
            if heard.is_empty() {
                return;
            }
            let expected = heard.split_off(..heard.len().min(self.manner.expects.len() - self.first.len()));
            self.first.extend_from_slice(expected.unwrap_or_default());
            let Some(session) = &mut self.session else {
                self.asked.extend_from_slice(heard);
                continue;
            };
            // What it hears may be a complaint about what it has said.
            while !heard.is_empty() && session.read_tls(&mut heard).is_ok() {
                let _ = session.process_new_packets();
            }
            let _ = session.reader().read_to_end(&mut self.asked);
        }
    }

    fn write(&mut self) {
        let Some(session) = &mut self.session else { return };
        let begin = self.unsent.len();
        while session.wants_write() {
            session.write_tls(&mut self.unsent).unwrap();
        }
        let written = &mut self.unsent[begin..];
        if let Some((at, value)) = self.manner.damages
            && let Some(byte) = at.checked_sub(self.written).and_then(|at| written.get_mut(at))
        {
            *byte ^= value;
        }
        self.written += written.len();
    }

    fn reply(&mut self) {
        let rest = &self.manner.reply[self.said..];
        let piece = &rest[..rest.len().min(self.manner.piece.unwrap_or(usize::MAX))];
        self.said += piece.len();
        match &mut self.session {
            Some(session) if self.manner.ends_tls => {
                session.send_close_notify();
                self.write();
                self.session = None;
            }
            Some(session) => session.writer().write_all(piece).unwrap(),
            None => self.unsent.extend_from_slice(piece),
        }
    }
}
