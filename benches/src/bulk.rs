//! A bulk TCP stream through whoever is measured, by iperf3.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::cpu::Busy;
use crate::namespace::Namespace;
use crate::readings;
use crate::stage::Stage;

/// Where iperf3's server listens.
pub const PORT: u16 = 5201;

/// How much longer than its own length a run may take.
const GRACE: Duration = Duration::from_secs(10);

/// From where to where.
pub struct Bulk<'a> {
    /// Where the client runs.
    pub consumer: &'a Namespace,
    /// What it connects to.
    pub door: IpAddr,
    /// Where the server runs.
    pub provider: &'a Namespace,
    /// What it listens on.
    pub target: IpAddr,
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Bits per second that arrived.
    pub rate: f64,
    /// How long all cores together were busy, from the client's start to its end.
    pub busy: Duration,
}

impl Bulk<'_> {
    /// A run of this length; `how` goes to the client.
    pub fn run(&self, stage: &Stage, length: Duration, how: &[&str]) -> Result<Transfer> {
        let port = PORT.to_string();
        // A server for each run: one that still clears up after the run before would say that it is busy.
        let mut server = Command::new("iperf3");
        server.args(["--server", "--bind", &self.target.to_string(), "--port", &port]);
        let mut server = stage.start(self.provider, "iperf3-server", server)?;
        server.until(|_| self.provider.listens(&[PORT]))?;

        let mut client = Command::new("iperf3");
        client.args(["--client", &self.door.to_string(), "--port", &port, "--connect-timeout", "3000"]);
        client.args(["--time", &length.as_secs().to_string(), "--json"]).args(how);
        let before = Busy::now()?;
        let client = stage.start(self.consumer, "iperf3-client", client)?;
        let printed = client.finish_even_failed(length + GRACE)?;
        let busy = Busy::now()?.since(before);
        Ok(Transfer { rate: readings::iperf3(&printed)?, busy })
    }
}
