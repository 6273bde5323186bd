//! The targets of new connections: each greets whoever comes. It has a thread of its own and any number of connections in
//! progress, so that nobody waits for the header or the end of somebody else's.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Token, Waker};

use super::{Closer, GREETING};
use crate::patient::PATIENCE;
use crate::process::Interrupt;
use crate::watch::Watch;

/// How many events are looked at in one go.
const EVENTS: usize = 256;
/// That there is somebody to greet.
const ARRIVAL: Token = Token(usize::MAX - 1);
/// That nobody else will come.
const STOP: Token = Token(usize::MAX - 2);

/// A target of new connections.
pub struct Greeter<'a> {
    watch: Watch<'a>,
    listener: TcpListener,
    closer: Closer,
    header: usize,
    /// Who has come and could not go at once, by the number under which they came.
    guests: HashMap<usize, Guest>,
    arrivals: usize,
}

impl<'a> Greeter<'a> {
    /// Listens in the calling thread's namespace, where connections begin with a header of so many bytes; wake the other one
    /// when nobody else will come.
    pub fn listen(
        address: SocketAddr,
        closer: Closer,
        header: usize,
        interrupt: &'a Interrupt,
    ) -> Result<(Self, Waker)> {
        let watch = Watch::new(interrupt)?;
        let mut listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
        watch.registry().register(&mut listener, ARRIVAL, Interest::READABLE)?;
        let stop = Waker::new(watch.registry(), STOP)?;
        let guests = HashMap::new();
        Ok((Self { watch, listener, closer, header, guests, arrivals: 0 }, stop))
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Greets until it is told to stop and the last guest has gone. One connection that goes wrong is an error.
    pub fn greet_everyone(mut self) -> Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut stopped = false;
        while !(stopped && self.guests.is_empty()) {
            await_events(&mut self.watch, &mut events, stopped.then_some(PATIENCE))
                .with_context(|| format!("{} clients in progress", self.guests.len()))?;
            for event in &events {
                match event.token() {
                    ARRIVAL => self.welcome()?,
                    STOP => stopped = true,
                    Token(number) => self.attend(number)?,
                }
            }
        }
        Ok(())
    }

    /// Takes in all who wait outside.
    fn welcome(&mut self) -> Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accepting"),
            };
            let mut guest = Guest { stream, awaited: Awaited::Header(self.header) };
            if !guest.is_done(self.closer)? {
                self.watch.registry().register(
                    &mut guest.stream,
                    Token(self.arrivals),
                    Interest::READABLE,
                )?;
                self.guests.insert(self.arrivals, guest);
                self.arrivals += 1;
            }
        }
    }

    fn attend(&mut self, number: usize) -> Result<()> {
        if let Some(guest) = self.guests.get_mut(&number)
            && guest.is_done(self.closer)?
        {
            self.guests.remove(&number);
        }
        Ok(())
    }
}

/// Waits until something happens; that nothing does for as long as `patience` is an error.
fn await_events(watch: &mut Watch<'_>, events: &mut Events, patience: Option<Duration>) -> Result<()> {
    watch.wait(events, patience)?;
    match patience {
        Some(patience) if events.is_empty() => bail!("nothing happens for {patience:?}"),
        _ => Ok(()),
    }
}

/// One connection. Dropping it closes it.
struct Guest {
    stream: TcpStream,
    awaited: Awaited,
}

/// What has to come next.
enum Awaited {
    /// So many bytes more, before the greeting.
    Header(usize),
    /// The client's FIN.
    End,
}

impl Guest {
    /// Goes on as far as it can, and says whether there is nothing more to do than to close.
    fn is_done(&mut self, closer: Closer) -> Result<bool> {
        loop {
            match self.awaited {
                Awaited::Header(0) => {
                    self.stream.write_all(GREETING).context("greeting")?;
                    match closer {
                        Closer::Target => return Ok(true),
                        Closer::Client => self.awaited = Awaited::End,
                    }
                }
                Awaited::Header(missing) => match self.read(missing)? {
                    Some(0) => bail!("the header ends {missing} bytes early"),
                    Some(len) => self.awaited = Awaited::Header(missing - len),
                    None => return Ok(false),
                },
                Awaited::End => match self.read(1)? {
                    Some(0) => return Ok(true),
                    Some(_) => bail!("the client says something"),
                    None => return Ok(false),
                },
            }
        }
    }

    /// How many bytes have come, of at most so many; none means that nothing has come yet.
    fn read(&mut self, at_most: usize) -> Result<Option<usize>> {
        let mut buffer = [0; 64];
        let at_most = at_most.min(buffer.len());
        match self.stream.read(&mut buffer[..at_most]) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("waiting for the client"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{self, Ipv4Addr};
    use std::thread;

    use super::*;

    /// What comes of a greeter whose one client does this.
    fn greeted(closer: Closer, header: usize, client: impl FnOnce(net::TcpStream, &Waker)) -> Result<()> {
        let interrupt = Interrupt::of_nobody()?;
        let (greeter, stop) = Greeter::listen((Ipv4Addr::LOCALHOST, 0).into(), closer, header, &interrupt)?;
        let door = greeter.address()?;
        thread::scope(|scope| {
            let greeting = scope.spawn(|| greeter.greet_everyone());
            client(net::TcpStream::connect(door)?, &stop);
            stop.wake()?;
            greeting.join().unwrap()
        })
    }

    fn hear(mut stream: &net::TcpStream) {
        let mut said = [0; GREETING.len()];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(said, GREETING);
    }

    #[test]
    fn the_target_closes_when_it_has_greeted() {
        let heard = |mut stream: net::TcpStream, _: &Waker| {
            let mut said = Vec::new();
            stream.read_to_end(&mut said).unwrap();
            assert_eq!(said, GREETING);
        };
        greeted(Closer::Target, 0, heard).unwrap();
    }

    #[test]
    fn the_target_waits_for_the_client_to_close_even_when_it_is_stopped() {
        let stay = |stream: net::TcpStream, stop: &Waker| {
            hear(&stream);
            stop.wake().unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            assert_eq!(stream.peek(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        };
        greeted(Closer::Client, 0, stay).unwrap();
    }

    #[test]
    fn the_header_comes_first_in_whatever_pieces() {
        let pieces = |mut stream: net::TcpStream, _: &Waker| {
            stream.set_nodelay(true).unwrap();
            stream.write_all(b"he").unwrap();
            stream.write_all(b"ade").unwrap();
            hear(&stream);
        };
        greeted(Closer::Client, 5, pieces).unwrap();
        let too_little = |mut stream: net::TcpStream, _: &Waker| {
            stream.write_all(b"head").unwrap();
            stream.shutdown(net::Shutdown::Write).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        };
        let error = greeted(Closer::Client, 5, too_little).unwrap_err();
        assert_eq!(error.to_string(), "the header ends 1 bytes early");
    }

    #[test]
    fn a_client_that_speaks_spoils_it() {
        let speak = |mut stream: net::TcpStream, _: &Waker| {
            hear(&stream);
            stream.write_all(b"?").unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        };
        let error = greeted(Closer::Client, 0, speak).unwrap_err();
        assert_eq!(error.to_string(), "the client says something");
    }
}
