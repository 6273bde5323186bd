//! What the trials share: specs, packets, waiting, and a look at the namespace through iproute2's eyes.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use device::lab::Namespace;
use device::{DeviceError, DeviceSpec, OffloadOpener, Offloads, Opened, Opener, PlainOpener, Queue};
use libtest_mimic::Failed;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wire::{FRAME_CAPACITY, Offload};

/// An address routed to the device.
pub(crate) const ROUTED: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// An address of the namespace's own.
pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// One of the ways to open a device, and what is to be seen of it.
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    pub(crate) opener: &'static dyn Opener,
    pub(crate) queues: usize,
    pub(crate) offloads: Offloads,
    /// What `ip -d link` says.
    pub(crate) link: &'static str,
}

pub(crate) const OFFLOAD: Backend = Backend {
    name: "offload",
    opener: &OffloadOpener,
    queues: 2,
    offloads: Offloads::ALL,
    link: "tun type tun pi off vnet_hdr on multi_queue numqueues 2",
};
pub(crate) const PLAIN: Backend = Backend {
    name: "plain",
    opener: &PlainOpener,
    queues: 1,
    offloads: Offloads::NONE,
    link: "tun type tun pi off vnet_hdr off",
};
pub(crate) static BACKENDS: [Backend; 2] = [OFFLOAD, PLAIN];

impl Backend {
    /// A device with a route for [`ROUTED`], and as many queues as there can be, up to two.
    pub(crate) fn spec(&self, namespace: &Namespace) -> DeviceSpec {
        DeviceSpec { queues: self.queues, ..spec(namespace) }
    }

    /// That device.
    pub(crate) fn open(&self, namespace: &Namespace) -> Result<Opened, DeviceError> {
        self.opener.open(&self.spec(namespace))
    }
}

/// A namespace that has [`OWN`].
pub(crate) fn namespace() -> Result<Namespace, Failed> {
    let namespace = Namespace::unique("sg-test")?;
    namespace.address(&[(OWN.into(), 32)])?;
    Ok(namespace)
}

/// A device of two queues with a route for [`ROUTED`].
pub(crate) fn spec(namespace: &Namespace) -> DeviceSpec {
    DeviceSpec {
        name: "sg-test".into(),
        namespace: namespace.path().into(),
        queues: 2,
        mtu: 9001,
        offloads: Offloads::ALL,
        steering: None,
        routed: vec![ROUTED.into()],
        local: Vec::new(),
        answers: Vec::new(),
        answers_may_wait: false,
    }
}

/// What a command that succeeds prints, run in the namespace.
pub(crate) fn run(namespace: &Namespace, command: &str) -> Result<String, Failed> {
    let words = command.split_whitespace();
    let output = Command::new("ip").args(["netns", "exec", namespace.name()]).args(words).output()?;
    if !output.status.success() {
        return Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A packet as a queue gave it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) queue: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: Offload,
}

/// The next packet on any queue that `wanted` wants, within two seconds.
pub(crate) fn receive(
    queues: &mut [Box<dyn Queue>],
    mut wanted: impl FnMut(&Received) -> bool,
) -> Result<Received, Failed> {
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut buffer = vec![0; FRAME_CAPACITY];
    loop {
        for (queue, device) in queues.iter_mut().enumerate() {
            while let Some((length, offload)) = device.read(&mut buffer)? {
                let received = Received { queue, bytes: buffer[..length].to_vec(), offload };
                if wanted(&received) {
                    return Ok(received);
                }
            }
        }
        let left =
            deadline.checked_duration_since(Instant::now()).ok_or("no such packet within two seconds")?;
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut ready: Vec<_> = queues.iter().map(|queue| PollFd::new(queue, PollFlags::IN)).collect();
        poll(&mut ready, Some(&timeout)).map_err(io::Error::from)?;
    }
}

/// An IPv4 packet around a transport header and its payload.
pub(crate) fn ipv4(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, transport: &[u8]) -> Vec<u8> {
    let length = 20 + transport.len() as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let checksum = header_checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(transport);
    packet
}

/// The checksum of an IPv4 header that has none yet.
pub(crate) fn header_checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// A UDP header without a checksum, and its payload.
pub(crate) fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let mut datagram = Vec::new();
    [source, destination, length, 0].iter().for_each(|field| datagram.extend(field.to_be_bytes()));
    datagram.extend(payload);
    datagram
}

/// An address from text.
pub(crate) fn ip(text: &str) -> Result<IpAddr, Failed> {
    Ok(text.parse::<IpAddr>()?)
}
