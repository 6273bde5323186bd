//! The flows, as `sidegate flows` shows them. All are looked at, and no more are kept than are asked for.

use std::cmp::Reverse;
use std::net::SocketAddr;

use flow::{FlowPath, FlowView, Lane, LaneUser, Lanes, Phase, Totals};
use topology::{Endpoint, EndpointId, ListenerId, TargetId, Topology};
use wire::Protocol;

use super::headers::header;
use super::{Board, address_of, endpoint_named};
use crate::snapshot::{
    Carriage, FlowFilter, FlowHeader, FlowList, FlowSort, FlowStatus, HeaderState, Traffic,
};

impl Board {
    /// The flows that fit the question.
    pub(crate) fn list_flows(&self, filter: &FlowFilter) -> Result<FlowList, String> {
        let topology = self.topology();
        let flows = self.shared.flows();
        let fits = Fits::new(&topology, filter)?;
        let mut list = FlowList::default();
        let mut first = First::new(filter);
        flows.each(self.now(), |view| {
            let Some(way) = Way::of(&topology, flows.lanes(), view) else { return };
            list.total += 1;
            if fits.fits(view, way) {
                list.matching += 1;
                first.offer(view);
            }
        });
        let status = |view: FlowView| status(&topology, &view, Way::of(&topology, flows.lanes(), &view)?);
        list.flows = first.finish().into_iter().filter_map(status).collect();
        Ok(list)
    }
}

/// What a client's flow has passed, and how it is carried.
#[derive(Clone, Copy)]
struct Way {
    endpoint: EndpointId,
    listener: ListenerId,
    target: TargetId,
    path: Carriage,
}

impl Way {
    /// Health checks' flows have none.
    fn of(topology: &Topology, lanes: &Lanes, view: &FlowView) -> Option<Self> {
        let Lane { user, target, .. } = lanes.lane(view.lane);
        let LaneUser::Endpoint { endpoint, listener, .. } = *user else { return None };
        let path = match view.path {
            FlowPath::Terminated { .. } => Carriage::Terminate,
            FlowPath::Probe { .. } => return None,
            // Both sides of a spliced flow have begun with numbers of their own.
            _ if view.numbering.sequence != 0 => Carriage::Splice,
            FlowPath::Nat | FlowPath::Shifted => Carriage::Nat,
            // Its target has not answered yet, or it is on nat.
            FlowPath::Escorted { .. } => match topology.listeners.get(listener)?.path {
                topology::Path::Splice => Carriage::Splice,
                _ => Carriage::Nat,
            },
        };
        Some(Self { endpoint, listener, target: *target, path })
    }
}

/// A question, ready to be put to each flow.
struct Fits<'a> {
    filter: &'a FlowFilter,
    endpoint: Option<EndpointId>,
    protocol: Option<Protocol>,
}

impl<'a> Fits<'a> {
    fn new(topology: &Topology, filter: &'a FlowFilter) -> Result<Self, String> {
        let endpoint = filter.endpoint.as_ref().map(|name| endpoint_named(topology, name)).transpose()?;
        Ok(Self {
            filter,
            endpoint: endpoint.map(|(id, _)| id),
            protocol: filter.protocol.map(Protocol::from),
        })
    }

    fn fits(&self, view: &FlowView, way: Way) -> bool {
        let FlowFilter { target_address, target_port, client, path, .. } = self.filter;
        self.endpoint.is_none_or(|endpoint| endpoint == way.endpoint)
            && self.protocol.is_none_or(|protocol| protocol == view.original.protocol)
            && path.is_none_or(|path| path == way.path)
            && target_address.is_none_or(|address| address == view.reply.remote.ip())
            && target_port.is_none_or(|port| port == view.reply.remote_port)
            && client.is_none_or(|address| address == view.original.remote.ip())
    }
}

/// The first flows of all that are offered, in the order that is asked for.
struct First {
    rank: fn(&FlowView) -> u128,
    limit: usize,
    flows: Vec<FlowView>,
}

impl First {
    fn new(filter: &FlowFilter) -> Self {
        let rank: fn(&FlowView) -> u128 = match filter.sort {
            FlowSort::Bytes => |view| u128::from(view.forward.bytes) + u128::from(view.returned.bytes),
            FlowSort::Age => |view| view.age.as_nanos(),
            FlowSort::Idle => |view| view.silent.as_nanos(),
        };
        Self { rank, limit: filter.limit.min(FlowFilter::MOST), flows: Vec::new() }
    }

    fn offer(&mut self, view: &FlowView) {
        self.flows.push(*view);
        if self.flows.len() >= 2 * self.limit.max(1) {
            self.cut();
        }
    }

    fn finish(mut self) -> Vec<FlowView> {
        self.cut();
        self.flows
    }

    fn cut(&mut self) {
        self.flows.sort_by_key(|view| Reverse((self.rank)(view)));
        self.flows.truncate(self.limit);
    }
}

/// A flow as it is shown. One whose endpoint, node or listener is there no more is about to end, and is not shown.
fn status(topology: &Topology, view: &FlowView, way: Way) -> Option<FlowStatus> {
    let endpoint = topology.endpoints.get(way.endpoint)?;
    let listener = topology.listeners.get(way.listener)?;
    let address = |place| address_of(topology, place);
    let (original, reply) = (&view.original, &view.reply);
    Some(FlowStatus {
        endpoint: endpoint.name.clone(),
        service: topology.services.get(listener.service)?.name.clone(),
        protocol: original.protocol.into(),
        path: way.path,
        listener_path: listener.path.into(),
        header: flow_header(topology, view, way, endpoint),
        phase: shown(view.phase).into(),
        client: SocketAddr::new(original.remote.ip(), original.remote_port),
        interface: SocketAddr::new(address(original.place)?, original.local_port),
        node: SocketAddr::new(address(reply.place)?, reply.local_port),
        target: SocketAddr::new(reply.remote.ip(), reply.remote_port),
        age: view.age.as_secs_f64(),
        idle: view.silent.as_secs_f64(),
        sent: traffic(view.forward),
        received: traffic(view.returned),
    })
}

/// What a flow's target is told of it.
fn flow_header(topology: &Topology, view: &FlowView, way: Way, endpoint: &Endpoint) -> Option<FlowHeader> {
    let group = topology.targets.get(way.target).and_then(|target| topology.groups.get(target.group));
    let told = group.and_then(|group| header(endpoint, group)).map(|header| header.endpoint_id);
    let state = match view.path {
        _ if view.numbering.header > 0 => HeaderState::Sent,
        FlowPath::Escorted { .. } if told.is_some() => HeaderState::Waiting,
        FlowPath::Terminated { .. } if told.is_some() => HeaderState::Relayed,
        // It has begun while the group had none.
        _ => return None,
    };
    Some(FlowHeader { state, endpoint_id: told })
}

fn traffic(totals: Totals) -> Traffic {
    Traffic { frames: totals.packets, bytes: totals.bytes }
}

fn shown(phase: Phase) -> &'static str {
    match phase {
        Phase::Opening => "opening",
        Phase::Established => "established",
        Phase::Closing => "closing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use engine::Shared;
    use flow::{Cause, Found, Key, LaneId, NewFlow, Numbering, Place};
    use topology::Origin;

    const FILE: &str = r#"
        [[service]]
        name = "dns"
        namespace = "provider"
        nodes = [{ address = "10.2.9.1" }]
        listeners = [{ protocol = "udp", port = 53, forward = "dns" }, { protocol = "tcp", port = 53, forward = "dns" }]
        [[target_group]]
        name = "dns"
        targets = [{ address = "10.2.0.2", port = 53 }, { address = "10.2.0.3", port = 53 }]
        [[endpoint]]
        name = "dns-a"
        service = "dns"
        namespace = "consumer-a"
        interfaces = [{ address = "10.1.9.50" }]
        [[endpoint]]
        name = "dns-b"
        service = "dns"
        namespace = "consumer-b"
        interfaces = [{ address = "10.1.9.50" }]
        "#;

    /// A board that is a thousand seconds old.
    fn board_of(file: &str) -> (Board, Vec<(LaneId, Lane)>) {
        let topology = Topology::parse(file, &Origin::new(Path::new("/dns.toml"))).unwrap();
        let shared = Arc::new(Shared::new(Arc::new(topology), 1, [1, 2, 3, 4]));
        let mut board = Board::new(shared, 1);
        board.started -= Duration::from_secs(1000);
        let lanes = board.shared.flows().lanes().iter().map(|(id, lane)| (id, *lane)).collect();
        (board, lanes)
    }

    /// A flow on a lane, of the client 10.1.0.`host`.
    fn open(board: &Board, (id, lane): (LaneId, Lane), host: u8, began: Duration, path: FlowPath) -> Found {
        let LaneUser::Endpoint { interface, .. } = lane.user else { panic!("{lane:?}") };
        let original = Key {
            place: Place::Interface(interface),
            protocol: lane.pool.protocol,
            local_port: 53,
            remote: std::net::IpAddr::from([10, 1, 0, host]).into(),
            remote_port: 4000,
        };
        let new = NewFlow { original, lane: id, path, preference: 0 };
        board.shared.flows().turn(0).open(&new, began, |_| ()).unwrap()
    }

    /// A flow on every lane, the first one second old, the next two seconds, and so on.
    fn board() -> Board {
        let (board, lanes) = board_of(FILE);
        assert_eq!(lanes.len(), 8);
        for (nth, lane) in lanes.into_iter().enumerate() {
            let began = Duration::from_secs(1000 - nth as u64 * 10);
            open(&board, lane, 2 + nth as u8, began, FlowPath::Nat);
        }
        board
    }

    fn list(board: &Board, filter: &FlowFilter) -> (usize, Vec<FlowStatus>) {
        let list = board.list_flows(filter).unwrap();
        assert_eq!(list.total, 8);
        (list.matching, list.flows)
    }

    #[test]
    fn what_is_not_asked_for_is_left_out() {
        let board = board();
        let all = FlowFilter::default;
        let half = [
            FlowFilter { endpoint: Some("dns-b".into()), ..all() },
            FlowFilter { protocol: Some(crate::Transport::Udp), ..all() },
            FlowFilter { target_address: "10.2.0.3".parse().ok(), ..all() },
        ];
        let shown: [fn(&FlowStatus) -> bool; 3] = [
            |flow| flow.endpoint == "dns-b",
            |flow| flow.protocol == crate::Transport::Udp,
            |flow| flow.target.ip().to_string() == "10.2.0.3",
        ];
        for (filter, is_right) in half.iter().zip(shown) {
            let (matching, flows) = list(&board, filter);
            assert!(matching == 4 && flows.len() == 4 && flows.iter().all(is_right), "{filter:?}: {flows:?}");
        }
        for (filter, expected) in [
            (FlowFilter { target_port: Some(53), path: Some(Carriage::Nat), ..all() }, 8),
            (FlowFilter { target_port: Some(54), ..all() }, 0),
            (FlowFilter { path: Some(Carriage::Terminate), ..all() }, 0),
            (FlowFilter { client: "10.1.0.4".parse().ok(), ..all() }, 1),
        ] {
            assert_eq!(list(&board, &filter).0, expected, "{filter:?}");
        }
        assert!(board.list_flows(&FlowFilter { endpoint: Some("dns-c".into()), ..all() }).is_err());
    }

    #[test]
    fn the_first_are_shown_however_many_are_asked_for() {
        let board = board();
        for (limit, shown) in [(0, 0), (1, 1), (3, 3), (8, 8), (usize::MAX, 8)] {
            let filter = FlowFilter { sort: FlowSort::Age, limit, ..FlowFilter::default() };
            let (matching, flows) = list(&board, &filter);
            assert_eq!((matching, flows.len()), (8, shown));
            assert!(flows.is_sorted_by(|a, b| a.age >= b.age), "{flows:?}");
            assert!(flows.first().is_none_or(|oldest| oldest.age >= 70.0), "{flows:?}");
        }
    }

    const PATHS: &str = r#"
        [[service]]
        name = "web"
        namespace = "provider"
        nodes = [{ address = "10.2.9.1" }]
        listeners = [
            { protocol = "tcp", port = 1, forward = "told" },
            { protocol = "tcp", port = 2, forward = "told", path = "splice" },
            { protocol = "tcp", port = 3, forward = "told", path = "terminate" },
            { protocol = "tcp", port = 4, forward = "untold", path = "splice" },
        ]
        [[target_group]]
        name = "told"
        targets = [{ address = "10.2.0.2", port = 80 }]
        attributes = { "proxy_protocol_v2.enabled" = true, "proxy_protocol_v2.tlv" = "azure" }
        [[target_group]]
        name = "untold"
        targets = [{ address = "10.2.0.2", port = 81 }]
        [[endpoint]]
        name = "web-a"
        service = "web"
        namespace = "consumer"
        interfaces = [{ address = "10.1.9.50" }]
        ids = { azure = 7 }
        "#;

    #[test]
    fn a_flow_is_shown_as_it_is_carried_and_with_what_its_target_is_told() {
        let (board, lanes) = board_of(PATHS);
        let shown = |port: u16, path: FlowPath, numbering: Numbering| {
            let of_port = |(_, lane): &&(LaneId, Lane)| {
                let LaneUser::Endpoint { listener, .. } = lane.user else { return false };
                board.topology().listeners[listener].port == port
            };
            let lane = *lanes.iter().find(of_port).unwrap();
            let found = open(&board, lane, 2, Duration::from_secs(1), path);
            let turn = board.shared.flows().turn(0);
            turn.steer(&found, path, &numbering);
            drop(turn);
            let [flow] = board.list_flows(&FlowFilter::default()).unwrap().flows.try_into().unwrap();
            board.shared.flows().turn(0).retire(found.flow, Cause::Removed, Duration::from_secs(2));
            (flow.path, flow.listener_path, flow.header.map(|header| (header.state, header.endpoint_id)))
        };
        let told = |state| Some((state, Some("7".to_owned())));
        let none = Numbering::default();
        let with_header = Numbering { header: 100, ..none };
        let apart = Numbering { sequence: 5, ..none };
        let escorted = FlowPath::Escorted { worker: 0, escort: 3 };
        let terminated = FlowPath::Terminated { worker: 0, relay: 3 };
        let (nat, splice, terminate) = (Carriage::Nat, Carriage::Splice, Carriage::Terminate);
        for (port, path, numbering, expected) in [
            (1, escorted, none, (nat, nat, told(HeaderState::Waiting))),
            (1, escorted, with_header, (nat, nat, told(HeaderState::Sent))),
            (1, FlowPath::Shifted, with_header, (nat, nat, told(HeaderState::Sent))),
            (1, FlowPath::Nat, none, (nat, nat, None)),
            (2, escorted, none, (splice, splice, told(HeaderState::Waiting))),
            (
                2,
                FlowPath::Shifted,
                Numbering { header: 100, ..apart },
                (splice, splice, told(HeaderState::Sent)),
            ),
            (2, terminated, none, (terminate, splice, told(HeaderState::Relayed))),
            (3, terminated, none, (terminate, terminate, told(HeaderState::Relayed))),
            (3, FlowPath::Shifted, apart, (splice, terminate, None)),
            (4, escorted, none, (splice, splice, None)),
            (4, FlowPath::Shifted, apart, (splice, splice, None)),
            (4, FlowPath::Shifted, with_header, (nat, splice, Some((HeaderState::Sent, None)))),
            (4, terminated, none, (terminate, splice, None)),
        ] {
            assert_eq!(shown(port, path, numbering), expected, "port {port}, {path:?}, {numbering:?}");
        }
    }
}
