//! The peers: who carries the consumer's traffic to the provider's servers. Their configurations lie in `benches/peers`.
//!
//! Each kind has a file: [`kernel`] for nftables, [`proxies`] for what ends TCP in sockets, [`userspace`] for what has a device in the
//! consumer's namespace and a TCP of its own, [`sidegate`] for the program under test.

mod kernel;
mod proxies;
mod session;
mod sidegate;
mod userspace;

use std::env;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use benches::memory::Memory;
use benches::process::Interrupt;
use clap::ValueEnum;
use wire::PROXY_HEADER_CAPACITY;

use self::proxies::Proxy;
use self::session::Carrier;
use self::sidegate::{NAT, SPLICE, Sidegate, TERMINATE};
use self::userspace::Userspace;
use crate::lab::{CLIENTS, CongestionControl, Lab, Wiring};

pub(crate) use self::proxies::envoy;
pub(crate) use self::session::Session;

/// Who carries the traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Peer {
    /// Nobody: a cable. The limit of the machine.
    Direct,
    /// nftables in the middle: destination NAT and masquerade.
    KernelNat,
    /// HAProxy in the middle, in TCP mode, with larger buffers.
    Haproxy,
    /// The same with the buffers that it has when nobody says anything.
    HaproxyDefault,
    /// nginx in the middle, as a proxy of TCP and UDP.
    NginxStream,
    /// Envoy in the middle, as the same.
    Envoy,
    /// pasta, of podman and others: a device in the consumer's namespace, and sockets in the middle.
    Pasta,
    /// slirp4netns, of rootless containers: the same.
    Slirp4netns,
    /// A TCP of crates.io's in userspace: the same.
    Userstack,
    /// sidegate, on the path that rewrites packets.
    SidegateNat,
    /// The same with the plain device, which has one queue.
    SidegateNatPlain,
    /// The same as `sidegate-nat` with one worker.
    #[value(name = "sidegate-nat-1")]
    SidegateNat1,
    /// The same as `sidegate-nat`, and targets get a header of the proxy protocol.
    SidegateNatHeader,
    /// sidegate, where the handshake is its own and packets pass through after that.
    SidegateSplice,
    /// The same, with a header.
    SidegateSpliceHeader,
    /// sidegate, on the path that ends TCP.
    SidegateTerminate,
    /// The same with one worker.
    #[value(name = "sidegate-terminate-1")]
    SidegateTerminate1,
}

/// What every peer needs to start.
pub(crate) struct Setting {
    /// The program under test.
    pub(crate) sidegate: PathBuf,
    /// What every interface carries at most.
    pub(crate) mtu: u16,
    /// Everyone's congestion control.
    pub(crate) congestion: CongestionControl,
    /// The wish to stop.
    pub(crate) interrupt: Arc<Interrupt>,
}

/// What a session is for. A peer may have one of either at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Run after run.
    Standing,
    /// A single run, for which memory is at rest before the peer starts.
    Single,
}

impl Peer {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 17] = [
        Self::Direct,
        Self::KernelNat,
        Self::Haproxy,
        Self::HaproxyDefault,
        Self::NginxStream,
        Self::Envoy,
        Self::Pasta,
        Self::Slirp4netns,
        Self::Userstack,
        Self::SidegateNat,
        Self::SidegateNatPlain,
        Self::SidegateNat1,
        Self::SidegateNatHeader,
        Self::SidegateSplice,
        Self::SidegateSpliceHeader,
        Self::SidegateTerminate,
        Self::SidegateTerminate1,
    ];

    /// As it is written on the command line and in the table.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::KernelNat => "kernel-nat",
            Self::Haproxy => "haproxy",
            Self::HaproxyDefault => "haproxy-default",
            Self::NginxStream => "nginx-stream",
            Self::Envoy => "envoy",
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
            Self::Userstack => "userstack",
            Self::SidegateNat => "sidegate-nat",
            Self::SidegateNatPlain => "sidegate-nat-plain",
            Self::SidegateNat1 => "sidegate-nat-1",
            Self::SidegateNatHeader => "sidegate-nat-header",
            Self::SidegateSplice => "sidegate-splice",
            Self::SidegateSpliceHeader => "sidegate-splice-header",
            Self::SidegateTerminate => "sidegate-terminate",
            Self::SidegateTerminate1 => "sidegate-terminate-1",
        }
    }

    /// Whether targets get a header of the proxy protocol.
    pub(crate) const fn sends_headers(self) -> bool {
        matches!(self.kind(), Kind::Sidegate(Sidegate { header: true, .. }))
    }

    /// Whether it forwards datagrams too.
    pub(crate) const fn carries_udp(self) -> bool {
        !matches!(self.kind(), Kind::Proxy(Proxy::Haproxy { .. }))
    }

    /// Why it cannot take part on this machine, and what to do about it.
    pub(crate) fn absent(self, setting: &Setting) -> Option<String> {
        let Need { program, remedy } = self.kind().need(setting)?;
        let missing = || format!("{}: {} is not there; {remedy}", self.as_str(), program.display());
        (!is_there(&program)).then(missing)
    }

    /// Builds its lab, starts the HTTP server and the peer, and sees a first request and a first datagram through.
    pub(crate) fn open(self, setting: &Setting, purpose: Purpose) -> Result<Session> {
        let (name, kind) = (purpose.name(self), self.kind());
        let interrupt = Arc::clone(&setting.interrupt);
        let lab = Lab::new(&name, kind.wiring(), setting.mtu, setting.congestion, interrupt)?;
        let server = session::http_server(&lab, self.sends_headers())?;
        let session = Session {
            doors: kind.wiring().doors(),
            clients: kind.clients(),
            header: if self.sends_headers() { PROXY_HEADER_CAPACITY } else { 0 },
            before: match purpose {
                Purpose::Standing => Memory::now(&[])?,
                Purpose::Single => Memory::at_rest(&[], &setting.interrupt)?,
            },
            carrier: kind.start(&name, &lab, setting)?,
            _server: server,
            lab,
        };
        session.try_the_door().with_context(|| format!("{name} is up, but no request comes through"))?;
        if self.carries_udp() {
            session
                .try_a_datagram()
                .with_context(|| format!("{name} carries requests, but no datagram comes through"))?;
        }
        Ok(session)
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Direct => Kind::Cable,
            Self::KernelNat => Kind::Kernel,
            Self::Haproxy => Kind::Proxy(Proxy::Haproxy { buffer: 65_536 }),
            Self::HaproxyDefault => Kind::Proxy(Proxy::Haproxy { buffer: 16_384 }),
            Self::NginxStream => Kind::Proxy(Proxy::NginxStream),
            Self::Envoy => Kind::Proxy(Proxy::Envoy),
            Self::Pasta => Kind::Userspace(Userspace::Pasta),
            Self::Slirp4netns => Kind::Userspace(Userspace::Slirp4netns),
            Self::Userstack => Kind::Userspace(Userspace::Userstack),
            Self::SidegateNat => Kind::Sidegate(NAT),
            Self::SidegateNatPlain => Kind::Sidegate(NAT.plain()),
            Self::SidegateNat1 => Kind::Sidegate(NAT.with_one_worker()),
            Self::SidegateNatHeader => Kind::Sidegate(NAT.with_header()),
            Self::SidegateSplice => Kind::Sidegate(SPLICE),
            Self::SidegateSpliceHeader => Kind::Sidegate(SPLICE.with_header()),
            Self::SidegateTerminate => Kind::Sidegate(TERMINATE),
            Self::SidegateTerminate1 => Kind::Sidegate(TERMINATE.with_one_worker()),
        }
    }
}

impl Purpose {
    /// What tells this peer's lab, and sidegate's instance, from all others.
    fn name(self, peer: Peer) -> String {
        let name = peer.as_str();
        match self {
            Self::Standing => name.to_owned(),
            Self::Single => format!("{name}-once"),
        }
    }
}

/// What a peer is made of.
#[derive(Clone, Copy)]
enum Kind {
    Cable,
    Kernel,
    Proxy(Proxy),
    Userspace(Userspace),
    Sidegate(Sidegate),
}

impl Kind {
    const fn wiring(self) -> Wiring {
        match self {
            Self::Cable => Wiring::Direct,
            Self::Kernel | Self::Proxy(_) => Wiring::ThroughTheMiddle,
            Self::Userspace(_) => Wiring::FromTheMiddle,
            Self::Sidegate(_) => Wiring::Apart,
        }
    }

    const fn clients(self) -> &'static [Ipv4Addr] {
        match self {
            Self::Userspace(userspace) => userspace.clients(),
            Self::Cable | Self::Kernel | Self::Proxy(_) | Self::Sidegate(_) => &CLIENTS,
        }
    }

    fn need(self, setting: &Setting) -> Option<Need> {
        match self {
            Self::Cable => None,
            Self::Kernel => Some(Need::of_tests("nft")),
            Self::Proxy(proxy) => Some(proxy.need()),
            Self::Userspace(userspace) => Some(userspace.need()),
            Self::Sidegate(_) => Some(Need {
                program: setting.sidegate.clone(),
                remedy: "`cargo build --release --package sidegate` builds it",
            }),
        }
    }

    /// Starts what carries the traffic; a cable and the kernel need no program.
    fn start(self, name: &str, lab: &Lab, setting: &Setting) -> Result<Carrier> {
        let program = match self {
            Self::Cable => return Ok(Carrier::Cable),
            Self::Kernel => return kernel::start(lab).map(|()| Carrier::Kernel),
            Self::Proxy(proxy) => proxy.start(lab),
            Self::Userspace(userspace) => userspace.start(lab),
            Self::Sidegate(sidegate) => sidegate.start(name, lab, &setting.sidegate),
        };
        program.map(Carrier::Program)
    }
}

/// A program without which a peer is absent.
struct Need {
    program: PathBuf,
    remedy: &'static str,
}

impl Need {
    /// One that tests need too.
    fn of_tests(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), remedy: "scripts/deps installs it" }
    }

    /// One that nothing else needs.
    fn of_peers(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), remedy: "`scripts/deps --peers` installs it" }
    }
}

/// Whether there is such a file, or, of a mere name, one on PATH.
fn is_there(program: &Path) -> bool {
    if program.components().count() > 1 {
        return program.is_file();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
