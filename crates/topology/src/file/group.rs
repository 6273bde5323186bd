//! `[[target_group]]`: where traffic ends up.

use std::net::IpAddr;

use super::address::target_address;
use super::names::{name, zone};
use super::service::PORT;
use super::tree::{Keys, Table, Value};
use crate::problem::{Place, Read};
use crate::{Family, Zone};

/// A target group as the file declares it.
pub(crate) struct DeclaredGroup<'t> {
    pub(crate) name: Read<&'t str>,
    pub(crate) targets: Vec<Read<DeclaredTarget>>,
}

impl<'t> DeclaredGroup<'t> {
    pub(super) const KEYS: Keys = Keys {
        known: &["name", "targets"],
        later: &[
            ("health_check", "every target counts as healthy"),
            ("attributes", "every group behaves as with the defaults"),
        ],
    };

    pub(super) fn read(table: Table<'t>) -> Self {
        Self { name: table.required("name", name), targets: table.list("targets", DeclaredTarget::read) }
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
}

impl DeclaredTarget {
    const KEYS: Keys = Keys {
        known: &["address", "port", "zone"],
        later: &[("weight", "every target of a group gets an equal share")],
    };

    fn read(value: Value<'_>) -> Read<Self> {
        let table = value.table(&Self::KEYS)?;
        let located = table.required("address", |value| Ok((value.place.clone(), target_address(value)?)));
        let port = table.required("port", |value| value.integer(&PORT));
        let zone = table.optional("zone", zone);
        let (place, address) = located?;
        Ok(Self { place, address, port: port?, zone: zone? })
    }
}
