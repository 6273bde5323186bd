//! sidegate's own operator's file in the peers' benchmark, for each way in which it takes part.

use topology::{DeviceBackend, Path};

/// What differs from one sidegate to the next.
#[derive(Clone, Copy, Debug)]
pub struct SidegateFile<'a> {
    /// The instance's name.
    pub instance: &'a str,
    /// The namespace where clients are.
    pub consumer: &'a str,
    /// The namespace where targets are.
    pub provider: &'a str,
    /// The kind of its devices.
    pub device: DeviceBackend,
    /// Its threads.
    pub workers: u8,
    /// The largest packet.
    pub mtu: u16,
    /// How its TCP listeners carry traffic.
    pub path: Path,
    /// Whether its TCP targets get a header of the proxy protocol.
    pub header: bool,
}

/// IPv4's header and TCP's, without options.
const HEADERS: u16 = 40;

impl SidegateFile<'_> {
    /// All of it.
    pub fn text(&self) -> String {
        let Self { instance, consumer, provider, device, workers, mtu, path, header } = *self;
        include_str!("../peers/sidegate.toml")
            .replace("INSTANCE", instance)
            .replace("CONSUMER", consumer)
            .replace("PROVIDER", provider)
            .replace("DEVICE", device.as_str())
            .replace("WORKERS", &workers.to_string())
            .replace("CEILING", &(mtu - HEADERS).to_string())
            .replace("LARGEST", &mtu.to_string())
            .replace("PATH", path.as_str())
            .replace("HEADER", &header.to_string())
    }
}
