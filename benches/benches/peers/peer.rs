//! The peers: who carries the consumer's traffic to the provider's servers. Their configurations lie in `benches/peers`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use benches::bulk;
use benches::process::{Interrupt, Program};
use clap::ValueEnum;
use wire::PROXY_HEADER_CAPACITY;

use crate::connect;
use crate::lab::{CongestionControl, Lab, Wiring};
use crate::work::REQUESTS_PORT;

/// Who carries the traffic.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Nobody: a cable. The limit of the machine.
    Direct,
    /// nftables in the middle: destination NAT and masquerade.
    KernelNat,
    /// HAProxy in the middle, in TCP mode, with larger buffers.
    Haproxy,
    /// The same with the buffers that it has when nobody says anything.
    HaproxyDefault,
    /// nginx in the middle, as a TCP proxy.
    NginxStream,
    /// sidegate, on the path that rewrites packets.
    SidegateNat,
    /// The same, and targets get a header of the proxy protocol.
    SidegateNatHeader,
    /// sidegate, where the handshake is its own and packets pass through after that.
    SidegateSplice,
    /// The same, with a header.
    SidegateSpliceHeader,
    /// sidegate, on the path that ends TCP.
    SidegateTerminate,
}

/// What every peer needs to start.
pub(crate) struct Setting {
    /// The program under test.
    pub(crate) sidegate: PathBuf,
    /// Everyone's congestion control.
    pub(crate) congestion: CongestionControl,
    /// The wish to stop.
    pub(crate) interrupt: Arc<Interrupt>,
}

/// A peer at work: traffic to `door` reaches the servers in the provider's namespace.
pub(crate) struct Session {
    /// The address that the consumer connects to.
    pub(crate) door: Ipv4Addr,
    /// How many bytes targets hear on a connection before the consumer's.
    pub(crate) header: usize,
    /// Ended, in this order, before the lab goes.
    _programs: Vec<Program>,
    /// Where it all happens.
    pub(crate) lab: Lab,
}

impl Peer {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 10] = [
        Self::Direct,
        Self::KernelNat,
        Self::Haproxy,
        Self::HaproxyDefault,
        Self::NginxStream,
        Self::SidegateNat,
        Self::SidegateNatHeader,
        Self::SidegateSplice,
        Self::SidegateSpliceHeader,
        Self::SidegateTerminate,
    ];

    /// As it is written on the command line and in the table.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::KernelNat => "kernel-nat",
            Self::Haproxy => "haproxy",
            Self::HaproxyDefault => "haproxy-default",
            Self::NginxStream => "nginx-stream",
            Self::SidegateNat => "sidegate-nat",
            Self::SidegateNatHeader => "sidegate-nat-header",
            Self::SidegateSplice => "sidegate-splice",
            Self::SidegateSpliceHeader => "sidegate-splice-header",
            Self::SidegateTerminate => "sidegate-terminate",
        }
    }

    /// Whether targets get a header of the proxy protocol.
    pub(crate) const fn sends_headers(self) -> bool {
        matches!(self, Self::SidegateNatHeader | Self::SidegateSpliceHeader)
    }

    /// Builds its lab, starts the HTTP server and the peer, and sees a first request through.
    pub(crate) fn open(self, setting: &Setting) -> Result<Session> {
        let wiring = self.wiring();
        let lab = Lab::new(self.as_str(), wiring, setting.congestion, Arc::clone(&setting.interrupt))?;
        let server = http_server(&lab, self.sends_headers())?;
        let programs = self.start(&lab, &setting.sidegate)?.into_iter().chain([server]).collect();
        let header = if self.sends_headers() { PROXY_HEADER_CAPACITY } else { 0 };
        let session = Session { door: wiring.door(), header, _programs: programs, lab };
        session
            .try_the_door()
            .with_context(|| format!("{} is up, but nothing comes through", self.as_str()))?;
        Ok(session)
    }

    const fn wiring(self) -> Wiring {
        match self {
            Self::Direct => Wiring::Direct,
            Self::KernelNat | Self::Haproxy | Self::HaproxyDefault | Self::NginxStream => {
                Wiring::ThroughTheMiddle
            }
            Self::SidegateNat
            | Self::SidegateNatHeader
            | Self::SidegateSplice
            | Self::SidegateSpliceHeader
            | Self::SidegateTerminate => Wiring::Apart,
        }
    }

    /// Starts what carries the traffic; a cable and the kernel need no program.
    fn start(self, lab: &Lab, sidegate: &Path) -> Result<Option<Program>> {
        match self {
            Self::Direct => Ok(None),
            Self::KernelNat => kernel_nat(lab).map(|()| None),
            Self::Haproxy => haproxy(lab, 65_536).map(Some),
            Self::HaproxyDefault => haproxy(lab, 16_384).map(Some),
            Self::NginxStream => nginx_stream(lab).map(Some),
            Self::SidegateNat | Self::SidegateNatHeader => {
                self.start_sidegate(lab, sidegate, "nat").map(Some)
            }
            Self::SidegateSplice | Self::SidegateSpliceHeader => {
                self.start_sidegate(lab, sidegate, "splice").map(Some)
            }
            Self::SidegateTerminate => self.start_sidegate(lab, sidegate, "terminate").map(Some),
        }
    }

    fn start_sidegate(self, lab: &Lab, binary: &Path, path: &str) -> Result<Program> {
        let file = include_str!("../../peers/sidegate.toml")
            .replace("INSTANCE", &format!("bench-{}-{}", std::process::id(), self.as_str()))
            .replace("CONSUMER", lab.consumer.name())
            .replace("PROVIDER", lab.provider.name())
            .replace("PATH", path)
            .replace("HEADER", &self.sends_headers().to_string());
        let config = lab.stage.write("sidegate.toml", &file)?;
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(config);
        let mut sidegate = lab.stage.start_on_the_host("sidegate", command)?;
        sidegate.until(|sidegate| Ok(sidegate.printed()?.lines().any(|line| line == "ready")))?;
        Ok(sidegate)
    }
}

impl Session {
    /// One request, from the consumer's side.
    fn try_the_door(&self) -> Result<()> {
        const LIMIT: Duration = Duration::from_secs(5);
        let answer = self.lab.consumer.inside(|| {
            let mut stream =
                TcpStream::connect_timeout(&SocketAddr::from((self.door, REQUESTS_PORT)), LIMIT)?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })?;
        if answer.ends_with("through\n") { Ok(()) } else { bail!("the HTTP server answered {answer:?}") }
    }
}

fn http_server(lab: &Lab, expects_headers: bool) -> Result<Program> {
    let header = if expects_headers { "proxy_protocol" } else { "" };
    let file = include_str!("../../peers/nginx-target.conf").replace("HEADER", header);
    let config = lab.stage.write("nginx-target.conf", &file)?;
    let mut server = lab.stage.start(&lab.provider, "nginx-target", nginx(&config))?;
    server.until(|_| lab.provider.listens(&[REQUESTS_PORT]))?;
    Ok(server)
}

fn kernel_nat(lab: &Lab) -> Result<()> {
    lab.middle.set("net/ipv4/ip_forward", "1")?;
    let rules = lab.stage.write("kernel-nat.nft", include_str!("../../peers/kernel-nat.nft"))?;
    let mut nft = Command::new("nft");
    nft.arg("-f").arg(rules);
    lab.stage.start(&lab.middle, "nft", nft)?.finish(Duration::from_secs(5))?;
    // Tuned as a busy gateway is: at the default of 120 s, a few runs of new connections fill the conntrack table.
    lab.middle.set("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "10")
}

fn haproxy(lab: &Lab, buffer: usize) -> Result<Program> {
    let file = include_str!("../../peers/haproxy.cfg").replace("BUFFER", &buffer.to_string());
    let config = lab.stage.write("haproxy.cfg", &file)?;
    let mut haproxy = Command::new("haproxy");
    haproxy.args(["-db", "-f"]).arg(config);
    in_the_middle(lab, "haproxy", haproxy)
}

fn nginx_stream(lab: &Lab) -> Result<Program> {
    let config = lab.stage.write("nginx-stream.conf", include_str!("../../peers/nginx-stream.conf"))?;
    in_the_middle(lab, "nginx-stream", nginx(&config))
}

/// Starts a proxy, and waits until it listens on every port of the work.
fn in_the_middle(lab: &Lab, name: &'static str, command: Command) -> Result<Program> {
    let ports: Vec<u16> = connect::PORTS.into_iter().chain([bulk::PORT, REQUESTS_PORT]).collect();
    let mut proxy = lab.stage.start(&lab.middle, name, command)?;
    proxy.until(|_| lab.middle.listens(&ports))?;
    Ok(proxy)
}

/// nginx with this configuration, and the folder that it lies in for its own files.
fn nginx(config: &Path) -> Command {
    let mut nginx = Command::new("nginx");
    nginx.arg("-c").arg(config);
    if let Some(folder) = config.parent() {
        nginx.arg("-p").arg(folder);
    }
    nginx
}
