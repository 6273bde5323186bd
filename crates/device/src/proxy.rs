//! Answering hosts on a link that hold an address of ours to be a neighbour's: `answer_on`.
//!
//! The kernel answers their ARP requests and neighbour solicitations for an address that has a proxy entry on the link,
//! provided that it forwards there; over IPv6, the link's `proxy_ndp` has to be on as well.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use tracing::{debug, info, warn};

use crate::link::{Link, family, ipv6_setting, set_proxy_ndp};
use crate::namespace::{Held, command_in, label};
use crate::netlink::unless_gone;
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

/// Answers as long as it lives: dropping it takes back what it changed. (Not `proxy_ndp` where others are answered for by
/// then; and who found it on leaves it on, so of two instances on a link neither may switch it off.) It holds on to the
/// namespace itself, so it never touches another that has taken its name. What a killed process has left is taken over.
pub(crate) struct Answering {
    place: Place,
    namespace: Arc<Held>,
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
    /// Answers nobody yet.
    pub(crate) fn new(place: &Place, namespace: Arc<Held>) -> Self {
        Self { place: place.clone(), namespace, entries: Vec::new(), switched_on: BTreeSet::new() }
    }

    /// Answers for these as well, in the namespace of the calling thread. Where answers `may_wait`, what stands in their way
    /// is said in the log only.
    pub(crate) fn extend(&mut self, answers: &[Answer], may_wait: bool) -> Result<(), DeviceError> {
        let Self { place, entries, switched_on, .. } = self;
        for answer in answers {
            if entries.iter().any(|entry| entry.answer == *answer) {
                continue;
            }
            let is_set = set(place, answer, switched_on);
            entries.push(Entry { answer: answer.clone(), stands: is_set.is_ok() });
            match is_set {
                Err(error) if may_wait => warn!("{error}"),
                is_set => is_set?,
            }
        }
        Ok(())
    }

    /// Answers for these and no others any more, in the namespace of the calling thread. Returns whether that is so: what
    /// could not be taken back stays, to be tried again.
    pub(crate) fn retain(&mut self, answers: &[Answer]) -> bool {
        let Self { place, entries, switched_on, .. } = self;
        let mut is_all_done = true;
        entries.retain(|Entry { answer, .. }| {
            if answers.contains(answer) {
                return true;
            }
            let removed = remove(answer);
            if let Err(error) = &removed {
                warn!("{place}: hosts may still be answered for {answer}: {error}");
                is_all_done = false;
            }
            removed.is_err()
        });
        let is_used = |link: &String| {
            entries.iter().any(|Entry { answer, .. }| answer.link == *link && answer.address.is_ipv6())
        };
        switched_on.retain(|link| {
            let stays = is_used(link);
            if !stays {
                leave_off(place, link);
            }
            stays
        });
        is_all_done
    }

    /// Makes again what the kernel has forgotten, as it does when a link goes down or is replaced.
    pub(crate) fn renew(&mut self) {
        let Self { place, namespace, entries, switched_on } = self;
        if entries.is_empty() {
            return;
        }
        let renew = || {
            for Entry { answer, stands } in entries {
                let is_set = set(place, answer, switched_on);
                match (&is_set, *stands) {
                    (Err(error), true) => warn!("hosts are not answered any more: {error}"),
                    (Ok(()), false) => {
                        info!("hosts are answered for {answer} in namespace {}", label(&place.namespace));
                    }
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
        if self.entries.is_empty() {
            return;
        }
        let namespace = Arc::clone(&self.namespace);
        if let Err(error) = namespace.inside(|| self.retain(&[])) {
            warn!("{error}");
        }
    }
}

/// Switches the link's `proxy_ndp` off, which was off before us.
fn leave_off(place: &Place, link: &str) {
    let label = label(&place.namespace);
    match switch_off(link) {
        Ok(true) => {}
        Ok(false) => info!(
            "proxy_ndp of {link} in namespace {label} stays on, because hosts are answered for others there; when they are \
             not any more: `{} sysctl -w {}`",
            command_in(&place.namespace),
            set_proxy_ndp(link, 0)
        ),
        Err(error) => warn!("proxy_ndp of {link} in namespace {label} may still be on: {error}"),
    }
}

/// Makes the entry, or finds it made; `switched_on` learns of a link whose `proxy_ndp` was off.
fn set(place: &Place, answer: &Answer, switched_on: &mut BTreeSet<String>) -> Result<(), DeviceError> {
    let mut work = || {
        let link = Link::find(&answer.link)?;
        if answer.address.is_ipv6() && switch_on(&answer.link)? && switched_on.insert(answer.link.clone()) {
            info!(
                "proxy_ndp of {} in namespace {} was off: it is on until sidegate stops, so that hosts there are answered",
                answer.link,
                label(&place.namespace)
            );
        }
        add(link, answer.address)
    };
    work().map_err(|cause| refusal(place, answer, cause))
}

/// Makes the entry, or finds it made.
fn add(mut link: Link, address: IpAddr) -> io::Result<()> {
    let mut entry = proxy(&link, address);
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
    unless_gone(work(), ())
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

/// Switches the link's `proxy_ndp` off, unless somebody else still answers there: says whether it is off now. A link that
/// is not there is no error.
fn switch_off(link: &str) -> io::Result<bool> {
    let work = || {
        if is_answered_on(&mut Link::find(link)?)? {
            return Ok(false);
        }
        fs::write(ipv6_setting(link, "proxy_ndp"), "0").map(|()| true)
    };
    unless_gone(work(), true)
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

fn refusal(place: &Place, answer: &Answer, cause: io::Error) -> DeviceError {
    match Errno::from_io_error(&cause) {
        Some(Errno::NODEV) => DeviceError::LinkMissing { place: place.clone(), answer: answer.clone() },
        Some(Errno::ROFS) => DeviceError::ProxyNdpLocked { place: place.clone(), answer: answer.clone() },
        _ => DeviceError::step(place, format!("answer for {answer}"), cause),
    }
}
