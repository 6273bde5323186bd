use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Instant;

use super::*;
use crate::connections::way::Ways;
use crate::in_time::{LONGEST, in_time};
use crate::threads::join;

const CONNECTIONS: usize = 8;
const RATE: f64 = 1000.0;
const LENGTH: Duration = Duration::from_millis(300);
const STALL: Duration = Duration::from_millis(50);

/// What the server does before it answers its Nth request.
type Before = dyn Fn(usize) -> Answer + Send + Sync;

enum Answer {
    Properly,
    With(&'static [u8]),
    Never,
}

/// An HTTP server with a thread for each connection, which ends with it.
fn server(before: impl Fn(usize) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let door = listener.local_addr().unwrap();
    let (before, requests): (Arc<Before>, _) = (Arc::new(before), Arc::new(AtomicUsize::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming().take(CONNECTIONS) {
            let (before, requests) = (Arc::clone(&before), Arc::clone(&requests));
            thread::spawn(move || serve(&stream.unwrap(), &*before, &requests));
        }
    });
    door
}

fn serve(mut stream: &TcpStream, before: &Before, requests: &AtomicUsize) {
    stream.set_nodelay(true).unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    for _ in lines.filter(String::is_empty) {
        let said = match before(requests.fetch_add(1, Ordering::Relaxed)) {
            Answer::Properly => b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nthrough\n",
            Answer::With(said) => said,
            Answer::Never => continue,
        };
        // The generator closes its connections when it has seen enough.
        let _ = stream.write_all(said);
    }
}

fn load(door: SocketAddr) -> Load {
    const HERE: [Ipv4Addr; 1] = [Ipv4Addr::LOCALHOST];
    let way = Ways::new(&HERE, &HERE, door.port(), 0).turn();
    let (warm_up, patience) = (Duration::from_millis(20), LONGEST);
    Load { way, connections: CONNECTIONS, rate: RATE, warm_up, length: LENGTH, patience }
}

fn run(load: Load) -> Result<Latencies> {
    load.run(&Interrupt::of_nobody()?)
}

fn error(load: Load) -> String {
    run(load).unwrap_err().root_cause().to_string()
}

/// How many requests of the stretch are due.
fn due(load: Load) -> u64 {
    Schedule::new(load.rate, load.warm_up + load.length).filter(|due| *due >= load.warm_up).count() as u64
}

#[test]
fn every_request_of_the_stretch_is_counted_and_answered() {
    // A machine that is busy with other things takes longer, and now and then so long that the rate is not achieved.
    in_time(|_| {
        let load = load(server(|_| Answer::Properly));
        let latencies = run(load)?;
        assert_eq!((latencies.answered.len(), latencies.taken_up.len()), (due(load), due(load)));
        assert!(latencies.within(0.5) >= latencies.late(0.5), "no answer comes before its request");
        ensure!(latencies.within(0.5) < STALL, "{:?} over loopback", latencies.within(0.5));
        Ok(())
    });
}

/// Whoever counts from the sending sees eight slow requests: not one of all others that should have come meanwhile.
#[test]
fn a_stall_shows_in_everything_that_was_due_in_it() {
    let latencies = in_time(|_| {
        let gate = RwLock::new(());
        let stalls = move |number| {
            if number == 100 {
                let _closed = gate.write().unwrap();
                thread::sleep(STALL);
            }
            drop(gate.read().unwrap());
            Answer::Properly
        };
        run(load(server(stalls)))
    });
    let requests = latencies.answered.len() as f64;
    assert!(1.0 - CONNECTIONS as f64 / requests > 0.95, "eight are less than 5 of 100 here");
    // Of the 300, some 50 were due in the stall, and waited for half of it on average.
    assert!(latencies.within(0.92) > STALL.mul_f64(0.3), "p92 {:?}", latencies.within(0.92));
    assert!(latencies.within(0.99) > STALL.mul_f64(0.7), "p99 {:?}", latencies.within(0.99));
}

#[test]
fn a_rate_that_is_not_achieved_is_an_error() {
    let slow = |_| {
        thread::sleep(Duration::from_millis(16));
        Answer::Properly
    };
    // Eight connections make at most 500 requests a second.
    let load = load(server(slow));
    let error = error(load);
    let (achieved, rest) = error.split_once(" requests/s were answered of ").unwrap();
    let (asked, _) = rest.split_once(" that came").unwrap();
    let (achieved, asked): (f64, f64) = (achieved.parse().unwrap(), asked.parse().unwrap());
    let came = due(load) as f64 / LENGTH.as_secs_f64();
    assert!(achieved < 0.9 * asked && (asked - came).abs() < 1.0, "{error}");
}

#[test]
fn silence_is_an_error_in_time() {
    let start = Instant::now();
    let silent = |number| if number < 100 { Answer::Properly } else { Answer::Never };
    let patience = Duration::from_millis(100);
    let all_wait = error(Load { patience, ..load(server(silent)) });
    assert!(all_wait.ends_with("requests wait for a free connection"), "{all_wait}");
    // All others are answered, sooner or later.
    in_time(|patience| {
        let silent = |number| if number == 100 { Answer::Never } else { Answer::Properly };
        let one_waits = error(Load { patience, ..load(server(silent)) });
        let expected = format!("1 requests were not answered within {patience:?}");
        if one_waits == expected { Ok(()) } else { Err(one_waits) }
    });
    assert!(start.elapsed() < 3 * LONGEST);
}

#[test]
fn the_wish_to_stop_ends_it_at_once() {
    let interrupt = Interrupt::of_nobody().unwrap();
    let start = Instant::now();
    let load = Load { length: 6 * LONGEST, ..load(server(|_| Answer::Properly)) };
    let error = thread::scope(|scope| {
        let running = scope.spawn(|| load.run(&interrupt));
        interrupt.come();
        join(running).unwrap_err()
    });
    assert!(format!("{error:#}").ends_with("interrupted"), "{error:#}");
    assert!(start.elapsed() < LONGEST);
}

#[test]
fn a_wrong_answer_is_an_error() {
    let broken = |number| if number == 100 { Answer::With(b"HTTP/1.1 502 Bad") } else { Answer::Properly };
    assert_eq!(error(load(server(broken))), r#"the HTTP server answered "HTTP/1.1 502 Bad""#);
}

#[test]
fn a_closed_door_is_an_error() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let door = listener.local_addr().unwrap();
    drop(listener);
    assert!(run(load(door)).unwrap_err().to_string().starts_with("connecting from 127.0.0.1 to 127.0.0.1:"));
}

#[test]
fn the_rate_is_half_of_what_the_slowest_can_do() {
    assert_eq!(slowest_half(&[90_000.0, 20_000.0, 50_000.0]), Some(10_000.0));
    assert_eq!(slowest_half(&[]), None);
}
