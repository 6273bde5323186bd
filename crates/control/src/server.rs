//! The answering side: a few threads that share one listening socket.
//!
//! Each thread serves one connection at a time, so there are never more of them than threads; further ones wait in the
//! socket's backlog. Whoever says nothing for a while is hung up on. An event descriptor wakes all threads to end.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{debug, warn};

use crate::protocol::{Answer, MAX_REQUEST, line};
use crate::{Claim, ClaimError, Refusal};

/// Connections at once.
const CONNECTIONS: usize = 4;
/// Connections that wait beyond those.
const BACKLOG: i32 = 16;
/// How long a client may keep a connection waiting.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to leave connections in the backlog when none can be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers on an instance's socket, until dropped: then its threads have ended and the socket is gone.
pub struct Server {
    stop: Arc<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
    claim: Claim,
}

impl Server {
    /// Starts to answer with what `handler` makes of each request.
    pub fn start<R, T, H>(claim: Claim, handler: H) -> Result<Self, ClaimError>
    where
        R: DeserializeOwned,
        T: Serialize,
        H: Fn(R) -> Result<T, Refusal> + Send + Sync + 'static,
    {
        let refused = |cause| ClaimError::Socket { path: claim.socket().into(), cause };
        // The listener comes last, since it leaves something behind: the socket's file.
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| refused(errno.into()))?);
        let listener = Arc::new(private_listener(claim.socket()).map_err(refused)?);
        let handler = Arc::new(handler);
        // From here on dropping the server undoes all of it.
        let mut server = Self { stop, threads: Vec::with_capacity(CONNECTIONS), claim };
        for _ in 0..CONNECTIONS {
            let (listener, stop, handler) = (listener.clone(), server.stop.clone(), handler.clone());
            let work = move || accept(&listener, &stop, &*handler);
            let thread =
                thread::Builder::new().name("control".into()).spawn(work).map_err(ClaimError::Thread)?;
            server.threads.push(thread);
        }
        Ok(server)
    }

    /// Where it answers.
    pub fn socket(&self) -> &Path {
        self.claim.socket()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody reads the event, so it stays readable for every thread.
        if let Err(error) = rustix::io::write(&*self.stop, &1u64.to_ne_bytes()) {
            warn!(%error, "cannot wake the control socket's threads");
            return;
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                warn!("a thread of the control socket has panicked");
            }
        }
        if let Err(error) = fs::remove_file(self.claim.socket()) {
            warn!(socket = %self.claim.socket().display(), %error, "cannot remove the control socket");
        }
    }
}

/// Listens at `path`. The mode is set before the socket has a name: at no moment may others connect.
fn private_listener(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// What each thread does: one connection after the other.
fn accept<R, T>(listener: &UnixListener, stop: &OwnedFd, handler: &impl Fn(R) -> Result<T, Refusal>)
where
    R: DeserializeOwned,
    T: Serialize,
{
    while readable(listener, stop, None) {
        match listener.accept() {
            Ok((stream, _)) => {
                // A client that breaks off harms nobody but itself.
                let _ = serve(stream, stop, handler);
            }
            // All threads are woken for each connection, and one gets it.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Without a free descriptor the connection stays where it is, and would wake us again at once.
            Err(error) => {
                debug!(%error, "cannot accept a connection to the control socket");
                pause(stop);
            }
        }
    }
}

/// Waits a little, unless it is time to stop.
fn pause(stop: &OwnedFd) {
    // Whatever cuts it short, the next attempt finds out.
    let _ = poll(&mut [PollFd::new(stop, PollFlags::IN)], Timespec::try_from(PAUSE).ok().as_ref());
}

/// Answers requests until the client hangs up or tries the server's patience.
fn serve<R, T>(
    mut stream: UnixStream,
    stop: &OwnedFd,
    handler: &impl Fn(R) -> Result<T, Refusal>,
) -> io::Result<()>
where
    R: DeserializeOwned,
    T: Serialize,
{
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut pending = Vec::with_capacity(MAX_REQUEST);
    while let Some(request) = next_line(&mut stream, &mut pending, stop)? {
        let answer = serde_json::from_slice(&request).map_err(not_understood).and_then(handler);
        stream.write_all(&line(&Answer::from(answer))?)?;
    }
    Ok(())
}

fn not_understood(error: serde_json::Error) -> Refusal {
    Refusal::Error(format!(
        "the running sidegate cannot understand the request: {error}; is that a sidegate of another version?"
    ))
}

/// The next request, or `None` when no more are to be answered. `pending` keeps what has arrived after it.
fn next_line(stream: &mut UnixStream, pending: &mut Vec<u8>, stop: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            return Ok(Some(pending.drain(..=end).collect()));
        }
        let room = MAX_REQUEST - pending.len();
        if room == 0 {
            let too_long = format!("a request has {MAX_REQUEST} bytes at most");
            stream.write_all(&line(&Answer::<()>::Error(too_long))?)?;
            return Ok(None);
        }
        if !readable(&*stream, stop, Some(PATIENCE)) {
            return Ok(None);
        }
        let mut chunk = [0; MAX_REQUEST];
        let length = stream.read(&mut chunk[..room])?;
        if length == 0 {
            return Ok(None);
        }
        pending.extend_from_slice(&chunk[..length]);
    }
}

/// Waits until there is something to read; `false` when it is time to stop, or nothing came in time.
fn readable(what: impl AsFd, stop: &OwnedFd, patience: Option<Duration>) -> bool {
    let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
    loop {
        let mut waiting = [PollFd::new(&what, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) => return waiting[1].revents().is_empty() && !waiting[0].revents().is_empty(),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
