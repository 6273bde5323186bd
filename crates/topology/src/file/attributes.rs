//! `attributes` of a target group.

use std::time::Duration;

use super::tree::{Bounds, Keys, Table, Value};
use crate::attributes::{
    Attributes, CROSS_ZONE, DEREGISTRATION_DELAY, DNS_COUNT, DNS_PERCENTAGE, ENDPOINT_WORDS, EndpointWords,
    HEADER_PLACEMENT, HeaderPlacement, INHERITED, IS_STICKY, Minimum, OFF, PROXY_PROTOCOL, ProxyProtocol,
    ROUTING_COUNT, ROUTING_PERCENTAGE, STICKINESS_TYPE, TERMINATES_DEREGISTERED, TERMINATES_UNHEALTHY,
    UNHEALTHY_DRAINING,
};
use crate::problem::{Read, Reported};

const KEYS: Keys = &[
    DEREGISTRATION_DELAY,
    TERMINATES_DEREGISTERED,
    PROXY_PROTOCOL,
    HEADER_PLACEMENT,
    ENDPOINT_WORDS,
    IS_STICKY,
    STICKINESS_TYPE,
    CROSS_ZONE,
    TERMINATES_UNHEALTHY,
    UNHEALTHY_DRAINING,
    ROUTING_COUNT,
    ROUTING_PERCENTAGE,
    DNS_COUNT,
    DNS_PERCENTAGE,
];

const DELAY: Bounds<u64> = Bounds { what: "a delay in seconds", range: 0..=3600, why: "" };
const INTERVAL: Bounds<u64> = Bounds { what: "an interval in seconds", range: 0..=360_000, why: "" };
const OR_OFF: &str = ", or \"off\"";
const COUNT: Bounds<u32> = Bounds { what: "a number of targets", range: 1..=1_000_000, why: OR_OFF };
const PERCENTAGE: Bounds<u8> = Bounds { what: "a percentage", range: 1..=100, why: OR_OFF };

/// Attributes, with the real ones' defaults for what is left out.
pub(super) fn attributes(value: Value<'_>) -> Read<Attributes> {
    let table = value.table(KEYS)?;
    let flag = |key| table.optional(key, |value| value.boolean());
    let deregistration_delay = table.optional(DEREGISTRATION_DELAY, |value| value.integer(&DELAY));
    let terminates_deregistered = flag(TERMINATES_DEREGISTERED);
    let proxy_protocol = proxy_protocol(&table);
    let is_sticky = flag(IS_STICKY);
    let stickiness = table.optional(STICKINESS_TYPE, |value| value.word(&[("source_ip", ())], &[]));
    let cross_zone = table.optional(CROSS_ZONE, cross_zone);
    let terminates_unhealthy = flag(TERMINATES_UNHEALTHY);
    let unhealthy_draining =
        table.optional(UNHEALTHY_DRAINING, |value| unhealthy_draining(&value, terminates_unhealthy));
    let routing_minimum = minimum(&table, ROUTING_COUNT, ROUTING_PERCENTAGE);
    let dns_minimum = minimum(&table, DNS_COUNT, DNS_PERCENTAGE);
    stickiness?;

    let default = Attributes::default();
    Ok(Attributes {
        deregistration_delay: deregistration_delay?.map_or(default.deregistration_delay, Duration::from_secs),
        terminates_deregistered: terminates_deregistered?.unwrap_or(default.terminates_deregistered),
        proxy_protocol: proxy_protocol?,
        is_sticky: is_sticky?.unwrap_or(default.is_sticky),
        cross_zone: cross_zone?.flatten(),
        terminates_unhealthy: terminates_unhealthy?.unwrap_or(default.terminates_unhealthy),
        unhealthy_draining: unhealthy_draining?.unwrap_or(default.unhealthy_draining),
        routing_minimum: routing_minimum?,
        dns_minimum: dns_minimum?,
    })
}

/// How and when a header is written means nothing where there is none. It may be said, as it may to the real one; but who says
/// nothing of a header takes it that there is one.
fn proxy_protocol(table: &Table<'_>) -> Read<Option<ProxyProtocol>> {
    let placements = [HeaderPlacement::OnFirstAckWithPayload, HeaderPlacement::OnFirstAck];
    let words = [EndpointWords::Aws, EndpointWords::Gcp, EndpointWords::Azure];
    let is_enabled = table.optional(PROXY_PROTOCOL, |value| value.boolean());
    let placement = table.optional(HEADER_PLACEMENT, |value| {
        of_header(&value, &placements.map(|word| (word.as_str(), word)), is_enabled)
    });
    let words = table.optional(ENDPOINT_WORDS, |value| {
        of_header(&value, &words.map(|word| (word.as_str(), word)), is_enabled)
    });
    let header =
        ProxyProtocol { placement: placement?.unwrap_or_default(), words: words?.unwrap_or_default() };
    Ok(is_enabled?.unwrap_or(false).then_some(header))
}

fn of_header<T: Copy>(
    value: &Value<'_>,
    words: &[(&'static str, T)],
    is_enabled: Result<Option<bool>, Reported>,
) -> Read<T> {
    let word = value.word(words, &[])?;
    if matches!(is_enabled, Ok(None)) {
        let remedy = format!("add \"{PROXY_PROTOCOL}\" = true, or = false to say this for later");
        return Err(value.refuse("the targets of this group get no header", remedy));
    }
    Ok(word)
}

fn cross_zone(value: Value<'_>) -> Read<Option<bool>> {
    if value.as_str() == Some(INHERITED) { Ok(None) } else { value.boolean().map(Some) }
}

/// An interval is for flows that are not ended at once.
fn unhealthy_draining(value: &Value<'_>, terminates: Result<Option<bool>, Reported>) -> Read<Duration> {
    let seconds = value.integer(&INTERVAL)?;
    if seconds > 0 && matches!(terminates, Ok(None | Some(true))) {
        let message = "the flows of an unhealthy target are ended at once, before any interval";
        let remedy = format!("add \"{TERMINATES_UNHEALTHY}\" = false, or remove the key");
        return Err(value.refuse(message, remedy));
    }
    Ok(Duration::from_secs(seconds))
}

fn minimum(table: &Table<'_>, count: &str, percentage: &str) -> Read<Minimum> {
    let default = Minimum::default();
    let count = table.optional(count, |value| value.integer_unless(OFF, &COUNT));
    let percentage = table.optional(percentage, |value| value.integer_unless(OFF, &PERCENTAGE));
    Ok(Minimum {
        count: count?.unwrap_or(default.count),
        percentage: percentage?.unwrap_or(default.percentage),
    })
}
