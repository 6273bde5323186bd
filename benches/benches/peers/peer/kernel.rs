//! The kernel as a peer: nftables in the middle.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::Lab;

/// How long a list of rules may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Has the kernel forward and rewrite.
pub(super) fn start(lab: &Lab) -> Result<()> {
    lab.middle.set("net/ipv4/ip_forward", "1")?;
    let rules = lab.stage.write("kernel-nat.nft", include_str!("../../../peers/kernel-nat.nft"))?;
    let mut nft = Command::new("nft");
    nft.arg("-f").arg(rules);
    let printed = lab.stage.start(&lab.middle, "nft", nft)?.finish(LIMIT)?;
    ensure!(printed.is_empty(), "nft: {printed}");
    // Tuned as a busy gateway is: at the default of 120 s, a few runs of new connections fill the conntrack table. How large that is
    // (`nf_conntrack_max`, 262,144 as it comes) is for the host to say, and no namespace may raise it: so a run of 10 s and more fills
    // it where 26,000 are made a second, and what finds it full is lost.
    lab.middle.set("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "10")
}
