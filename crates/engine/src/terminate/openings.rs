//! Half-open relays: bounded, and each endpoint has its share.
//!
//! No SYN cookies: the consumer's SYN is answered only when the target has answered ours, so that a target that refuses makes
//! us refuse. So a SYN costs a connection of our own before anybody knows whether its sender exists, and there is nothing
//! that a cookie could put off. What can be done is to bound them: a quarter of what a worker holds, and of the flows and
//! ports that it may take, is for half-open relays, and each endpoint has its share of that quarter. A flood of SYNs through
//! one endpoint takes nothing from the others, and nothing from what is established.
//!
//! When a share is used up, its oldest one makes room. A handshake that is meant takes a round trip or two; one that still
//! waits when hundreds have come after it is most likely nobody's. Where the worker's places or the flow table are full, the
//! oldest of the endpoint that has most makes room.

use std::collections::HashSet;

use topology::{EndpointId, Path, Topology};

use crate::lists::Lists;

/// The fewest that an endpoint may have, however many there are: an honest client whose handshake is crowded out has to begin
/// again.
const LEAST_SHARE: usize = 16;

/// The half-open relays of one worker.
pub(crate) struct Openings {
    /// By endpoint, the oldest first.
    lists: Lists,
    /// By endpoint: how many.
    counts: Vec<usize>,
    /// How many there may be of all endpoints together.
    quarter: usize,
    /// How many each may have.
    share: usize,
}

impl Openings {
    /// None yet, of a worker among so many that holds `capacity` relays.
    pub(crate) fn new(topology: &Topology, workers: usize, capacity: usize) -> Self {
        let flows = topology.flows.capacity.min(topology.flows.ports) / workers.max(1);
        let quarter = capacity.min(flows) / 4;
        let mut own = Self { lists: Lists::new(0), counts: Vec::new(), quarter, share: LEAST_SHARE };
        own.take_up(topology);
        own
    }

    /// Makes room for a topology's endpoints, and shares out anew.
    pub(crate) fn take_up(&mut self, topology: &Topology) {
        let endpoints = topology.endpoints.bound().max(self.counts.len());
        self.lists.grow(endpoints);
        self.counts.resize(endpoints, 0);
        self.share = (self.quarter / terminating(topology).max(1)).max(LEAST_SHARE);
    }

    /// Adds a new one, which [`Openings::settle`] takes away.
    pub(crate) fn enlist(&mut self, endpoint: EndpointId, place: u32) {
        self.lists.push(endpoint.index(), place);
        self.counts[endpoint.index()] += 1;
    }

    /// The relay at `place` is not half-open any more, if it was.
    pub(crate) fn settle(&mut self, place: u32) {
        if let Some(endpoint) = self.lists.remove(place) {
            self.counts[endpoint] -= 1;
        }
    }

    /// Who has to make room for a newcomer of this endpoint, if its share is used up.
    pub(crate) fn crowded_out_by(&self, endpoint: EndpointId) -> Option<u32> {
        let endpoint = endpoint.index();
        self.lists.first(endpoint).filter(|_| self.counts[endpoint] >= self.share)
    }

    /// Who has to make room if there is none for anybody: the oldest of the endpoint that has most.
    pub(crate) fn oldest_of_most(&self) -> Option<u32> {
        let (endpoint, _) = self.counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
        self.lists.first(endpoint)
    }
}

/// How many endpoints lead to a listener whose connections are terminated, or may be.
fn terminating(topology: &Topology) -> usize {
    let listeners = topology.listeners.iter().filter(|(_, listener)| listener.path != Path::Nat);
    let services: HashSet<_> = listeners.map(|(_, listener)| listener.service).collect();
    topology.endpoints.iter().filter(|(_, endpoint)| services.contains(&endpoint.service)).count()
}
