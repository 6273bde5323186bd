//! Verdicts: what became of a packet, and why. Counters, taps and `explain` read nothing else.

use flow::FlowId;
use topology::InterfaceId;

/// What became of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Why.
    pub reason: Reason,
    /// The endpoint's interface that it concerns, where one is known.
    pub interface: Option<InterfaceId>,
    /// The flow that it belongs to, where there is one.
    pub flow: Option<FlowId>,
}

/// What kind of end a [`Reason`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It went where it was meant to go.
    Carried,
    /// It went no further, and its sender was told.
    Answered,
    /// It waits: its end is counted when that comes.
    Kept,
    /// It asked for nothing.
    Ignored,
    /// It was dropped.
    Dropped,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal, $outcome:ident, $remedy:literal;)+) => {
        /// Why a frame ended as it did.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// All of them, in the order in which they are shown.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// Its name in counters.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// What kind of end it is.
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$name => Outcome::$outcome,)+ }
            }

            /// What the operator can do about it; empty where there is nothing to do.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

reasons! {
    /// Rewritten and sent on.
    Forwarded = "forwarded", Carried, "";
    /// Sent on like every packet of a flow; but its numbers are nowhere near the flow's, so it neither keeps nor ends it.
    StrayForwarded = "stray_forwarded", Carried, "";
    /// An ICMP error about a flow: translated and sent on.
    IcmpForwarded = "icmp_forwarded", Carried, "";
    /// An ICMP error about a terminated flow: taken note of by its own TCP.
    IcmpTerminated = "icmp_terminated", Carried, "";
    /// A fragment of a datagram: rewritten and sent on.
    FragmentForwarded = "fragment_forwarded", Carried, "";
    /// A fragment that came before its datagram's first one, and was kept: its end is counted too, when it comes.
    FragmentKept = "fragment_kept", Kept, "";
    /// Taken in by a terminated flow's own TCP.
    Terminated = "terminated", Carried, "";
    /// Of the handshake of a spliced flow, whose consumer's part is ours: taken in, and answered where that is called for.
    SpliceHandshake = "splice_handshake", Carried, "";
    /// Opens a flow of a splice listener that stays terminated: what its target speaks is not known yet.
    SpliceTerminated = "splice_terminated", Carried, "";
    /// A target's answer to a health check.
    HealthCheck = "health_check", Carried, "";
    /// Of a terminated connection that both sides have closed: acknowledged once more, if that is called for.
    TimeWait = "time_wait", Carried, "";
    /// TCP to a listener's port that belongs to no flow: answered with a RST, as the real load balancer does.
    NoFlowReset = "no_flow_reset", Answered, "";
    /// TCP from the provider's side that belongs to no flow: answered with a RST.
    OneWayReset = "one_way_reset", Answered, "";
    /// TCP of a flow that was silent for longer than its listener allows, from either side: answered with a RST.
    ExpiredFlowHit = "expired_flow_hit", Answered,
        "keep connections alive more often than the listener's `idle_timeout`";
    /// TCP of a flow to a target that has become unhealthy: both ends got a RST.
    TargetUnhealthy = "target_unhealthy", Answered,
        "look at `sidegate targets`; `target_health_state.unhealthy.connection_termination.enabled` = false keeps such flows";
    /// TCP of a flow to a target that was removed, and whose time to drain is over: both ends got a RST.
    TargetDeregistered = "target_deregistered", Answered,
        "`deregistration_delay.connection_termination.enabled` = false keeps the flows of targets that are removed";
    /// TCP of a flow whose endpoint, interface, listener or node was removed: both ends got a RST.
    WayRemoved = "way_removed", Answered,
        "a reload took it out of the file: move its clients elsewhere before that";
    /// A target's SYN-ACK that does not offer what its consumer has been told: both ends got a RST. The next
    /// flow is terminated, which tells what the target speaks now.
    SpliceMismatch = "splice_mismatch", Answered,
        "the target's TCP settings have changed, or differ behind one address; path = \"terminate\" does not mind";
    /// A ping to one of sidegate's addresses: answered (`run.icmp = "helpful"`).
    PingAnswered = "ping_answered", Answered, "";
    /// Longer than the path carries: answered with the MTU (`run.icmp = "helpful"`).
    OverMtuAnswered = "over_mtu_answered", Answered, "";
    /// Its TTL or hop limit ran out: answered with time-exceeded (`run.icmp = "helpful"`).
    TtlExpiredAnswered = "ttl_expired_answered", Answered, "";
    /// The kernel's own chatter on a link.
    Housekeeping = "housekeeping", Ignored, "";
    /// Headers that contradict themselves.
    Malformed = "malformed", Dropped, "the packet is broken; look at who sends it";
    /// A ping to one of sidegate's addresses.
    Ping = "ping", Dropped, "the real service answers no ping; test with TCP or UDP, or set `run.icmp` to \"helpful\"";
    /// ICMP of a kind that the real service drops.
    IcmpKind = "icmp_kind", Dropped,
        "the path carries destination-unreachable and packet-too-big only; `run.icmp = \"helpful\"` adds time-exceeded";
    /// An ICMP error that is about no flow, or about a segment that a terminated flow does not have under way.
    IcmpNoFlow = "icmp_no_flow", Dropped, "";
    /// More ICMP errors about one flow, or more questions that want an answer, than are passed on.
    IcmpLimited = "icmp_limited", Dropped, "";
    /// An ICMP error with a next-hop MTU below what every path must carry (576, over IPv6 1280): not believed.
    IcmpSmallMtu = "icmp_small_mtu", Dropped, "something on the path has an MTU that is too small, or somebody forges errors";
    /// A fragment of TCP, which the real service drops.
    FragmentTcp = "fragment_tcp", Dropped, "only UDP may be fragmented; let the sender find the path's MTU";
    /// A fragment of which all has come already.
    FragmentDuplicate = "fragment_duplicate", Dropped, "";
    /// A fragment that overlaps another of the same datagram, or comes after one that did.
    FragmentOverlap = "fragment_overlap", Dropped, "fragments never overlap by accident; look at who sends them";
    /// A fragment of a datagram of which another fragment was dropped.
    FragmentRefused = "fragment_refused", Dropped, "";
    /// A fragment that was kept, and whose datagram's first one did not come in time.
    FragmentTimedOut = "fragment_timed_out", Dropped, "a datagram's first fragment was lost on the way to sidegate";
    /// A fragment for which there was no room, or that comes after one of the same datagram for which there was none.
    FragmentNoRoom = "fragment_no_room", Dropped, "too many datagrams in pieces at once; keep them under the path's MTU";
    /// Neither TCP nor UDP.
    OtherProtocol = "other_protocol", Dropped, "only TCP and UDP are forwarded";
    /// To an address that is neither an interface's nor a node's.
    UnknownAddress = "unknown_address", Dropped, "something else is routed to sidegate's device; look at `ip route`";
    /// To an interface, but to a port that no listener has.
    NoListener = "no_listener", Dropped, "add a listener for this port to the service";
    /// Something the provider's side began.
    OneWay = "one_way", Dropped, "the path is one way: only the consumer's side opens connections";
    /// A RST, or the like, that belongs to no flow.
    NoFlow = "no_flow", Dropped, "";
    /// From 0.0.0.0 or ::.
    SourceUnspecified = "source_unspecified", Dropped,
        "the consumer's namespace has no address to send from: add one, or set `local` on the endpoint";
    /// From 127.0.0.0/8 or ::1.
    SourceLoopback = "source_loopback", Dropped,
        "the consumer sends from a loopback address: add an address to its namespace, or set `local` on the endpoint";
    /// From a multicast or broadcast address.
    SourceMulticast = "source_multicast", Dropped, "no host sends from such an address; look at who does";
    /// From one of sidegate's own addresses.
    SourceOurs = "source_ours", Dropped,
        "no host may use an interface's or node's address";
    /// It comes from one of our own nodes, through another endpoint.
    Transit = "transit", Dropped, "an endpoint is not a way to another one: nothing is transitive";
    /// Longer than the path carries.
    OverMtu = "over_mtu", Dropped, "the path carries `run.mtu` bytes at most; lower the sender's MTU";
    /// Its TTL or hop limit ran out.
    TtlExpired = "ttl_expired", Dropped, "the packet has been through too many hops; look for a routing loop";
    /// No target can take the new flow.
    NoTarget = "no_target", Dropped, "no target that this listener can use takes new flows: look at `sidegate targets`";
    /// There is no room for one more way to a target: each that has ever been there counts.
    LanesExhausted = "lanes_exhausted", Dropped, "each interface, listener and target makes one, and those of earlier files count: restart sidegate, or split the file";
    /// All source ports towards the chosen target are in use.
    PortsExhausted = "ports_exhausted", Dropped, "`flows.ports` connections per node and target is the limit: add targets or nodes";
    /// The flow table is at its capacity.
    TableFull = "table_full", Dropped, "every flow in it is established: raise `flows.capacity`";
    /// Two workers met the same new flow at the same moment and gave way to each other; the sender tries again.
    Raced = "raced", Dropped, "";
    /// As many flows as one worker looks after, or half as many of one endpoint, have numbers that are not settled yet: headers to be
    /// acknowledged, handshakes of ours.
    EscortsFull = "escorts_full", Dropped,
        "clients connect and say nothing (header placement \"on_first_ack\" does not wait for them), or targets do not answer; more workers have more room";
    /// Bytes that would come to lie where the proxy protocol's header goes, or that come before its target has answered: what a
    /// client could write there might pass for the header. An old kind of keep-alive, which repeats one byte, looks the same.
    AheadOfHeader = "ahead_of_header", Dropped,
        "an old kind of keep-alive may count here: nothing to do, unless there are many: then look at who sends them";
    /// No more TCP connections can be terminated by this worker.
    TerminateFull = "terminate_full", Dropped, "use path = \"nat\" for this listener, or more workers";
    /// The buffers of terminated TCP connections have all the memory that they may.
    TerminateMemory = "terminate_memory", Dropped, "raise `terminate.memory`, or use path = \"nat\" for this listener";
    /// As many health checks are under way as one worker makes at once: this one waits its turn.
    ChecksFull = "checks_full", Dropped, "many targets do not answer: shorten the health checks' `timeout`, or use more workers";
    /// A health check over TLS could not begin.
    TlsUnavailable = "tls_unavailable", Dropped,
        "this is a mistake of sidegate's own: report it, and check with protocol = \"tcp\" meanwhile";
    /// It would have been answered with a RST, but too many were sent just now.
    ResetLimited = "reset_limited", Dropped, "";
    /// The worker that it belongs to cannot keep up.
    HandOverFull = "hand_over_full", Dropped, "the machine is overloaded";
    /// The device on the other side is gone.
    EgressDown = "egress_down", Dropped, "the namespace on the other side is gone; sidegate re-attaches when it is back";
    /// A wrong checksum, on a packet that we would have to answer or act upon.
    BadChecksum = "bad_checksum", Dropped, "something corrupts packets on the way";
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its place in [`Reason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl From<flow::Refused> for Reason {
    fn from(refused: flow::Refused) -> Self {
        match refused {
            flow::Refused::Full => Self::TableFull,
            flow::Refused::Ports => Self::PortsExhausted,
            flow::Refused::Raced => Self::Raced,
        }
    }
}

impl From<wire::Unfragmented> for Reason {
    fn from(unfragmented: wire::Unfragmented) -> Self {
        match unfragmented {
            wire::Unfragmented::Malformed => Self::Malformed,
            wire::Unfragmented::Tcp => Self::FragmentTcp,
            wire::Unfragmented::OtherProtocol => Self::OtherProtocol,
        }
    }
}

impl From<wire::NotIcmp> for Reason {
    fn from(not_icmp: wire::NotIcmp) -> Self {
        match not_icmp {
            wire::NotIcmp::Malformed => Self::Malformed,
            wire::NotIcmp::OtherProtocol => Self::OtherProtocol,
        }
    }
}
