//! Answering hosts on a link that hold an address of ours to be a neighbour's: `answer_on`.
//!
//! The kernel answers their ARP requests and neighbour solicitations for an address that has a proxy entry on the link,
//! provided that it forwards there; over IPv6, the link's `proxy_ndp` has to be on as well.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use tracing::{debug, info, warn};

use crate::link::{Link, family, ipv6_setting};
use crate::namespace::{Held, label};
use crate::{DeviceError, Place};

/// An address that hosts on a link are answered for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The link's name.
    pub link: String,
    /// The address, which is routed to our device.
    pub address: IpAddr,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.address, self.link)
    }
}

/// Answers as long as it lives: dropping it takes back everything that it changed. It holds on to the namespace itself,
/// so it never touches another that has taken its name. What a killed process has left is taken over.
pub struct Answering {
    namespace: Held,
    entries: Vec<Entry>,
    /// The links whose `proxy_ndp` was off.
    switched_on: BTreeSet<String>,
}

/// A proxy entry, and whether it was there when we last looked.
struct Entry {
    answer: Answer,
    stands: bool,
}

impl Answering {
    /// Begins to answer in the namespace of the calling thread. After an error nothing of it is left.
    pub(crate) fn begin(place: &Place, answers: &[Answer]) -> Result<Self, DeviceError> {
        let namespace = Held::current(&place.namespace)
            .map_err(|cause| DeviceError::step(place, "hold its namespace open", cause))?;
        let mut answering = Self { namespace, entries: Vec::new(), switched_on: BTreeSet::new() };
        for answer in answers {
            answering.entries.push(Entry { answer: answer.clone(), stands: true });
            set(answer, &mut answering.switched_on).map_err(|cause| refusal(place, answer, cause))?;
        }
        for link in &answering.switched_on {
            info!(
                "proxy_ndp of {link} in namespace {} was off: it is on until sidegate stops, so that hosts there are answered",
                label(&place.namespace)
            );
        }
        Ok(answering)
    }

    /// Makes again what the kernel has forgotten, as it does when a link goes down or is replaced.
    pub fn renew(&mut self) {
        let Self { namespace, entries, switched_on } = self;
        let place = label(namespace.path());
        let renew = || {
            for Entry { answer, stands } in entries {
                let is_set = set(answer, switched_on);
                match (&is_set, *stands) {
                    (Err(error), true) => {
                        warn!("hosts are not answered for {answer} in namespace {place} any more: {error}");
                    }
                    (Ok(()), false) => info!("hosts are answered for {answer} in namespace {place} again"),
                    _ => {}
                }
                *stands = is_set.is_ok();
            }
        };
        if let Err(error) = namespace.inside(renew) {
            debug!("{error}");
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Self { namespace, entries, switched_on } = self;
        let place = label(namespace.path());
        let end = || {
            for Entry { answer, .. } in entries {
                if let Err(error) = remove(answer) {
                    warn!("hosts may still be answered for {answer} in namespace {place}: {error}");
                }
            }
            for link in switched_on.iter() {
                if let Err(error) = switch_off(link) {
                    warn!("proxy_ndp of {link} in namespace {place} may still be on: {error}");
                }
            }
        };
        if let Err(error) = namespace.inside(end) {
            warn!("{error}");
        }
    }
}

/// Makes the entry, or finds it made; `switched_on` learns of a link whose `proxy_ndp` was off.
fn set(answer: &Answer, switched_on: &mut BTreeSet<String>) -> io::Result<()> {
    let mut link = Link::find(&answer.link)?;
    if answer.address.is_ipv6() && switch_on(&answer.link)? {
        switched_on.insert(answer.link.clone());
    }
    let mut entry = proxy(&link, answer.address);
    // The kernel lets go of an entry that is not permanent when the carrier is lost.
    entry.header.state = NeighbourState::Permanent;
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    link.netlink.request(RouteNetlinkMessage::NewNeighbour(entry), flags).map(drop)
}

/// Removes the entry; that there is none, or no link, is no error.
fn remove(answer: &Answer) -> io::Result<()> {
    let work = || {
        let mut link = Link::find(&answer.link)?;
        let entry = proxy(&link, answer.address);
        link.netlink.request(RouteNetlinkMessage::DelNeighbour(entry), 0).map(drop)
    };
    unless_gone(work())
}

/// Switches the link's `proxy_ndp` on; says whether it was off.
fn switch_on(link: &str) -> io::Result<bool> {
    let own = ipv6_setting(link, "proxy_ndp");
    for setting in [&ipv6_setting("all", "proxy_ndp"), &own] {
        if fs::read_to_string(setting)?.trim() != "0" {
            return Ok(false);
        }
    }
    fs::write(own, "1")?;
    Ok(true)
}

/// Switches the link's `proxy_ndp` off, unless somebody else still answers there; that there is no link is no error.
fn switch_off(link: &str) -> io::Result<()> {
    let work = || {
        if is_answered_on(&mut Link::find(link)?)? {
            return Ok(());
        }
        fs::write(ipv6_setting(link, "proxy_ndp"), "0")
    };
    unless_gone(work())
}

/// Whether the link has a proxy entry for an IPv6 address.
fn is_answered_on(link: &mut Link) -> io::Result<bool> {
    let mut question = NeighbourMessage::default();
    question.header.family = AddressFamily::Inet6;
    question.header.flags = NeighbourFlags::Proxy;
    let entries = link.netlink.request(RouteNetlinkMessage::GetNeighbour(question), NLM_F_DUMP)?;
    Ok(entries.iter().any(|entry| match entry {
        RouteNetlinkMessage::NewNeighbour(entry) => entry.header.ifindex == link.index,
        _ => false,
    }))
}

fn proxy(link: &Link, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = link.index;
    message.header.flags = NeighbourFlags::Proxy;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    message
}

fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    match done.as_ref().err().and_then(Errno::from_io_error) {
        Some(Errno::NODEV | Errno::NOENT) => Ok(()),
        _ => done,
    }
}

fn refusal(place: &Place, answer: &Answer, cause: io::Error) -> DeviceError {
    match Errno::from_io_error(&cause) {
        Some(Errno::NODEV) => DeviceError::LinkMissing { place: place.clone(), answer: answer.clone() },
        _ => DeviceError::step(place, format!("answer for {answer}"), cause),
    }
}
