//! `[[endpoint]]`: the consumer's door.

use std::net::IpAddr;

use super::address::{ZonedAddress, own_address};
use super::ids::DeclaredIds;
use super::links::DeclaredLink;
use super::names::{Names, NamespaceRef, name, namespace};
use super::tree::{Keys, Table, Value};
use crate::problem::{Place, Read};
use crate::{Family, Service, ServiceId};

/// An endpoint as the file declares it.
pub(crate) struct DeclaredEndpoint<'t> {
    pub(crate) place: Place,
    pub(crate) name: Read<&'t str>,
    pub(crate) service: Read<ServiceId>,
    pub(crate) namespace: Read<NamespaceRef<'t>>,
    pub(crate) interfaces: Vec<Read<ZonedAddress>>,
    pub(crate) local: Vec<Read<LocalAddress>>,
    pub(crate) answer_on: Vec<Read<DeclaredLink<'t>>>,
    pub(crate) ids: Read<DeclaredIds<'t>>,
}

impl<'t> DeclaredEndpoint<'t> {
    pub(super) const KEYS: Keys =
        &["name", "service", "namespace", "interfaces", "local", "answer_on", "ids"];

    pub(super) fn read(table: Table<'t>, services: &Names<'t, Service>) -> Self {
        let name = table.required("name", name);
        Self {
            name,
            service: table.required("service", |value| services.find(&value)),
            namespace: table.required("namespace", namespace),
            interfaces: table.list("interfaces", ZonedAddress::read),
            answer_on: DeclaredLink::read_all(&table),
            ids: DeclaredIds::read(&table, name),
            local: table.get("local").map(LocalAddress::read_all).unwrap_or_default(),
            place: table.place,
        }
    }
}

/// An address to put on the endpoint's device.
pub(crate) struct LocalAddress {
    pub(crate) place: Place,
    pub(crate) address: IpAddr,
}

impl LocalAddress {
    /// One address, or a list of them.
    fn read_all(value: Value<'_>) -> Vec<Read<Self>> {
        if !value.is_list() {
            return vec![Self::read(value)];
        }
        match value.elements("write one address of each family") {
            Ok(elements) => elements.into_iter().map(Self::read).collect(),
            Err(reported) => vec![Err(reported)],
        }
    }

    fn read(value: Value<'_>) -> Read<Self> {
        Ok(Self { place: value.place.clone(), address: own_address(value)? })
    }

    pub(crate) const fn family(&self) -> Family {
        Family::of(self.address)
    }
}
