//! Which devices a worker has a queue of.

use topology::DeviceId;

/// The devices that frames can leave by. One that was never heard of is not attached.
#[derive(Default)]
pub(crate) struct Attached(Vec<bool>);

impl Attached {
    /// Whether frames can leave by this device.
    #[inline]
    pub(crate) fn has(&self, device: DeviceId) -> bool {
        self.0.get(device.index()).is_some_and(|attached| *attached)
    }

    /// Frames can leave by this device from now on, or no longer.
    pub(crate) fn set(&mut self, device: DeviceId, attached: bool) {
        if device.index() >= self.0.len() {
            self.0.resize(device.index() + 1, false);
        }
        self.0[device.index()] = attached;
    }
}
