//! The consumers' programs: they connect from inside their namespaces, ask, and measure.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use rustix::net::sockopt::{Timeout, set_socket_reuseaddr, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::Stop;
use super::network::{CONSUMER, Consumer};
use super::servers::pattern;

/// How long anything may take to be answered.
const PATIENCE: Duration = Duration::from_secs(2);
/// Connections of each consumer that send requests.
const CONNECTIONS: usize = 2;
/// What is fetched at a time in bulk.
const BULK: u64 = 64 << 20;
/// What is fetched to look at each byte of it.
const VERIFIED: u64 = 8_000_000;
/// The longest head of an answer.
const MAX_HEAD: u64 = 4096;

/// A TCP connection from inside a namespace, given up after `patience`.
pub(super) fn dial(
    namespace: &Path,
    source: Option<SocketAddr>,
    to: SocketAddr,
    patience: Duration,
) -> Result<io::Result<TcpStream>> {
    let dial = || {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        if let Some(source) = source {
            set_socket_reuseaddr(&socket, true)?;
            bind(&socket, &source)?;
        }
        set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
        connect(&socket, &to)?;
        Ok(TcpStream::from(socket))
    };
    // The kernel's word for "not within the time-out" is that it is still at it.
    let timed_out = |error: io::Error| match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::INPROGRESS) => ErrorKind::TimedOut.into(),
        _ => error,
    };
    Ok(device::inside(namespace, dial)?.map_err(timed_out))
}

/// An HTTP connection that is kept alive.
pub(super) struct Http {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

/// What `/hello` says.
pub(super) struct Hello {
    /// Whom it greets.
    pub(super) name: String,
    /// Who asked, as the provider sees it.
    pub(super) peer: SocketAddr,
}

impl Http {
    pub(super) fn connect(consumer: &Consumer, source: Option<SocketAddr>, host: SocketAddr) -> Result<Self> {
        let stream = dial(consumer.namespace(), source, host, PATIENCE)?
            .with_context(|| format!("consumer {} cannot connect to {host}", consumer.name))?;
        Self::over(stream, host)
    }

    /// Speaks HTTP on a connection that is there.
    pub(super) fn over(stream: TcpStream, host: SocketAddr) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(256 << 10, stream), host })
    }

    /// Has itself greeted.
    pub(super) fn hello(&mut self, name: &str) -> Result<Hello> {
        let length = self.request(&format!("/hello/{name}"))?;
        let mut body = String::new();
        self.stream.by_ref().take(length).read_to_string(&mut body)?;
        let hello = body.trim_end().split_once(' ').and_then(|(name, peer)| Some((name, peer.parse().ok()?)));
        let (name, peer) = hello.ok_or_else(|| anyhow!("{} answered {body:?}", self.host))?;
        Ok(Hello { name: name.into(), peer })
    }

    /// Fetches some megabytes and looks at each byte.
    pub(super) fn verify_bytes(&mut self) -> Result<()> {
        let mut place = 0;
        let host = self.host;
        self.fetch(VERIFIED, |piece| {
            let expected = place..place + piece.len() as u64;
            ensure!(piece.iter().copied().eq(expected.map(pattern)), "{host} sent other bytes near {place}");
            place += piece.len() as u64;
            Ok(())
        })
    }

    /// Fetches as many bytes; `inspect` sees each piece.
    fn fetch(&mut self, length: u64, mut inspect: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut left = self.request(&format!("/bytes/{length}"))?;
        ensure!(left == length, "{} has {left} bytes instead of {length}", self.host);
        while left > 0 {
            let arrived = self.stream.fill_buf()?;
            let piece = &arrived[..arrived.len().min(left as usize)];
            ensure!(!piece.is_empty(), "{} hung up {left} bytes before the end", self.host);
            inspect(piece)?;
            let taken = piece.len();
            self.stream.consume(taken);
            left -= taken as u64;
        }
        Ok(())
    }

    /// Sends a request and reads the head of the answer: how long is the body?
    fn request(&mut self, path: &str) -> Result<u64> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut head = self.stream.by_ref().take(MAX_HEAD).lines();
        let status = head.next().transpose()?.ok_or(io::Error::from(ErrorKind::UnexpectedEof))?;
        ensure!(status == "HTTP/1.1 200 OK", "{} answered {status:?}", self.host);
        let mut length = None;
        for header in head {
            let header = header?;
            if header.is_empty() {
                return length.ok_or_else(|| anyhow!("{} does not say how long its answer is", self.host));
            }
            if let Some(value) = header.strip_prefix("Content-Length: ") {
                length = Some(value.parse()?);
            }
        }
        Err(io::Error::from(ErrorKind::UnexpectedEof).into())
    }
}

/// A consumer's datagrams, which carry its name and ought to come back.
pub(super) struct Echo {
    name: &'static str,
    socket: UdpSocket,
}

impl Echo {
    pub(super) fn connect(consumer: &Consumer, source: SocketAddr, to: SocketAddr) -> Result<Self> {
        let socket = device::inside(consumer.namespace(), || UdpSocket::bind(source))??;
        socket.connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { name: consumer.name, socket })
    }

    pub(super) fn send(&self) -> Result<()> {
        self.socket.send(self.name.as_bytes())?;
        Ok(())
    }

    pub(super) fn receive(&self) -> Result<()> {
        let mut buffer = [0; 64];
        let length = self.socket.recv(&mut buffer).context("no answer over UDP")?;
        ensure!(&buffer[..length] == self.name.as_bytes(), "consumer {} got an answer to another", self.name);
        Ok(())
    }
}

/// Requests and how long each took.
pub(super) struct Requests {
    latencies: Histogram<u64>,
    during: Duration,
}

impl Requests {
    pub(super) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.during.as_secs_f64()
    }

    /// The time within which this part of all requests was answered.
    pub(super) fn quantile(&self, part: f64) -> Duration {
        Duration::from_nanos(self.latencies.value_at_quantile(part))
    }
}

/// Bytes and how long they took.
pub(super) struct Bulk {
    pub(super) bytes: u64,
    pub(super) during: Duration,
}

/// Requests over connections that are kept alive, one after the other on each.
pub(super) fn requests(
    consumers: &[Consumer],
    to: SocketAddr,
    during: Duration,
    stop: &Stop,
) -> Result<Requests> {
    let clients: Vec<_> = consumers.iter().flat_map(|consumer| [consumer; CONNECTIONS]).collect();
    measure_latencies(&clients, during, stop, |consumer| {
        let mut http = Http::connect(consumer, None, to)?;
        Ok(move || http.hello(consumer.name).map(drop))
    })
}

/// Datagrams there and back, one after the other from each consumer.
pub(super) fn datagrams(
    consumers: &[Consumer],
    to: SocketAddr,
    during: Duration,
    stop: &Stop,
) -> Result<Requests> {
    let clients: Vec<_> = consumers.iter().collect();
    measure_latencies(&clients, during, stop, |consumer| {
        let echo = Echo::connect(consumer, SocketAddr::new(CONSUMER, 0), to)?;
        Ok(move || echo.send().and_then(|()| echo.receive()))
    })
}

/// One stream from each consumer, of whole bodies until the time is up.
pub(super) fn bulk(consumers: &[Consumer], to: SocketAddr, during: Duration, stop: &Stop) -> Result<Bulk> {
    let clients: Vec<_> = consumers.iter().collect();
    let started = Instant::now();
    let fetched = at_once(&clients, |consumer| {
        let mut http = Http::connect(consumer, None, to)?;
        let mut bytes = 0;
        while started.elapsed() < during {
            http.fetch(BULK, |_| stop.check())?;
            bytes += BULK;
        }
        Ok(bytes)
    })?;
    Ok(Bulk { bytes: fetched.iter().sum(), during: started.elapsed() })
}

/// Has every client do one thing again and again, and takes the time of each.
fn measure_latencies<'c, O>(
    clients: &[&'c Consumer],
    during: Duration,
    stop: &Stop,
    prepare: impl Fn(&'c Consumer) -> Result<O> + Sync,
) -> Result<Requests>
where
    O: FnMut() -> Result<()>,
{
    let started = Instant::now();
    let of_each = at_once(clients, |consumer| {
        let mut latencies = Histogram::<u64>::new(3)?;
        let mut once = prepare(consumer)?;
        let mut now = Instant::now();
        while started.elapsed() < during {
            stop.check()?;
            once()?;
            let before = std::mem::replace(&mut now, Instant::now());
            latencies.record((now - before).as_nanos() as u64)?;
        }
        Ok(latencies)
    })?;
    let during = started.elapsed();
    let mut latencies = Histogram::<u64>::new(3)?;
    for each in of_each {
        latencies.add(each)?;
    }
    Ok(Requests { latencies, during })
}

/// Has all clients work at once, each on a thread of its own.
fn at_once<'c, T: Send>(
    clients: &[&'c Consumer],
    work: impl Fn(&'c Consumer) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter()
            .map(|consumer| {
                let work = || work(consumer).with_context(|| format!("consumer {}", consumer.name));
                thread::Builder::new().name(format!("consumer-{}", consumer.name)).spawn_scoped(scope, work)
            })
            .collect();
        let join = |thread: io::Result<thread::ScopedJoinHandle<'_, _>>| {
            thread?.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}
