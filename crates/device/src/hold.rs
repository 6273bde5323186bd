//! The hold on an open device: it looks after what leads there, and changes that while packets flow.
//!
//! The device's queues do not say whether anything comes any more. When somebody sets the device down, the kernel takes
//! away its routes, reads find nothing, and setting it up again brings no route back. So the kernel is asked, now and then.
//!
//! What leads to the device changes in two steps, so that nothing that stays is disturbed, and nothing is lost in between:
//! [`Hold::widen`] adds what is wanted, and may fail; [`Hold::narrow`] takes away what is not. The second undoes the first,
//! when it is told what was wanted before.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use thiserror::Error;
use tracing::warn;

use crate::link::{Link, host_prefix};
use crate::namespace::Held;
use crate::netlink::unless_gone;
use crate::proxy::Answering;
use crate::route::{self, Way};
use crate::{DeviceError, DeviceSpec, Place, Steered, Steering, steering};

/// Holds an open device. It keeps to the device's namespace, whatever has become of the namespace's file; the device is
/// gone only once this is dropped as well as the queues.
pub struct Hold {
    place: Place,
    namespace: Arc<Held>,
    link: Link,
    routes: BTreeMap<IpAddr, Route>,
    local: BTreeSet<IpAddr>,
    answering: Answering,
    /// The first queue, by which the driver is told about all of them.
    queue: OwnedFd,
    queues: usize,
}

/// A route to the device.
struct Route {
    preferred: Option<IpAddr>,
    /// Whether packets take it. Because of a policy rule they may not, and then nobody is ever asked about it.
    leads: bool,
}

/// Why packets do not come to a device any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Fallen {
    /// It is not in its namespace any more.
    #[error("it was removed, or moved to another namespace")]
    Gone,
    /// It is down.
    #[error("it was set down")]
    Down,
    /// An address leads elsewhere by now, or nowhere.
    #[error("{0} is not routed to it any more, as after it was set down")]
    Unrouted(IpAddr),
}

impl Hold {
    /// Of a device that is up and that nothing leads to yet, in the namespace of the calling thread.
    pub(crate) fn of(place: &Place, link: Link, queues: &[impl AsFd]) -> Result<Self, DeviceError> {
        let held = |cause| DeviceError::step(place, "hold it and its namespace open", cause);
        let namespace = Arc::new(Held::current(&place.namespace).map_err(held)?);
        let first = queues.first().ok_or_else(|| held(io::ErrorKind::NotFound.into()))?;
        Ok(Self {
            place: place.clone(),
            answering: Answering::new(place, Arc::clone(&namespace)),
            namespace,
            link,
            routes: BTreeMap::new(),
            local: BTreeSet::new(),
            queue: first.as_fd().try_clone_to_owned().map_err(held)?,
            queues: queues.len(),
        })
    }

    /// Finds out whether packets still come to the device; renews what the kernel has forgotten beside it.
    pub fn keep(&mut self) -> Result<(), Fallen> {
        let Self { link, routes, answering, .. } = self;
        match link.is_up() {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NODEV) => return Err(Fallen::Gone),
            Ok(false) => return Err(Fallen::Down),
            Ok(true) | Err(_) => {}
        }
        let unrouted = routes.iter().find(|(address, route)| route.leads && !leads_to(link, **address));
        if let Some((address, _)) = unrouted {
            return Err(Fallen::Unrouted(*address));
        }
        answering.renew();
        Ok(())
    }

    /// Adds what the spec wants to lead to the device and does not yet. After an error, part of it may: narrowing the
    /// device to what it had before takes that away.
    pub fn widen(&mut self, spec: &DeviceSpec) -> Result<(), DeviceError> {
        let namespace = Arc::clone(&self.namespace);
        namespace.inside(|| self.add(spec))?
    }

    /// Takes away what leads to the device and is not in the spec. Returns whether all of it is gone: what cannot be taken
    /// away is said in the log, and is tried again the next time.
    pub fn narrow(&mut self, spec: &DeviceSpec) -> bool {
        let namespace = Arc::clone(&self.namespace);
        namespace.inside(|| self.remove_all_but(spec)).unwrap_or_else(|error| {
            warn!("{error}");
            false
        })
    }

    /// Has the packets find their queues in this way from now on; `None` leaves it as it is. Those that are in a queue stay
    /// there.
    pub fn steer(&self, wanted: Option<Steering>) -> Steered {
        steering::steer(&self.queue, self.queues, wanted)
    }

    /// As [`Hold::widen`], in the namespace of the calling thread.
    pub(crate) fn add(&mut self, spec: &DeviceSpec) -> Result<(), DeviceError> {
        let mut wanted = spec.routed.iter().chain(&spec.local);
        if let Some(address) = wanted.find(|address| address.is_ipv6())
            && !self.link.has_ipv6()
        {
            return Err(DeviceError::Ipv6Disabled { place: self.place.clone(), address: *address });
        }
        for address in &spec.local {
            self.assign(*address)?;
        }
        for address in &spec.routed {
            self.route(*address, preferred_source(spec, *address))?;
        }
        self.answering.extend(&spec.answers, spec.answers_may_wait)
    }

    fn assign(&mut self, address: IpAddr) -> Result<(), DeviceError> {
        if !self.local.contains(&address) {
            let assigned = self.link.assign(address, host_prefix(address));
            assigned.map_err(|cause| self.failed(format!("assign {address} to it"), cause))?;
            self.local.insert(address);
        }
        Ok(())
    }

    fn route(&mut self, address: IpAddr, preferred: Option<IpAddr>) -> Result<(), DeviceError> {
        match self.routes.get_mut(&address) {
            Some(route) => prefer(&mut self.link, address, route, preferred)
                .map_err(|cause| self.failed(format!("route {address} to it anew"), cause)),
            None => self.new_route(address, preferred),
        }
    }

    fn new_route(&mut self, address: IpAddr, preferred: Option<IpAddr>) -> Result<(), DeviceError> {
        if self.local.contains(&address) {
            return Err(DeviceError::StillLocal { place: self.place.clone(), address });
        }
        let added = route::add(&mut self.link, address, preferred);
        let way = route::way(&mut self.link.netlink, address, None);
        match (added, way) {
            (Err(cause), way) if Errno::from_io_error(&cause) == Some(Errno::EXIST) => {
                let holder = match way {
                    Ok(Way::Through(device)) => Some(device),
                    _ => None,
                };
                Err(DeviceError::RouteExists { place: self.place.clone(), address, holder })
            }
            (Err(cause), _) => Err(self.failed(format!("route {address} to it"), cause)),
            (Ok(()), way) => {
                let leads = matches!(&way, Ok(Way::Through(device)) if *device == self.link.name);
                self.routes.insert(address, Route { preferred, leads });
                // An assigned address wins over every route: its packets would never get here.
                let is_assigned = matches!(way, Ok(Way::Local));
                let refusal = || DeviceError::AddressAssigned { place: self.place.clone(), address };
                if is_assigned { Err(refusal()) } else { Ok(()) }
            }
        }
    }

    /// As [`Hold::narrow`], in the namespace of the calling thread.
    fn remove_all_but(&mut self, spec: &DeviceSpec) -> bool {
        let Self { place, link, routes, local, answering, .. } = self;
        let mut is_all_done = answering.retain(&spec.answers);
        let mut is_done = |what: &str, done: io::Result<()>| {
            let failed = done.inspect_err(|error| warn!("{place}: could not {what}: {error}")).is_err();
            is_all_done &= !failed;
            !failed
        };
        let wanted: BTreeSet<IpAddr> = spec.routed.iter().copied().collect();
        routes.retain(|&address, route| {
            if wanted.contains(&address) {
                let preferred = preferred_source(spec, address);
                is_done(&format!("route {address} to it as before"), prefer(link, address, route, preferred));
                return true;
            }
            !is_done(&format!("remove the route to {address}"), unless_gone(route::remove(link, address), ()))
        });
        // A route goes with the address that it prefers as source: so these come last.
        local.retain(|&address| {
            let mut unassign = || unless_gone(link.unassign(address, host_prefix(address)), ());
            spec.local.contains(&address) || !is_done(&format!("remove the address {address}"), unassign())
        });
        is_all_done
    }

    fn failed(&self, step: String, cause: io::Error) -> DeviceError {
        DeviceError::step(&self.place, step, cause)
    }
}

/// The source of packets to an address, unless they have one.
fn preferred_source(spec: &DeviceSpec, address: IpAddr) -> Option<IpAddr> {
    spec.local.iter().copied().find(|local| local.is_ipv4() == address.is_ipv4())
}

/// Has a route prefer another source, if it does not yet. At no moment is there no route.
fn prefer(link: &mut Link, address: IpAddr, route: &mut Route, preferred: Option<IpAddr>) -> io::Result<()> {
    if route.preferred != preferred {
        route::replace(link, address, preferred)?;
        route.preferred = preferred;
    }
    Ok(())
}

/// Whether packets to the address go to the link.
fn leads_to(link: &mut Link, address: IpAddr) -> bool {
    match route::way(&mut link.netlink, address, None) {
        Ok(Way::Through(device)) => device == link.name,
        _ => false,
    }
}
