//! `[run]`, `[flows]` and `[terminate]`: how the instance runs, and its name where the file gives none.

use std::path::PathBuf;
use std::time::Duration;

use super::names::{MAX_INSTANCE, instance, is_name_character};
use super::size::Size;
use super::tree::{Bounds, Keys, Table};
use crate::problem::Read;
use crate::{DeviceBackend, Expiry, FlowLimits, IcmpPolicy, Run, Steering, TerminateLimits};

/// Where a topology comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    path: PathBuf,
}

impl Origin {
    /// The file with this path, which should be canonical: the instance's default name derives from it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// What an instance is called whose file gives no `run.name`: the file's stem, and a hash of the whole path that
    /// tells files with one stem apart.
    pub fn default_name(&self) -> String {
        let hash = fnv1a(self.path.as_os_str().as_encoded_bytes());
        let digest = format!("-{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff));
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let plain = |character| if is_name_character(character) { character } else { '-' };
        let stem: String =
            stem.trim_start_matches('.').chars().map(plain).take(MAX_INSTANCE - digest.len()).collect();
        let stem = if stem.is_empty() { "sidegate" } else { &stem };
        format!("{stem}{digest}")
    }
}

const MTU: Bounds<u16> = Bounds {
    what: "an MTU of the path",
    range: 1280..=9000,
    why: ": IPv6 needs 1280, and the devices themselves carry 9001",
};
const WORKERS: Bounds<usize> = Bounds { what: "a number of workers", range: 1..=64, why: "" };
const TIME_SCALE: Bounds<u32> = Bounds { what: "a factor for idle time-outs", range: 1..=1000, why: "" };
const PORTS: Bounds<usize> =
    Bounds { what: "a number of source ports", range: 1..=55_000, why: ": the real thing has 55000" };
const DELAY: Bounds<u64> =
    Bounds { what: "a delay of what a reload changes, in seconds", range: 0..=3600, why: "" };
const CAPACITY: Bounds<usize> = Bounds { what: "a number of flows", range: 1024..=16_777_216, why: "" };
const MEMORY: Bounds<Size> =
    Bounds { what: "an amount of memory", range: Size::mib(16)..=Size::mib(1 << 20), why: "" };

const DEVICES: [(&str, DeviceBackend); 2] =
    [("offload", DeviceBackend::Offload), ("plain", DeviceBackend::Plain)];

const DEFAULT_MTU: u16 = 8500;
const DEFAULT_CAPACITY: usize = 262_144;
const DEFAULT_MEMORY: Size = Size::mib(1024);
/// How far the real thing's MSS ceiling (8365) lies below its MTU (8500).
const MSS_BELOW_MTU: u16 = 135;
/// The least that a segment takes of the MTU for itself, over IPv4: its two headers.
const TCP_IPV4_HEADERS: u16 = 40;

const RUN_KEYS: Keys = &[
    "name",
    "workers",
    "pin",
    "device",
    "steering",
    "mtu",
    "mss_ceiling",
    "icmp",
    "time_scale",
    "propagation_delay",
];
const FLOWS_KEYS: Keys = &["capacity", "ports", "expiry"];
const TERMINATE_KEYS: Keys = &["memory"];

/// `[run]`, with defaults for what it leaves out.
pub(super) fn read_run(root: &Table<'_>, origin: &Origin) -> Read<Run> {
    let table = root.section("run", RUN_KEYS);
    let name = table.optional("name", instance);
    let device = table.optional("device", |value| value.word(&DEVICES, &[]));
    let device = device.map(|device| device.unwrap_or(DeviceBackend::Offload));
    // A device that cannot be read is not held against the workers.
    let workers = read_workers(&table, device.unwrap_or(DeviceBackend::Offload));
    let steering = table.optional("steering", |value| {
        value.word(&[("flow", Steering::Flow), ("kernel", Steering::Kernel)], &[])
    });
    let mtu = table.optional("mtu", |value| value.integer(&MTU)).map(|mtu| mtu.unwrap_or(DEFAULT_MTU));
    // An MTU that cannot be read is not held against the ceiling.
    let within = mss_ceilings(mtu.unwrap_or(*MTU.range.end()));
    let mss_ceiling = table.optional("mss_ceiling", |value| value.integer(&within));
    let icmp = table.optional("icmp", |value| {
        value.word(&[("faithful", IcmpPolicy::Faithful), ("helpful", IcmpPolicy::Helpful)], &[])
    });
    let time_scale = table.optional("time_scale", |value| value.integer(&TIME_SCALE));
    let propagation_delay = table.optional("propagation_delay", |value| value.integer(&DELAY));
    let pin = table.optional("pin", |value| value.boolean());
    let mtu = mtu?;
    Ok(Run {
        name: name?.unwrap_or_else(|| origin.default_name()),
        workers: workers?,
        device: device?,
        steering: steering?.unwrap_or(Steering::Flow),
        mtu,
        mss_ceiling: mss_ceiling?.unwrap_or(mtu - MSS_BELOW_MTU),
        icmp: icmp?.unwrap_or(IcmpPolicy::Faithful),
        time_scale: time_scale?.unwrap_or(1),
        propagation_delay: Duration::from_secs(propagation_delay?.unwrap_or(0)),
        pin: pin?.unwrap_or(false),
    })
}

/// How many workers there are to be, if the file says so or the device has only one queue.
fn read_workers(table: &Table<'_>, device: DeviceBackend) -> Read<Option<usize>> {
    table
        .optional("workers", |value| match (value.integer(&WORKERS)?, device) {
            (workers @ 2.., DeviceBackend::Plain) => Err(value.refuse(
                format!("{workers} workers cannot share the one queue of a plain device"),
                "remove the key, or set run.device to \"offload\"",
            )),
            (workers, _) => Ok(workers),
        })
        .map(|workers| workers.or((device == DeviceBackend::Plain).then_some(1)))
}

/// The ceilings that an MTU has room for: a larger one would let through what does not fit.
fn mss_ceilings(mtu: u16) -> Bounds<u16> {
    Bounds {
        what: "an MSS ceiling for this MTU",
        range: 536..=mtu - TCP_IPV4_HEADERS,
        why: ": the least that IPv4 promises, and 40 less than run.mtu",
    }
}

/// `[flows]`, with defaults for what it leaves out.
pub(super) fn read_flows(root: &Table<'_>) -> Read<FlowLimits> {
    let table = root.section("flows", FLOWS_KEYS);
    let capacity = table.optional("capacity", |value| value.integer(&CAPACITY));
    let ports = table.optional("ports", |value| value.integer(&PORTS));
    let expiry = table
        .optional("expiry", |value| value.word(&[("silent", Expiry::Silent), ("reset", Expiry::Reset)], &[]));
    Ok(FlowLimits {
        capacity: capacity?.unwrap_or(DEFAULT_CAPACITY),
        ports: ports?.unwrap_or(*PORTS.range.end()),
        expiry: expiry?.unwrap_or(Expiry::Silent),
    })
}

/// `[terminate]`, with defaults for what it leaves out.
pub(super) fn read_terminate(root: &Table<'_>) -> Read<TerminateLimits> {
    let table = root.section("terminate", TERMINATE_KEYS);
    let memory = table.optional("memory", |value| value.size(&MEMORY));
    Ok(TerminateLimits { memory: memory?.unwrap_or(DEFAULT_MEMORY).0 })
}

/// FNV-1a in 64 bits: short, and the same in every version of sidegate.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
