//! What the operator declares: file to validated topology, every error with its place. Pure.
//!
//! [`Topology::parse`] reads the operator's file (TOML) through a spanned tree and collects every mistake before it
//! gives up. What comes out is immutable and can be trusted: every reference resolves, every address has its right
//! family, nothing is declared twice.

mod attributes;
mod build;
mod check;
mod file;
mod fixed;
mod group;
mod id;
mod lookup;
mod model;
mod problem;
mod render;
mod succession;

pub use attributes::{Attributes, EndpointWords, HeaderPlacement, Minimum, ProxyProtocol};
pub use file::Origin;
pub use group::{CheckProtocol, HealthCheck, HttpCheck, Matcher, Target, TargetGroup};
pub use id::{Arena, DeviceId, Id};
pub use lookup::Way;
pub use model::{
    Answer, DeviceBackend, Endpoint, EndpointId, EndpointIds, Expiry, Family, FlowLimits, Forward,
    IcmpPolicy, Interface, InterfaceId, Listener, ListenerId, Namespace, Node, NodeId, Path, Run, Service,
    ServiceId, Steering, TargetGroupId, TargetId, TerminateLimits, Topology, Zone,
};
pub use problem::{Key, Problem};
pub use succession::OutOfIds;
