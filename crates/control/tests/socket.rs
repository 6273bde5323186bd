//! A server and its clients on a real socket.

#![cfg(test)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use control::{AskError, Claim, ClaimError, Refusal, Server, ask, running};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// What may be asked here.
#[derive(Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
enum Request {
    Status,
    Spell { word: String },
}

const PATIENCE: Duration = Duration::from_secs(10);

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("orders.sock")
    }

    fn claim(&self) -> Result<Claim, ClaimError> {
        Claim::take("orders", &self.socket())
    }

    fn server(&self) -> Server {
        Server::start(self.claim().unwrap(), handle).unwrap()
    }

    fn status(&self) -> Result<String, AskError> {
        ask(&self.socket(), &Request::Status, PATIENCE)
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(self.directory.path()).unwrap().next().is_none()
    }
}

fn handle(request: Request) -> Result<String, Refusal> {
    match request {
        Request::Status => Ok("well".into()),
        Request::Spell { word } if word.is_empty() => Err(Refusal::Mistake("say\na word".into())),
        Request::Spell { word } if word == "sesquipedalian" => Err(Refusal::Error("out of letters".into())),
        Request::Spell { word } => Ok(word.to_uppercase()),
    }
}

fn answer_to(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    // The server may hang up before it has read everything.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

#[test]
fn a_question_is_answered() {
    let place = Place::new();
    let _server = place.server();
    assert_eq!(place.status().unwrap(), "well");
    assert_eq!(running(place.directory.path()).unwrap()[0].name, "orders");
}

#[test]
fn a_request_carries_what_it_is_about_and_may_be_refused() {
    let place = Place::new();
    let _server = place.server();
    let spell = |word: &str| -> Result<String, AskError> {
        ask(&place.socket(), &Request::Spell { word: word.into() }, PATIENCE)
    };
    assert_eq!(spell("ox").unwrap(), "OX");
    for (word, refusal) in [
        ("", Refusal::Mistake("say\na word".into())),
        ("sesquipedalian", Refusal::Error("out of letters".into())),
    ] {
        let error = spell(word).unwrap_err();
        assert_eq!(error.to_string(), refusal.to_string(), "it is told as it stands");
        assert!(matches!(error, AskError::Refused(told) if told == refusal));
    }
}

#[test]
fn patience_ends() {
    let place = Place::new();
    let silent = UnixListener::bind(place.socket()).unwrap();
    let answer: Result<String, _> = ask(&place.socket(), &Request::Status, Duration::from_millis(10));
    assert!(matches!(answer, Err(AskError::NoAnswer { .. })), "{answer:?}");
    drop(silent);
}

#[test]
fn only_the_owner_may_ask() {
    let place = Place::new();
    let _server = place.server();
    let mode = fs::metadata(place.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn one_connection_takes_many_requests() {
    let place = Place::new();
    let _server = place.server();
    let mut stream = UnixStream::connect(place.socket()).unwrap();
    stream.write_all(b"{\"verb\":\"status\"}\n{\"verb\":\"status\"}\nnonsense\n{\"verb\":").unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "{\"ok\":\"well\"}");
    assert_eq!(lines.next().unwrap(), "{\"ok\":\"well\"}");
    assert!(lines.next().unwrap().starts_with("{\"error\":\"the running sidegate cannot understand"));
    stream.write_all(b"\"status\"}\n").unwrap();
    assert_eq!(lines.next().unwrap(), "{\"ok\":\"well\"}");
}

#[test]
fn an_endless_request_is_cut_off() {
    let place = Place::new();
    let _server = place.server();
    let answer = answer_to(&place.socket(), &"x".repeat(4096));
    assert_eq!(answer, "{\"error\":\"a request has 4096 bytes at most\"}\n");
    assert_eq!(place.status().unwrap(), "well");
}

#[test]
fn further_clients_wait_their_turn() {
    let place = Place::new();
    let _server = place.server();
    let mut talkers: Vec<_> = (0..4).map(|_| UnixStream::connect(place.socket()).unwrap()).collect();
    for talker in &mut talkers {
        talker.write_all(b"{\"verb\":\"status\"}\n").unwrap();
        talker.read_exact(&mut [0; 14]).unwrap();
    }
    let mut waiting = UnixStream::connect(place.socket()).unwrap();
    waiting.write_all(b"{\"verb\":\"status\"}\n").unwrap();
    waiting.set_nonblocking(true).unwrap();
    assert!(waiting.read(&mut [0; 1]).is_err(), "four are being served");
    drop(talkers);
    waiting.set_nonblocking(false).unwrap();
    waiting.read_exact(&mut [0; 14]).unwrap();
}

#[test]
fn an_instance_runs_once() {
    let place = Place::new();
    let server = place.server();
    let pid = std::process::id();
    match place.claim() {
        Err(error @ ClaimError::Running { .. }) => {
            assert!(
                error.to_string().starts_with(&format!("instance orders is already running (pid {pid})")),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(place.status().unwrap(), "well", "the first is undisturbed");
    drop(server);
    assert!(place.is_empty(), "nothing is left behind");
    drop(place.server());
}

#[test]
fn idle_clients_do_not_keep_a_server_from_ending() {
    let place = Place::new();
    let server = place.server();
    let mut idle = UnixStream::connect(place.socket()).unwrap();
    idle.write_all(b"{\"verb\":\"status\"}\n").unwrap();
    idle.read_exact(&mut [0; 14]).unwrap();
    drop(server);
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0, "hung up");
}

#[test]
fn what_a_dead_process_left_is_replaced() {
    let place = Place::new();
    drop(UnixListener::bind(place.socket()).unwrap());
    fs::write(place.directory.path().join("orders.lock"), "12345\n").unwrap();
    assert!(running(place.directory.path()).unwrap().is_empty());
    assert!(matches!(place.status(), Err(AskError::NotRunning { .. })));
    let _server = place.server();
    assert_eq!(place.status().unwrap(), "well");
}

#[test]
fn what_others_have_is_left_alone() {
    let place = Place::new();
    fs::write(place.socket(), "precious").unwrap();
    assert!(matches!(place.claim(), Err(ClaimError::Occupied { .. })));
    assert_eq!(fs::read_to_string(place.socket()).unwrap(), "precious");

    fs::remove_file(place.socket()).unwrap();
    let _alive = UnixListener::bind(place.socket()).unwrap();
    assert!(matches!(place.claim(), Err(ClaimError::Occupied { .. })));
}

#[test]
fn errors_say_what_to_do() {
    let place = Place::new();
    let file = place.directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Claim::take("orders", &file.join("orders.sock")).unwrap_err().to_string();
    assert!(error.contains("choose another place with --socket"), "{error}");

    let long = place.directory.path().join("x".repeat(120));
    let claim = Claim::take("orders", &long).unwrap();
    let error = Server::start(claim, handle).err().unwrap().to_string();
    assert!(error.contains("107 bytes at most"), "{error}");
}
