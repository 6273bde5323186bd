//! What cannot change in a running process: the settings of `[run]`, `[flows]` and `[terminate]`.

use crate::file::Size;
use crate::{FlowLimits, Run, TerminateLimits, Topology};

impl Topology {
    /// Which settings `new` has otherwise, though a running process keeps those that it has begun with: a sentence for
    /// each.
    pub fn unchangeable(&self, new: &Self) -> Vec<String> {
        let pairs = self.fixed().into_iter().zip(new.fixed());
        let changed = pairs.filter(|((_, old), (_, new))| old != new);
        changed.map(|((key, old), (_, new))| format!("{key} is {old}, and would become {new}")).collect()
    }

    /// Every setting that is fixed, as it is shown.
    fn fixed(&self) -> [(&'static str, String); 13] {
        let Run {
            name,
            workers,
            device,
            steering,
            mtu,
            mss_ceiling,
            icmp,
            time_scale,
            pin,
            propagation_delay: _, // can change
        } = &self.run;
        let FlowLimits { capacity, ports, expiry } = self.flows;
        let TerminateLimits { memory } = self.terminate;
        [
            ("run.name", name.clone()),
            ("run.workers", workers.map_or("one per core".into(), |count| count.to_string())),
            ("run.device", device.as_str().into()),
            ("run.steering", steering.as_str().into()),
            ("run.mtu", mtu.to_string()),
            ("run.mss_ceiling", mss_ceiling.to_string()),
            ("run.icmp", icmp.as_str().into()),
            ("run.time_scale", time_scale.to_string()),
            ("run.pin", pin.to_string()),
            ("flows.capacity", capacity.to_string()),
            ("flows.ports", ports.to_string()),
            ("flows.expiry", expiry.as_str().into()),
            ("terminate.memory", Size(memory).to_string()),
        ]
    }
}
