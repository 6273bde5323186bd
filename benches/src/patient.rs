//! Connections whose calls wait as long as a step of a connection may take, and no longer than whoever has started the benchmark wants to
//! wait.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::net::connect;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::process::Interrupt;

/// How long a single step of a connection may take. More than one retransmission of a SYN, so that a lost one costs
/// time and not the run.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// How often whoever waits asks whether to wait on.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A connection.
pub struct Patient<'a> {
    stream: TcpStream,
    interrupt: &'a Interrupt,
}

impl<'a> Patient<'a> {
    /// One that is there already.
    pub fn new(stream: TcpStream, interrupt: &'a Interrupt) -> io::Result<Self> {
        be_brief(&stream)?;
        Ok(Self { stream, interrupt })
    }

    /// Connects this socket.
    pub fn connect(socket: OwnedFd, door: SocketAddr, interrupt: &'a Interrupt) -> io::Result<Self> {
        be_brief(&socket)?;
        patiently(interrupt, || match connect(&socket, &door) {
            // It goes on meanwhile: whoever asks again waits on.
            Err(Errno::INPROGRESS | Errno::ALREADY) => Err(ErrorKind::WouldBlock.into()),
            connected => Ok(connected?),
        })?;
        Ok(Self { stream: TcpStream::from(socket), interrupt })
    }

    /// Says that nothing more will come, and waits for the other end to close when it has heard all.
    pub fn finish(self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let said = (&self).read(&mut [0]).context("waiting for the other end to close")?;
        ensure!(said == 0, "the other end says something");
        Ok(())
    }

    /// The socket, for who waits otherwise.
    pub fn into_inner(self) -> TcpStream {
        self.stream
    }
}

impl Read for &Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        patiently(self.interrupt, || (&self.stream).read(buffer))
    }
}

impl Write for &Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        patiently(self.interrupt, || (&self.stream).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        (&self.stream).flush()
    }
}

impl AsFd for Patient<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Has the socket's calls return when they have waited for a while, for [`patiently`] to call again.
pub(crate) fn be_brief(socket: impl AsFd) -> io::Result<()> {
    for which in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, which, Some(LOOK_AGAIN))?;
    }
    Ok(())
}

/// Calls until nothing is to be waited for any more. Fails once the wish to stop has come, and when patience is at its end.
pub(crate) fn patiently<T>(interrupt: &Interrupt, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut waiting_since = None;
    loop {
        interrupt.check().map_err(io::Error::other)?;
        match call() {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            done => return done,
        }
        if waiting_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return Err(io::Error::new(ErrorKind::TimedOut, format!("nothing happens for {PATIENCE:?}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use rustix::net::{AddressFamily, SocketType, listen, socket};

    use super::*;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let door = listener.local_addr().unwrap();
        (listener, door)
    }

    fn call(door: SocketAddr, interrupt: &Interrupt) -> io::Result<Patient<'_>> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        Patient::connect(socket, door, interrupt)
    }

    #[test]
    fn a_wait_goes_on_past_the_moments_at_which_it_is_looked_at() {
        let interrupt = Interrupt::of_nobody().unwrap();
        let mut waits = 3;
        let done = patiently(&interrupt, || {
            waits -= 1;
            if waits > 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(waits) }
        });
        assert_eq!(done.unwrap(), 0);
        let refused = patiently(&interrupt, || Err::<(), _>(ErrorKind::ConnectionRefused.into()));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn what_is_said_is_heard_whole() {
        let interrupt = Interrupt::of_nobody().unwrap();
        let (listener, door) = listener();
        let client = call(door, &interrupt).unwrap();
        let target = Patient::new(listener.accept().unwrap().0, &interrupt).unwrap();
        (&client).write_all(b"whole").unwrap();
        thread::scope(|scope| {
            let finishing = scope.spawn(|| client.finish());
            let mut said = Vec::new();
            (&target).read_to_end(&mut said).unwrap();
            assert_eq!(said, b"whole");
            assert!(!finishing.is_finished(), "it waits for the other end");
            drop(target);
            finishing.join().unwrap().unwrap();
        });
    }

    #[test]
    fn the_wish_to_stop_ends_a_wait() {
        let interrupt = Interrupt::of_nobody().unwrap();
        let (listener, door) = listener();
        // Room for one that has not been taken in: what comes after it is not answered.
        listen(&listener, 0).unwrap();
        let client = call(door, &interrupt).unwrap();
        thread::scope(|scope| {
            let hearing = scope.spawn(|| (&client).read(&mut [0]).unwrap_err().to_string());
            let calling = scope.spawn(|| call(door, &interrupt).err().unwrap().to_string());
            interrupt.come();
            assert_eq!(hearing.join().unwrap(), "interrupted");
            assert_eq!(calling.join().unwrap(), "interrupted");
        });
    }
}
