//! nftables chains that drop forwarded packets unless a rule accepts them. (iptables, where it is the nftables one,
//! makes such chains too.) Only the chains are read, never the rules: what comes of it is a warning.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator,
    parse_string, parse_u32_be,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use tracing::debug;

use crate::netlink::Netlink;

/// `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_GETCHAIN`.
const GET_CHAIN: u16 = (10 << 8) | 4;
/// `struct nfgenmsg`: the family, and nothing else of interest.
const HEADER: usize = 4;

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_HOOK_HOOKNUM: u16 = 1;

const NF_INET_FORWARD: u32 = 2;
const NF_DROP: u32 = 0;

/// Which packets a table sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    Inet,
    Ip,
    Ip6,
}

/// A chain of the namespace's filters. It shows as `nft` takes it: family, table, chain.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Chain {
    family: Option<Family>,
    table: String,
    name: String,
    hook: Option<u32>,
    policy: Option<u32>,
}

impl Chain {
    /// Whether packets to `target` come by here.
    pub(super) fn sees(&self, target: IpAddr) -> bool {
        match self.family {
            Some(Family::Inet) => true,
            Some(Family::Ip) => target.is_ipv4(),
            Some(Family::Ip6) => target.is_ipv6(),
            None => false,
        }
    }

    fn drops_forwarded(&self) -> bool {
        self.family.is_some() && self.hook == Some(NF_INET_FORWARD) && self.policy == Some(NF_DROP)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Some(Family::Inet) => "inet",
            Some(Family::Ip) => "ip",
            Some(Family::Ip6) => "ip6",
            None => "other",
        };
        write!(f, "{family} {} {}", self.table, self.name)
    }
}

/// The chains that drop by default what is forwarded, in the namespace of the calling thread.
pub(super) fn that_drop_forwarded() -> Vec<Chain> {
    let dump = || Netlink::open(NETLINK_NETFILTER)?.request(Message::GetChain, NLM_F_DUMP);
    let messages = dump().unwrap_or_else(|error| {
        // A kernel without nftables has no such chains.
        debug!(%error, "cannot read the filters' chains");
        Vec::new()
    });
    let chains = messages.into_iter().filter_map(|message| match message {
        Message::Chain(chain) => Some(chain),
        Message::GetChain => None,
    });
    chains.filter(Chain::drops_forwarded).collect()
}

/// The request for all chains, or one of the answers.
enum Message {
    GetChain,
    Chain(Chain),
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        GET_CHAIN
    }

    fn buffer_len(&self) -> usize {
        HEADER
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let (header, attributes) = payload
            .split_at_checked(HEADER)
            .ok_or_else(|| DecodeError::buffer_too_small(payload.len(), HEADER))?;
        let family = match i32::from(header[0]) {
            libc::NFPROTO_INET => Some(Family::Inet),
            libc::NFPROTO_IPV4 => Some(Family::Ip),
            libc::NFPROTO_IPV6 => Some(Family::Ip6),
            _ => None,
        };
        let mut chain = Chain { family, table: String::new(), name: String::new(), hook: None, policy: None };
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute?;
            match attribute.kind() {
                NFTA_CHAIN_TABLE => chain.table = parse_string(attribute.value())?,
                NFTA_CHAIN_NAME => chain.name = parse_string(attribute.value())?,
                NFTA_CHAIN_HOOK => chain.hook = hook_number(attribute.value())?,
                NFTA_CHAIN_POLICY => chain.policy = Some(parse_u32_be(attribute.value())?),
                _ => {}
            }
        }
        Ok(Self::Chain(chain))
    }
}

fn hook_number(hook: &[u8]) -> Result<Option<u32>, DecodeError> {
    for attribute in NlasIterator::new(hook) {
        let attribute = attribute?;
        if attribute.kind() == NFTA_HOOK_HOOKNUM {
            return parse_u32_be(attribute.value()).map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A base chain `inet guard fwd` on the forward hook, with policy drop, as the kernel describes it.
    const FORWARD: &[u8] = &[
        1, 0, 0, 0, // family inet
        10, 0, 1, 0, b'g', b'u', b'a', b'r', b'd', 0, 0, 0, // table
        8, 0, 3, 0, b'f', b'w', b'd', 0, // name
        12, 0, 4, 0x80, 8, 0, 1, 0, 0, 0, 0, 2, // hook
        8, 0, 5, 0, 0, 0, 0, 0, // policy
    ];

    fn parse(payload: &[u8]) -> Option<Chain> {
        match Message::deserialize(&NetlinkHeader::default(), payload) {
            Ok(Message::Chain(chain)) => Some(chain),
            _ => None,
        }
    }

    #[test]
    fn a_chain_that_drops_what_is_forwarded_is_known() {
        let chain = parse(FORWARD).unwrap();
        assert!(chain.drops_forwarded());
        assert_eq!(chain.to_string(), "inet guard fwd");
        let mut accepts = FORWARD.to_vec();
        *accepts.last_mut().unwrap() = 1;
        assert!(!parse(&accepts).unwrap().drops_forwarded());
        let mut input = FORWARD.to_vec();
        input[35] = 1;
        assert!(!parse(&input).unwrap().drops_forwarded());
    }

    #[test]
    fn a_truncated_answer_is_survived() {
        for length in 0..FORWARD.len() {
            let dropping = parse(&FORWARD[..length]).is_some_and(|chain| chain.drops_forwarded());
            assert!(!dropping, "{length}");
        }
    }
}
