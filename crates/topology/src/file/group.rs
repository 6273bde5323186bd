//! `[[target_group]]`: where traffic ends up.

use std::net::IpAddr;

use super::address::target_address;
use super::attributes::attributes;
use super::health_check::health_check;
use super::listener::{DEFAULT_WEIGHT, PORT, WEIGHT};
use super::names::{name, zone};
use super::tree::{Keys, Table, Value};
use crate::problem::{Place, Read};
use crate::{Attributes, Family, HealthCheck, Zone};

/// A target group as the file declares it.
pub(crate) struct DeclaredGroup<'t> {
    pub(crate) name: Read<&'t str>,
    pub(crate) targets: Vec<Read<DeclaredTarget>>,
    pub(crate) health_check: Read<Option<HealthCheck>>,
    pub(crate) attributes: Read<Attributes>,
}

impl<'t> DeclaredGroup<'t> {
    pub(super) const KEYS: Keys = &["name", "targets", "health_check", "attributes"];

    pub(super) fn read(table: Table<'t>) -> Self {
        Self {
            name: table.required("name", name),
            targets: table.list_or_none("targets", DeclaredTarget::read),
            health_check: table.optional("health_check", health_check),
            attributes: table.optional("attributes", attributes).map(Option::unwrap_or_default),
        }
    }

    /// The family of each target; `None` for one that could not be read.
    pub(crate) fn target_families(&self) -> impl Iterator<Item = Option<Family>> {
        self.targets.iter().map(|target| Some(Family::of(target.as_ref().ok()?.address)))
    }
}

/// A target as the file declares it.
pub(crate) struct DeclaredTarget {
    /// Where its address stands.
    pub(crate) place: Place,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) zone: Option<Zone>,
    pub(crate) weight: u16,
}

impl DeclaredTarget {
    const KEYS: Keys = &["address", "port", "zone", "weight"];

    fn read(value: Value<'_>) -> Read<Self> {
        let table = value.table(Self::KEYS)?;
        let located = table.required("address", |value| Ok((value.place.clone(), target_address(value)?)));
        let port = table.required("port", |value| value.integer(&PORT));
        let zone = table.optional("zone", zone);
        let weight = table.optional("weight", |value| value.integer(&WEIGHT));
        let (place, address) = located?;
        Ok(Self { place, address, port: port?, zone: zone?, weight: weight?.unwrap_or(DEFAULT_WEIGHT) })
    }
}
