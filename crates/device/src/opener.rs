//! Opening a device, in the order that the kernel wants: what the backends share, and the `offload` backend.

use std::net::IpAddr;

use rustix::io::Errno;
use tracing::{debug, info};

use crate::link::{Link, host_prefix};
use crate::queue::TunQueue;
use crate::route::{self, Way};
use crate::{
    Answering, DeviceError, DeviceSpec, Offloads, Opened, Opener, Place, Queue, Standing, namespace,
    offloads, steering, tun,
};

/// Opens multi-queue TUNs whose super-packets pass through whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct OffloadOpener;

impl Opener for OffloadOpener {
    fn open(&self, spec: &DeviceSpec) -> Result<Opened, DeviceError> {
        let create = |place: &Place| {
            let queues = tun::create(place, spec.queues)?;
            Ok(queues.into_iter().map(TunQueue::new).collect())
        };
        open(spec, create, |queues| offloads::negotiate(&spec.name, spec.offloads, queues))
    }
}

/// Opens a device in its namespace: `create` makes it, and `negotiate` agrees on its offloads once it is up. Whatever
/// fails, dropping the queues undoes all of it.
pub(crate) fn open<Q: Queue + 'static>(
    spec: &DeviceSpec,
    create: impl FnOnce(&Place) -> Result<Vec<Q>, DeviceError> + Send,
    negotiate: impl FnOnce(&mut [Q]) -> Offloads + Send,
) -> Result<Opened, DeviceError> {
    namespace::visit(&spec.namespace, |namespace| {
        let place = Place::from(spec);
        let mut queues = create(&place)?;
        let steering = steering::steer(&queues, spec.steering);
        let link = Link::find(&spec.name).map_err(|cause| DeviceError::step(&place, "find it", cause))?;
        let mut setup = Setup { spec, place, link };
        setup.settings()?;
        let offloads = negotiate(&mut queues);
        setup.addresses()?;
        setup.routes()?;
        let answering = setup.answering()?;
        debug!(device = spec.name, namespace = %namespace::label(&spec.namespace), %offloads, %steering, "device is up");
        let queues = queues.into_iter().map(|queue| Box::new(queue) as Box<dyn Queue>).collect();
        let standing = Some(Standing::of(setup.link, &spec.routed));
        Ok(Opened { queues, name: spec.name.clone(), offloads, steering, namespace, standing, answering })
    })?
}

/// A device on its way up.
struct Setup<'a> {
    spec: &'a DeviceSpec,
    place: Place,
    link: Link,
}

impl Setup<'_> {
    /// Everything about the interface itself; the order matters, and all of it comes before it is up.
    fn settings(&mut self) -> Result<(), DeviceError> {
        let DeviceSpec { mtu, queues, .. } = *self.spec;
        self.step("take away its queueing discipline", Link::without_queueing)?;
        self.step("set its MTU and queue length", |link| link.size(mtu, queues))?;
        if self.link.has_ipv6() {
            self.step("keep it without a link-local address", Link::without_link_local)?;
            if let Err(error) = self.link.ignore_routers() {
                // Containers often have /proc/sys read-only. Without a link-local address little comes of it.
                info!(device = self.spec.name, %error, "cannot turn router discovery off on the device");
            }
        } else if let Some(address) = self.spec.routed.iter().chain(&self.spec.local).find(|a| a.is_ipv6()) {
            return Err(DeviceError::Ipv6Disabled { place: self.place.clone(), address: *address });
        }
        self.step("bring it up", Link::up)
    }

    fn addresses(&mut self) -> Result<(), DeviceError> {
        self.spec.local.iter().try_for_each(|address| {
            self.step(format!("assign {address} to it"), |link| link.assign(*address, host_prefix(*address)))
        })
    }

    fn routes(&mut self) -> Result<(), DeviceError> {
        self.spec.routed.iter().try_for_each(|address| self.route(*address))
    }

    fn route(&mut self, address: IpAddr) -> Result<(), DeviceError> {
        let preferred = self.spec.local.iter().copied().find(|local| local.is_ipv4() == address.is_ipv4());
        match route::add(&mut self.link, address, preferred) {
            Ok(()) => self.not_assigned(address),
            Err(cause) if Errno::from_io_error(&cause) == Some(Errno::EXIST) => {
                let holder = match route::way(&mut self.link.netlink, address, None) {
                    Ok(Way::Through(device)) => Some(device),
                    _ => None,
                };
                Err(DeviceError::RouteExists { place: self.place.clone(), address, holder })
            }
            Err(cause) => Err(DeviceError::step(&self.place, format!("route {address} to it"), cause)),
        }
    }

    /// An assigned address wins over every route: its packets would never get here.
    fn not_assigned(&mut self, address: IpAddr) -> Result<(), DeviceError> {
        match route::way(&mut self.link.netlink, address, None) {
            Ok(Way::Local) => Err(DeviceError::AddressAssigned { place: self.place.clone(), address }),
            _ => Ok(()),
        }
    }

    fn answering(&self) -> Result<Option<Answering>, DeviceError> {
        let DeviceSpec { answers, answers_may_wait, .. } = self.spec;
        (!answers.is_empty()).then(|| Answering::begin(&self.place, answers, *answers_may_wait)).transpose()
    }

    fn step(
        &mut self,
        step: impl Into<String>,
        work: impl FnOnce(&mut Link) -> std::io::Result<()>,
    ) -> Result<(), DeviceError> {
        work(&mut self.link).map_err(|cause| DeviceError::step(&self.place, step, cause))
    }
}
