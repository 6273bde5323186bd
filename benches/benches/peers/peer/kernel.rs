//! The kernel as a peer: nftables in the middle.

use anyhow::Result;

use crate::lab::Lab;

/// Has the kernel forward and rewrite.
pub(super) fn start(lab: &Lab) -> Result<()> {
    lab.middle.set("net/ipv4/ip_forward", "1")?;
    lab.stage.give_rules(&lab.middle, include_str!("../../../peers/kernel-nat.nft"))?;
    // Tuned as a busy gateway is: at the default of 120 s, a few runs of new connections fill the conntrack table. How large that is
    // (`nf_conntrack_max`, 262,144 as it comes) is for the host to say, and no namespace may raise it: so a run of 10 s and more fills
    // it where 26,000 are made a second. What finds it full is lost; `Session::with_room` sees to it that such a run has failed.
    lab.middle.set("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "10")
}
