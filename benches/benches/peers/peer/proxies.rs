//! Proxies as peers: in the middle, with a socket to either side. Their files say what they do.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use benches::bulk;
use benches::process::Program;

use super::Need;
use crate::lab::Lab;
use crate::{connect, idle, requests};

/// Where `scripts/deps --peers` puts Envoy, which Debian has not.
const FETCHED_ENVOY: &str = "target/peers/envoy";

/// Which proxy.
#[derive(Clone, Copy)]
pub(super) enum Proxy {
    /// HAProxy, with buffers of so many bytes.
    Haproxy { buffer: u32 },
    /// nginx's stream module.
    NginxStream,
    /// Envoy.
    Envoy,
}

impl Proxy {
    pub(super) fn need(self) -> Need {
        match self {
            Self::Haproxy { .. } => Need::of_tests("haproxy"),
            Self::NginxStream => Need::of_tests("nginx"),
            Self::Envoy => Need::of_peers(envoy()),
        }
    }

    /// Starts it, and waits until it listens on every port of the work.
    pub(super) fn start(self, lab: &Lab) -> Result<Program> {
        let ports: Vec<u16> =
            connect::PORTS.into_iter().chain([bulk::PORT, requests::PORT, idle::PORT]).collect();
        let (name, command) = self.command(lab)?;
        let mut proxy = lab.stage.start(&lab.middle, name, command)?;
        proxy.until(|_| lab.middle.listens(&ports))?;
        Ok(proxy)
    }

    fn command(self, lab: &Lab) -> Result<(&'static str, Command)> {
        match self {
            Self::Haproxy { buffer } => {
                let file = include_str!("../../../peers/haproxy.cfg").replace("BUFFER", &buffer.to_string());
                let mut haproxy = Command::new("haproxy");
                haproxy.args(["-db", "-f"]).arg(lab.stage.write("haproxy.cfg", &file)?);
                Ok(("haproxy", haproxy))
            }
            Self::NginxStream => {
                let file = include_str!("../../../peers/nginx-stream.conf");
                Ok(("nginx-stream", nginx(&lab.stage.write("nginx-stream.conf", file)?)))
            }
            Self::Envoy => {
                let file = include_str!("../../../peers/envoy.yaml");
                let mut envoy = Command::new(envoy());
                // Both cores; no shared memory for a successor to take over from; nothing to say unless it is wrong.
                envoy.args(["--concurrency", "2", "--disable-hot-restart", "--log-level", "error"]);
                envoy.arg("--config-path").arg(lab.stage.write("envoy.yaml", file)?);
                Ok(("envoy", envoy))
            }
        }
    }
}

/// Envoy: the one that has been fetched, or another one on PATH.
pub(crate) fn envoy() -> PathBuf {
    let fetched = Path::new(FETCHED_ENVOY);
    if fetched.is_file() { fetched.to_owned() } else { PathBuf::from("envoy") }
}

/// nginx with this configuration, and the folder that it lies in for its own files.
pub(super) fn nginx(config: &Path) -> Command {
    let mut nginx = Command::new("nginx");
    nginx.arg("-c").arg(config);
    if let Some(folder) = config.parent() {
        nginx.arg("-p").arg(folder);
    }
    nginx
}
