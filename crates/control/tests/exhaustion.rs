//! A server without a free descriptor. In a program of its own: the limit is the whole process's.

#![cfg(test)]

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use control::{Claim, Server, ask};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// What may be asked here.
#[derive(Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
enum Request {
    Status,
}

#[test]
fn clients_wait_for_a_descriptor_and_the_threads_do_not_spin() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("orders.sock");
    let claim = Claim::take("orders", &path).unwrap();
    let _server = Server::start(claim, |Request::Status| Ok("well")).unwrap();
    assert_eq!(ask::<String>(&path, &Request::Status, Duration::from_secs(10)).unwrap(), "well");

    // A new descriptor is the lowest that is free: all below this one are taken.
    let client = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let before = getrlimit(Resource::Nofile);
    let none_free = client.as_raw_fd() as u64 + 1;
    setrlimit(Resource::Nofile, Rlimit { current: Some(none_free), ..before }).unwrap();
    connect(&client, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    let mut client = UnixStream::from(client);
    client.write_all(b"{\"verb\":\"status\"}\n").unwrap();

    let worked = processor_time();
    client.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    let nothing = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "nobody can accept");
    let worked = processor_time() - worked;
    assert!(worked < Duration::from_millis(100), "{worked:?} of work while there was nothing to do");

    setrlimit(Resource::Nofile, before).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.read_exact(&mut [0; 14]).unwrap();
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}
