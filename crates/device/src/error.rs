//! What can go wrong with a device or a namespace. All of it is the system's refusal, so every sentence says what was
//! refused, where, and what the operator can do about it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::namespace::{command_in, label};
use crate::obstacle::{Attempt, Obstacle};
use crate::{Answer, DeviceSpec, link};

/// A device and the namespace that it is in, or was to be in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The device's name.
    pub device: String,
    /// The namespace's file.
    pub namespace: PathBuf,
}

impl From<&DeviceSpec> for Place {
    fn from(spec: &DeviceSpec) -> Self {
        Self { device: spec.name.clone(), namespace: spec.namespace.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device {} in namespace {}", self.device, label(&self.namespace))
    }
}

/// The system refused.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// The namespace's file is not there.
    #[error("there is no namespace {}; create it with `ip netns add`, or correct its name", label(path))]
    NamespaceMissing {
        /// The namespace's file.
        path: PathBuf,
    },

    /// The file is there, but it is something else.
    #[error(
        "{} is not a network namespace; give a name that `ip netns list` shows, or a path such as /proc/PID/ns/net",
        path.display()
    )]
    NotANamespace {
        /// The file.
        path: PathBuf,
    },

    /// Only the privileged may enter.
    #[error("cannot enter namespace {}: {why}", label(path))]
    EnterRefused {
        /// The namespace's file.
        path: PathBuf,
        /// What stands in the way.
        why: Obstacle,
    },

    /// Entering failed in some other way.
    #[error("entering namespace {} failed: {cause}", label(path))]
    Enter {
        /// The namespace's file.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },

    /// The thread that was to enter a namespace did not start.
    #[error(
        "a thread to enter namespace {} did not start: {cause}; the process may be at its thread limit",
        label(path)
    )]
    Thread {
        /// The namespace's file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },

    /// This process cannot get the privilege to make devices and namespaces.
    #[error(transparent)]
    Privilege(#[from] Obstacle),

    /// Somebody holds a device of this name.
    #[error(
        "{place}: the name is taken, most likely by another sidegate instance of the same name; stop that one, or \
         give this one another `run.name`; or the file names this namespace twice by different paths"
    )]
    Busy {
        /// The device that was asked for.
        place: Place,
    },

    /// A step needs more privilege, or another kernel.
    #[error("{place}: cannot {step}: {why}")]
    Refused {
        /// The device.
        place: Place,
        /// What was being done.
        step: String,
        /// What stands in the way.
        why: Obstacle,
    },

    /// IPv6 is asked for where there is none.
    #[error(
        "{place}: {address} cannot be routed to it, because IPv6 is disabled there; enable it with `{} sysctl -w {}`",
        command_in(&place.namespace),
        link::ENABLE_IPV6
    )]
    Ipv6Disabled {
        /// The device.
        place: Place,
        /// The first IPv6 address that it was to carry.
        address: IpAddr,
    },

    /// There is a route for exactly this address already.
    #[error(
        "{place}: {address} already has a route{}; remove that route, or use another address",
        holder.as_ref().map(|device| format!(" to device {device}")).unwrap_or_default()
    )]
    RouteExists {
        /// The device.
        place: Place,
        /// The address.
        address: IpAddr,
        /// The device that the address is routed to now.
        holder: Option<String>,
    },

    /// The address is assigned in the namespace, so the kernel keeps its packets.
    #[error(
        "{place}: {address} is assigned to an interface of that namespace, so its packets would never reach sidegate; \
         remove it there (`{} ip address`), or use another address",
        command_in(&place.namespace)
    )]
    AddressAssigned {
        /// The device.
        place: Place,
        /// The address.
        address: IpAddr,
    },

    /// The address is the device's own, so the kernel keeps its packets.
    #[error(
        "{place}: {address} is assigned to it, as `local` asks for, so its packets would never reach sidegate; take it out \
         of `local` with one reload, and route it with another some seconds later"
    )]
    StillLocal {
        /// The device.
        place: Place,
        /// The address.
        address: IpAddr,
    },

    /// Hosts are to be answered on a link that is not there.
    #[error(
        "{place}: hosts are to be answered for {answer}, and there is no such link; correct `answer_on` \
         (`{} ip link` shows the links), or make it",
        command_in(&place.namespace)
    )]
    LinkMissing {
        /// The device.
        place: Place,
        /// The address and the link.
        answer: Answer,
    },

    /// Hosts are to be answered over IPv6, and the setting for it cannot be changed from here.
    #[error("{place}: hosts are to be answered for {answer}: {}", link::proxy_ndp_locked(&answer.link))]
    ProxyNdpLocked {
        /// The device.
        place: Place,
        /// The address and the link.
        answer: Answer,
    },

    /// A step failed in some other way.
    #[error("{place}: could not {step}: {cause}")]
    Step {
        /// The device.
        place: Place,
        /// What was being done.
        step: String,
        /// What the kernel said.
        cause: io::Error,
    },

    /// A namespace was to be made where one of that name is.
    #[error(
        "namespace {} exists already; remove it with `ip netns del {}`, or use another name",
        label(path),
        label(path)
    )]
    NamespaceExists {
        /// The namespace's file.
        path: PathBuf,
    },

    /// Not every word can be a namespace's name.
    #[error(
        "`{name}` cannot be the name of a namespace; it becomes a file name, so use letters, digits and dashes"
    )]
    NamespaceName {
        /// The name.
        name: String,
    },

    /// Only the privileged may make a namespace.
    #[error("namespace {}: cannot {step}: {why}", label(path))]
    LabRefused {
        /// The namespace's file.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// What stands in the way.
        why: Obstacle,
    },

    /// A namespace could not be made or set up.
    #[error("namespace {}: could not {step}: {cause}", label(path))]
    Lab {
        /// The namespace's file.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
}

impl DeviceError {
    /// `step` failed on the device at `place`.
    pub(crate) fn step(place: &Place, step: impl Into<String>, cause: io::Error) -> Self {
        Self::at(Attempt::Privileged, place, step.into(), cause)
    }

    /// The driver refused `step` on the device at `place`.
    pub(crate) fn driver(place: &Place, step: impl Into<String>, cause: io::Error) -> Self {
        Self::at(Attempt::Driver, place, step.into(), cause)
    }

    fn at(attempt: Attempt, place: &Place, step: String, cause: io::Error) -> Self {
        let place = place.clone();
        match Obstacle::behind(attempt, &cause) {
            Some(why) => Self::Refused { place, step, why },
            None => Self::Step { place, step, cause },
        }
    }

    /// The namespace at `path` could not be entered.
    pub(crate) fn enter(path: &Path, cause: io::Error) -> Self {
        let path = path.into();
        match Obstacle::behind(Attempt::Privileged, &cause) {
            Some(why) => Self::EnterRefused { path, why },
            None => Self::Enter { path, cause },
        }
    }

    /// `step` failed while a namespace was made.
    pub(crate) fn lab(path: &Path, step: &'static str, cause: io::Error) -> Self {
        let path = path.into();
        match Obstacle::behind(Attempt::Privileged, &cause) {
            Some(why) => Self::LabRefused { path, step, why },
            None => Self::Lab { path, step, cause },
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn place() -> Place {
        Place { device: "sg-orders".into(), namespace: "/run/netns/consumer-a".into() }
    }

    #[test]
    fn a_sentence_says_what_where_and_the_remedy() {
        let taken = DeviceError::RouteExists {
            place: place(),
            address: IpAddr::from([10, 1, 9, 50]),
            holder: Some("sg-other".into()),
        };
        assert_eq!(
            taken.to_string(),
            "device sg-orders in namespace consumer-a: 10.1.9.50 already has a route to device sg-other; remove that \
             route, or use another address"
        );
        let disabled = DeviceError::Ipv6Disabled { place: place(), address: IpAddr::from([0; 16]) };
        let remedy = "`ip netns exec consumer-a sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0`";
        assert!(disabled.to_string().ends_with(remedy), "{disabled}");
    }

    #[test]
    fn lack_of_privilege_is_told_from_other_failures() {
        let denied = DeviceError::step(&place(), "set its MTU", Errno::PERM.into());
        assert!(matches!(denied, DeviceError::Refused { .. }), "{denied}");
        assert!(denied.to_string().contains("namespace consumer-a: cannot set its MTU: "), "{denied}");
        let other = DeviceError::step(&place(), "set its MTU", Errno::BUSY.into());
        assert!(other.to_string().contains("could not set its MTU: Device or resource busy"), "{other}");
    }
}
