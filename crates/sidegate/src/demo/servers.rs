//! The provider's programs: a small HTTP server and a UDP echo. Their sockets are made in the provider's namespace and
//! stay there; their threads end with the process.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};

use super::network::{ECHO_SERVER, HTTP_SERVER};

/// The longest line of a request.
const MAX_LINE: u64 = 4096;
/// The body of `/bytes/N` repeats these, so that a byte's value tells its place.
const PATTERN: usize = 251;
/// How much of it is written at once: a whole number of patterns.
const CHUNK: usize = PATTERN * 512;

/// Starts both.
pub(super) fn start(provider: &Path) -> Result<()> {
    let listener = device::inside(provider, || TcpListener::bind(HTTP_SERVER))??;
    spawn(move || serve_http(&listener))?;
    let socket = device::inside(provider, || UdpSocket::bind(ECHO_SERVER))??;
    spawn(move || serve_echo(&socket))
}

/// The byte at this place of a body.
pub(super) fn pattern(place: u64) -> u8 {
    (place % PATTERN as u64) as u8
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new().name("server".into()).spawn(work).context("cannot start a thread for a server")?;
    Ok(())
}

fn serve_echo(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    loop {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            // A datagram that is lost is the client's to miss.
            let _ = socket.send_to(&buffer[..length], peer);
        }
    }
}

fn serve_http(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // Whatever goes wrong with one connection, its client notices.
        let _ = spawn(move || drop(converse(&stream)));
    }
}

/// Answers requests for as long as the connection lasts.
pub(super) fn converse(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    let mut requests = BufReader::new(stream);
    while let Some(path) = next_request(&mut requests)? {
        answer(stream, peer, &path)?;
    }
    Ok(())
}

/// The path that the next request is for.
fn next_request(requests: &mut impl BufRead) -> io::Result<Option<String>> {
    let Some(request) = next_line(requests)? else { return Ok(None) };
    while next_line(requests)?.is_some_and(|header| !header.is_empty()) {}
    let mut words = request.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some("GET"), Some(path), Some("HTTP/1.1")) => Ok(Some(path.into())),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

fn next_line(requests: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    match requests.take(MAX_LINE).read_line(&mut line)? {
        0 => Ok(None),
        _ => Ok(Some(line.trim_end().into())),
    }
}

/// `/hello/NAME` says who asks; `/bytes/N` has N bytes.
fn answer(stream: &TcpStream, peer: SocketAddr, path: &str) -> io::Result<()> {
    let split = path.trim_start_matches('/').split_once('/');
    match split.map(|(what, argument)| (what, argument, argument.parse::<u64>())) {
        Some(("hello", name, _)) => {
            let body = format!("{name} {peer}\n");
            respond(stream, "200 OK", body.len() as u64, &body)
        }
        Some(("bytes", _, Ok(length))) => {
            respond(stream, "200 OK", length, "")?;
            send_pattern(stream, length)
        }
        _ => respond(stream, "404 Not Found", 0, ""),
    }
}

/// The head, and with it in one packet what there is of the body.
fn respond(mut stream: &TcpStream, status: &str, length: u64, body: &str) -> io::Result<()> {
    stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())
}

fn send_pattern(mut stream: &TcpStream, length: u64) -> io::Result<()> {
    let chunk: Vec<u8> = (0..CHUNK as u64).map(pattern).collect();
    let mut left = length;
    while left > 0 {
        let piece = left.min(CHUNK as u64);
        stream.write_all(&chunk[..piece as usize])?;
        left -= piece;
    }
    Ok(())
}
