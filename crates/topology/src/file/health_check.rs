//! `health_check` of a target group.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::listener::PORT;
use super::tree::{Bounds, Keys, Table, Value};
use crate::problem::Read;
use crate::{CheckProtocol, HealthCheck, HttpCheck, Matcher};

const KEYS: Keys = &[
    "protocol",
    "port",
    "path",
    "host",
    "matcher",
    "interval",
    "timeout",
    "healthy_threshold",
    "unhealthy_threshold",
    "passive",
];
/// The keys that only HTTP has a meaning for.
const HTTP_KEYS: [&str; 3] = ["path", "host", "matcher"];

const INTERVAL: Bounds<u64> = Bounds { what: "an interval in seconds", range: 5..=300, why: "" };
const THRESHOLD: Bounds<u8> = Bounds { what: "a threshold", range: 2..=10, why: "" };
const STATUSES: RangeInclusive<u16> = 200..=599;

const DEFAULT_INTERVAL: u64 = 30;
const DEFAULT_TIMEOUT: u64 = 10;
const DEFAULT_HTTP_TIMEOUT: u64 = 6;
const LONGEST_TIMEOUT: u64 = 120;
const DEFAULT_HEALTHY_THRESHOLD: u8 = 5;
const DEFAULT_UNHEALTHY_THRESHOLD: u8 = 2;

const LONGEST_PATH: usize = 1024;
const LONGEST_HOST: usize = 255;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Http,
    Https,
}

/// A health check, with the real one's defaults for what it leaves out.
pub(super) fn health_check(value: Value<'_>) -> Read<HealthCheck> {
    let table = value.table(KEYS)?;
    let protocol = table.optional("protocol", protocol).map(|protocol| protocol.unwrap_or(Protocol::Tcp));
    let asks = match protocol {
        Ok(Protocol::Tcp) => refuse_http_keys(&table).map(|()| CheckProtocol::Tcp),
        Ok(Protocol::Http) => http(&table).map(CheckProtocol::Http),
        Ok(Protocol::Https) => http(&table).map(CheckProtocol::Https),
        Err(reported) => http(&table).and(Err(reported)),
    };
    let port = table.optional("port", |value| value.integer(&PORT));
    let interval = table.optional("interval", |value| value.integer(&INTERVAL));
    let interval = interval.map(|interval| interval.unwrap_or(DEFAULT_INTERVAL));
    // An interval that cannot be read is not held against the time-out.
    let within = timeouts(interval.unwrap_or(LONGEST_TIMEOUT));
    let timeout = table.optional("timeout", |value| value.integer(&within));
    let healthy_threshold = table.optional("healthy_threshold", |value| value.integer(&THRESHOLD));
    let unhealthy_threshold = table.optional("unhealthy_threshold", |value| value.integer(&THRESHOLD));
    let passive = table.optional("passive", |value| value.boolean());
    let default_timeout = match protocol? {
        Protocol::Http => DEFAULT_HTTP_TIMEOUT,
        Protocol::Tcp | Protocol::Https => DEFAULT_TIMEOUT,
    };
    Ok(HealthCheck {
        protocol: asks?,
        port: port?,
        interval: Duration::from_secs(interval?),
        timeout: Duration::from_secs(timeout?.unwrap_or(default_timeout.min(interval?))),
        healthy_threshold: healthy_threshold?.unwrap_or(DEFAULT_HEALTHY_THRESHOLD),
        unhealthy_threshold: unhealthy_threshold?.unwrap_or(DEFAULT_UNHEALTHY_THRESHOLD),
        passive: passive?.unwrap_or(false),
    })
}

fn protocol(value: Value<'_>) -> Read<Protocol> {
    value.word(&[("tcp", Protocol::Tcp), ("http", Protocol::Http), ("https", Protocol::Https)], &[])
}

fn refuse_http_keys(table: &Table<'_>) -> Read<()> {
    let refuse = |value: Value<'_>| {
        let message = "a tcp check opens a connection, and asks for nothing";
        Err(value.refuse(message, "remove the key, or write protocol = \"http\" or \"https\""))
    };
    let all = HTTP_KEYS.map(|key| table.optional(key, refuse));
    all.into_iter().try_for_each(|key: Read<Option<()>>| key.map(drop))
}

fn http(table: &Table<'_>) -> Read<HttpCheck> {
    let path = table.optional("path", path);
    let host = table.optional("host", host);
    let matcher = table.optional("matcher", matcher);
    Ok(HttpCheck {
        path: path?.unwrap_or_else(|| "/".into()),
        host: host?,
        matcher: matcher?.unwrap_or_default(),
    })
}

/// What is written goes into a request as it stands, so nothing that could end its line is let through.
fn path(value: Value<'_>) -> Read<String> {
    let remedy = format!("write a slash and up to {} printable ASCII characters, no space", LONGEST_PATH - 1);
    let path = value.text(&remedy)?;
    let fits = path.starts_with('/') && path.len() <= LONGEST_PATH && is_graphic(path);
    if fits { Ok(path.into()) } else { Err(value.refuse(format!("{path:?} is not a path"), remedy)) }
}

/// See [`path`].
fn host(value: Value<'_>) -> Read<String> {
    let remedy = format!("write 1 to {LONGEST_HOST} printable ASCII characters, no space");
    let host = value.text(&remedy)?;
    let fits = (1..=LONGEST_HOST).contains(&host.len()) && is_graphic(host);
    if fits { Ok(host.into()) } else { Err(value.refuse(format!("{host:?} is not a host"), remedy)) }
}

fn is_graphic(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn matcher(value: Value<'_>) -> Read<Matcher> {
    let remedy = format!(
        "write statuses from {} to {}, and ranges of them, such as \"200,202,300-302\"",
        STATUSES.start(),
        STATUSES.end()
    );
    let written = value.text(&remedy)?;
    let ranges: Option<Vec<_>> = written.split(',').map(statuses).collect();
    ranges.map(Matcher).ok_or_else(|| value.refuse(format!("{written:?} does not match any answer"), remedy))
}

/// One status, or a range of them.
fn statuses(written: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = written.split_once('-').unwrap_or((written, written));
    let status = |digits: &str| {
        let status = digits.parse().ok().filter(|status| STATUSES.contains(status))?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(status)
    };
    Some(status(first)?..=status(last)?).filter(|range| !range.is_empty())
}

/// The time-outs that an interval has room for: one check ends before the next begins.
fn timeouts(interval: u64) -> Bounds<u64> {
    Bounds {
        what: "a time-out for this interval",
        range: 2..=LONGEST_TIMEOUT.min(interval),
        why: ": no longer than the interval",
    }
}
