//! Opening a device, in the order that the kernel wants: what the backends share, and the `offload` backend.

use tracing::{debug, info};

use crate::link::Link;
use crate::queue::TunQueue;
use crate::{
    DeviceError, DeviceSpec, Hold, Offloads, Opened, Opener, Place, Queue, namespace, offloads, tun,
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
        let link = Link::find(&spec.name).map_err(|cause| DeviceError::step(&place, "find it", cause))?;
        let mut setup = Setup { spec, place, link };
        setup.settings()?;
        let offloads = negotiate(&mut queues);
        let mut hold = Hold::of(&setup.place, setup.link, &queues)?;
        let steering = hold.steer(spec.steering);
        hold.add(spec)?;
        debug!(device = spec.name, namespace = %namespace::label(&spec.namespace), %offloads, %steering, "device is up");
        let queues = queues.into_iter().map(|queue| Box::new(queue) as Box<dyn Queue>).collect();
        Ok(Opened { queues, name: spec.name.clone(), offloads, steering, namespace, hold: Some(hold) })
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
        }
        self.step("bring it up", Link::up)
    }

    fn step(
        &mut self,
        step: impl Into<String>,
        work: impl FnOnce(&mut Link) -> std::io::Result<()>,
    ) -> Result<(), DeviceError> {
        work(&mut self.link).map_err(|cause| DeviceError::step(&self.place, step, cause))
    }
}
