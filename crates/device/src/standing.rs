//! Whether a device still stands: up, and routed to.
//!
//! Its queues do not say. When somebody sets the device down, the kernel takes away its routes, reads find nothing, and
//! setting it up again brings no route back. So the kernel is asked, now and then.

use std::net::IpAddr;

use rustix::io::Errno;
use thiserror::Error;

use crate::link::Link;
use crate::route::{self, Way};

/// Asks about one open device. Its socket belongs to the device's namespace, whatever has become of the namespace's file.
pub struct Standing {
    link: Link,
    routed: Vec<IpAddr>,
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

impl Standing {
    /// Of a device that has just been set up. An address that does not lead there even now, because of a policy rule, is
    /// not asked about.
    pub(crate) fn of(mut link: Link, routed: &[IpAddr]) -> Self {
        let routed = routed.iter().copied().filter(|address| leads_to(&mut link, *address)).collect();
        Self { link, routed }
    }

    /// Finds out whether packets still come to the device.
    pub fn check(&mut self) -> Result<(), Fallen> {
        let Self { link, routed } = self;
        match link.is_up() {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NODEV) => return Err(Fallen::Gone),
            Ok(false) => return Err(Fallen::Down),
            Ok(true) | Err(_) => {}
        }
        match routed.iter().find(|address| !leads_to(link, **address)) {
            Some(address) => Err(Fallen::Unrouted(*address)),
            None => Ok(()),
        }
    }
}

/// Whether packets to the address go to the link.
fn leads_to(link: &mut Link, address: IpAddr) -> bool {
    match route::way(&mut link.netlink, address, None) {
        Ok(Way::Through(device)) => device == link.name,
        _ => false,
    }
}
