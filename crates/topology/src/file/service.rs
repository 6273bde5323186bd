//! `[[service]]`: what a provider publishes.

use super::address::ZonedAddress;
use super::links::DeclaredLink;
use super::listener::DeclaredListener;
use super::names::{Names, NamespaceRef, name, namespace};
use super::tree::{Keys, Table};
use crate::problem::{Place, Read};
use crate::{Family, Path, TargetGroup};

/// A service as the file declares it.
pub(crate) struct DeclaredService<'t> {
    pub(crate) place: Place,
    pub(crate) name: Read<&'t str>,
    pub(crate) namespace: Read<NamespaceRef<'t>>,
    pub(crate) nodes: Vec<Read<ZonedAddress>>,
    pub(crate) listeners: Vec<Read<DeclaredListener>>,
    pub(crate) answer_on: Vec<Read<DeclaredLink<'t>>>,
}

impl<'t> DeclaredService<'t> {
    pub(super) const KEYS: Keys = &["name", "namespace", "nodes", "listeners", "answer_on"];

    pub(super) fn read(table: Table<'t>, groups: &Names<'t, TargetGroup>) -> Self {
        Self {
            name: table.required("name", name),
            namespace: table.required("namespace", namespace),
            nodes: table.list("nodes", ZonedAddress::read),
            answer_on: DeclaredLink::read_all(&table),
            listeners: table.list("listeners", |value| DeclaredListener::read(value, groups)),
            place: table.place,
        }
    }

    /// The listeners on one path.
    pub(crate) fn listeners_on(&self, path: Path) -> impl Iterator<Item = &DeclaredListener> {
        self.listeners.iter().flatten().filter(move |listener| listener.path == path)
    }

    /// The listeners whose packets pass through in the end, so that both their sides are of one family.
    pub(crate) fn listeners_passing_through(&self) -> impl Iterator<Item = &DeclaredListener> {
        self.listeners.iter().flatten().filter(|listener| listener.path != Path::Terminate)
    }

    /// The family of each node; `None` for one that could not be read.
    pub(crate) fn node_families(&self) -> impl Iterator<Item = Option<Family>> {
        self.nodes.iter().map(|node| node.as_ref().ok().map(ZonedAddress::family))
    }
}
