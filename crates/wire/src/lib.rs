//! What is in a packet: parse once, rewrite in place, checksums, the offload header. Pure.
//!
//! A [`Frame`] is an IP packet (possibly a 64 KB super-packet) and the [`Offload`] state that the kernel handed
//! over with it. [`parse`] validates it once and keeps what the road asks for in a [`Packet`]; every mutator patches
//! the checksums that it touches, so a frame that came in right goes out right.
//!
//! Panic contract: [`parse`], [`parse_fragment`] and [`parse_icmp`] never panic, whatever the bytes. The mutators take what
//! these return together with the frame that it was parsed from; with another, shorter frame they may panic.

mod addr;
mod checksum;
mod edit;
mod fragment;
mod frame;
mod icmp;
mod icmp_quote;
mod icmp_write;
mod offload;
mod options;
mod parse;
mod patch;
mod proxy;
mod reset;
mod rewrite;
mod room;
mod segment;
mod shift;

pub use addr::{Addr, Protocol};
pub use checksum::{checksum_is_valid, header_checksum_is_valid, pseudo_header, transport_checksum};
pub use edit::{clamp_mss, lower_window, make_ordinary, retain_sack};
pub use fragment::{Fragment, Unfragmented, parse_fragment};
pub use frame::{FRAME_CAPACITY, Frame};
pub use icmp::{Icmp, IcmpError, IcmpMessage, NotIcmp, least_mtu, parse_icmp};
pub use icmp_quote::Quote;
pub use icmp_write::{ICMP_ERROR_CAPACITY, answer_ping};
pub use offload::{Checksum, Offload, OffloadError, Segmentation, SegmentationKind};
pub use options::{SynOptions, TcpOption, find_option, mss_of, timestamps_of, window_of};
pub use parse::{Packet, TcpFlags, Unparsed, parse};
pub use proxy::{PROXY_HEADER_CAPACITY, PROXY_LOCAL, ProxyBytes, ProxyEndpoint, ProxyHeader};
pub use reset::write_reset;
pub use rewrite::Rewrite;
pub use room::Room;
pub use segment::{SEGMENT_CAPACITY, Segment};
pub use shift::{Scaling, Shift};
