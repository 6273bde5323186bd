//! Scripts after the manner of packetdrill: what a peer says to one connection and hears from it, line by line.
//!
//! | line | meaning |
//! |---|---|
//! | `< S 0:0(0) win 1000 <mss 1460,sackOK>` | the peer says this |
//! | `> S. 0:0(0) ack 1` | it hears this. Window and options are compared if the line has any |
//! | `> ...` | whatever it has heard |
//! | `+500` | so many milliseconds pass |
//! | `ready`, `send 5`, `read abc`, `close`, `abort`, `drop` | what the owner does. `drop` keeps the [`Parting`] |
//! | `Open` | the state that it is in, as [`State`] has it |
//!
//! All that is said has to be in the script. Numbers count from each side's first; `.` is ACK. Of payload that is not spelt out
//! (`"abc"`), each byte is a dot.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use stack::{Connection, Memory, Parting, Settings, Stack};
use wire::{Checksum, Frame, Offload, SEGMENT_CAPACITY, TcpFlags, TcpOption, find_option, parse};

use crate::segment::Segment;
use crate::world::{V4, V6};

/// The peer's first number: its bytes cross the end of the sequence space.
const FIRST: u32 = u32::MAX - 20;

/// Plays `script` for a connection that was accepted, over both families.
pub(crate) fn accepted(script: &str) {
    play(script, 65_535 << 3, Connection::accept);
}

/// Plays `script` after the handshake of a connection that was accepted, without options.
pub(crate) fn opened(script: &str) {
    accepted(&format!(
        "< S 0:0(0)
         ready
         > S. 0:0(0) ack 1
         < . 1:1(0) ack 1
         Open
         {script}"
    ));
}

/// Plays `script` for a connection that was accepted, with buffers of this size.
pub(crate) fn accepted_with(buffer: usize, script: &str) {
    play(script, buffer, Connection::accept);
}

/// Plays `script` for a connection that was dialled, over both families.
pub(crate) fn dialled(script: &str) {
    play(script, 65_535 << 3, Connection::dial);
}

type Open = fn(&mut Stack, SocketAddr, SocketAddr, Duration) -> Option<Connection>;

fn play(script: &str, buffer: usize, open: Open) {
    for addresses in [V4, V6] {
        let [peer, own] = [addresses[0], addresses[1]].map(|address| address.parse().unwrap());
        let settings = Settings { buffer, connections: 1, ..Settings::new([2, 3]) };
        let mut stack = Stack::new(settings, &Memory::new(1 << 30));
        let now = Duration::from_secs(1);
        let connection = open(&mut stack, own, peer, now).unwrap();
        let mut stage = Stage {
            stack,
            connection: Some(connection),
            parting: None,
            own,
            peer,
            now,
            heard: VecDeque::new(),
            first: None,
            clock: 0,
        };
        stage.poll();
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.for_each(|line| stage.play(line));
        stage.hear_nothing("the end");
    }
}

/// A connection, and a peer that does as the script says.
struct Stage {
    stack: Stack,
    connection: Option<Connection>,
    parting: Option<Parting>,
    own: SocketAddr,
    peer: SocketAddr,
    now: Duration,
    /// What the peer has heard, and the script not yet told.
    heard: VecDeque<String>,
    /// Our first number, and our first timestamp.
    first: Option<u32>,
    clock: u32,
}

impl Stage {
    fn play(&mut self, line: &str) {
        match line.strip_prefix("> ") {
            Some("...") => return self.heard.clear(),
            Some(expected) => return self.hear(expected),
            None => {}
        }
        self.hear_nothing(line);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, self.connection.as_mut()) {
            ("<", _) => self.say(rest),
            ("ready", Some(connection)) => connection.ready(),
            ("close", Some(connection)) => connection.close(),
            ("abort", Some(connection)) => connection.abort(),
            ("send", Some(connection)) => {
                let bytes = vec![b'.'; rest.parse().unwrap()];
                assert_eq!(connection.send(&bytes), bytes.len(), "{line}");
            }
            ("read", Some(connection)) => {
                let mut buffer = [0; 64];
                let len = connection.receive(&mut buffer);
                assert_eq!(str::from_utf8(&buffer[..len]).unwrap(), rest, "{line}");
            }
            ("drop", Some(connection)) => {
                self.parting = connection.parting();
                self.connection = None;
            }
            (_, Some(connection)) if !word.starts_with('+') => {
                assert_eq!(format!("{:?}", connection.state()), line);
            }
            _ => self.wait(word),
        }
        self.poll();
    }

    /// Lets time pass, and wakes the connection when it asks for it.
    fn wait(&mut self, word: &str) {
        let span = word.strip_prefix('+').and_then(|millis| millis.parse().ok());
        let Some(millis) = span else { panic!("{word:?} is not a line of a script") };
        let end = self.now + Duration::from_millis(millis);
        while let Some(connection) = &mut self.connection
            && let Some(at) = connection.poll_at(&mut self.stack, self.now).filter(|at| *at <= end)
        {
            self.now = at;
            self.poll();
        }
        self.now = end;
    }

    fn say(&mut self, line: &str) {
        let segment = self.read(line);
        let mut bytes = segment.packet(self.peer, self.own);
        if let Some(parting) = self.parting {
            let mut buffer = [0; SEGMENT_CAPACITY];
            let packet = parse(&bytes).unwrap();
            if let Some(len) = parting.answer(&packet, self.now, &mut buffer) {
                self.note(vec![buffer[..len].to_vec()]);
            }
        }
        if let Some(connection) = &mut self.connection {
            let offload = Offload { checksum: Checksum::Partial, segmentation: None };
            let frame = Frame { offload, bytes: &mut bytes };
            let mut sent = Vec::new();
            let emit = &mut |frame: &mut Frame<'_>| sent.push(frame.bytes.to_vec());
            let _ = connection.input(&mut self.stack, &frame, self.now, emit);
            self.note(sent);
        }
    }

    fn poll(&mut self) {
        let mut sent = Vec::new();
        if let Some(connection) = &mut self.connection {
            connection.poll(&mut self.stack, self.now, &mut |frame| sent.push(frame.bytes.to_vec()));
        }
        self.note(sent);
    }

    fn hear(&mut self, expected: &str) {
        let Some(heard) = self.heard.pop_front() else { panic!("{expected:?} was not said") };
        let heads_agree = head(expected) == head(&heard);
        let windows_agree = window(expected).is_none_or(|is| window(&heard) == Some(is));
        let options_agree =
            written_options(expected).iter().all(|option| written_options(&heard).contains(option));
        assert!(heads_agree && windows_agree && options_agree, "expected {expected}\n   heard {heard}");
    }

    fn hear_nothing(&self, line: &str) {
        assert!(self.heard.is_empty(), "heard before {line:?}: {:?}", self.heard);
    }

    /// Takes note of packets that the peer hears, as lines of a script.
    fn note(&mut self, packets: Vec<Vec<u8>>) {
        for bytes in packets {
            let line = self.tell(&bytes);
            self.heard.push_back(line);
        }
    }

    fn tell(&mut self, bytes: &[u8]) -> String {
        let packet = parse(bytes).unwrap();
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let stamps = find_option(bytes, &packet, TcpOption::Timestamps);
        let stamps = stamps.map(|at| [number(at.start), number(at.start + 4)]);
        if self.first.is_none() && packet.flags.syn() {
            self.first = Some(packet.sequence);
            self.clock = stamps.map_or(0, |[value, _]| value);
        }
        let sequence = packet.sequence.wrapping_sub(self.first.unwrap_or(0));
        let (len, flags) = (packet.payload_len(), written(packet.flags));
        let mut line = format!("{flags} {sequence}:{}({len})", sequence.wrapping_add(len as u32));
        if packet.flags.ack() {
            line += &format!(" ack {}", packet.acknowledgement.wrapping_sub(FIRST));
        }
        let at = packet.transport + 14;
        line += &format!(" win {}", u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let one = |option| find_option(bytes, &packet, option).map(|at| bytes[at].to_vec());
        let options = [
            one(TcpOption::Mss).map(|mss| format!("mss {}", u16::from_be_bytes([mss[0], mss[1]]))),
            one(TcpOption::WindowScale).map(|scale| format!("wscale {}", scale[0])),
            stamps.map(|[value, echo]| format!("ts {} {echo}", value.wrapping_sub(self.clock))),
        ];
        let options: Vec<_> = options.into_iter().flatten().collect();
        if options.is_empty() { line } else { format!("{line} <{}>", options.join(",")) }
    }

    /// Reads a segment, as a line of a script has it.
    fn read(&self, line: &str) -> Segment {
        let after = |mark: &str| line.split_once(mark).map(|(_, rest)| word(rest));
        let number = |text: &str| text.parse::<i64>().unwrap() as u32;
        let range = line.split(' ').nth(1).unwrap();
        let (begin, len) = (range.split(':').next().unwrap(), range.split(['(', ')']).nth(1).unwrap());
        let text = line.split('"').nth(1).map(|text| text.as_bytes().to_vec());
        Segment {
            flags: word(line).bytes().map(flag).fold(0, |flags, flag| flags | flag),
            sequence: FIRST.wrapping_add(number(begin)),
            acknowledgement: after(" ack ")
                .map_or(0, |ack| self.first.unwrap_or(0).wrapping_add(number(ack))),
            window: after(" win ").map_or(u16::MAX, |window| window.parse().unwrap()),
            options: line.split(['<', '>']).nth(1).map_or_else(Vec::new, options),
            payload: text.unwrap_or_else(|| vec![b'.'; len.parse().unwrap()]),
        }
    }
}

fn head(line: &str) -> &str {
    let end = [" win ", " <"].iter().filter_map(|mark| line.find(mark)).min();
    &line[..end.unwrap_or(line.len())]
}

fn window(line: &str) -> Option<&str> {
    line.split_once(" win ").map(|(_, rest)| word(rest))
}

fn written_options(line: &str) -> Vec<&str> {
    line.split(['<', '>']).nth(1).map_or_else(Vec::new, |options| options.split(',').collect())
}

fn word(text: &str) -> &str {
    text.split([' ', ',']).next().unwrap_or(text)
}

fn flag(letter: u8) -> u8 {
    match letter {
        b'S' => TcpFlags::SYN,
        b'F' => TcpFlags::FIN,
        b'R' => TcpFlags::RST,
        b'P' => 0x08,
        b'U' => 0x20,
        b'.' => TcpFlags::ACK,
        b'-' => 0,
        _ => panic!("no flag is written {:?}", char::from(letter)),
    }
}

fn written(flags: TcpFlags) -> String {
    let letters = ['S', 'F', 'R', 'P', '.'];
    letters.into_iter().filter(|letter| flags.bits() & flag(*letter as u8) != 0).collect()
}

/// The bytes of options such as `mss 1460,wscale 7,ts 5 0`; `x` and two digits is a byte as it is.
fn options(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for option in text.split(',') {
        let mut words = option.split(' ');
        let (name, values) = (words.next().unwrap(), words.map(|value| value.parse::<u32>().unwrap()));
        let values: Vec<u8> = values.flat_map(u32::to_be_bytes).collect();
        match name {
            "mss" => bytes.extend([2, 4, values[2], values[3]]),
            "wscale" => bytes.extend([3, 3, values[3]]),
            "sackOK" => bytes.extend([4, 2]),
            "ts" => bytes.extend([[8, 10].as_slice(), &values].concat()),
            raw => bytes.push(u8::from_str_radix(&raw[1..], 16).unwrap()),
        }
    }
    bytes
}
