//! `ids` of an endpoint: what targets are told that it is.

use super::tree::{Bounds, Keys, Table, Value};
use crate::EndpointIds;
use crate::problem::{Place, Read};

const KEYS: Keys = &["aws", "gcp", "azure"];
const GCP: Bounds<u64> = Bounds { what: "a connection's id", range: 0..=u64::MAX, why: "" };
const AZURE: Bounds<u32> = Bounds { what: "a link's id", range: 0..=u32::MAX, why: "" };
const PREFIX: &str = "vpce-";
/// Hexadecimal digits behind the prefix: as many as ids have now, and as they had at first.
const DIGITS: [usize; 2] = [17, 8];

/// An endpoint's ids. What the file leaves out follows from the endpoint's name, and is the same each time.
pub(crate) struct DeclaredIds<'t> {
    pub(crate) aws: DeclaredId<'t, String>,
    pub(crate) gcp: DeclaredId<'t, u64>,
    pub(crate) azure: DeclaredId<'t, u32>,
}

/// An id, and where it stands; or, if it is left out, whose it is, and the name that it follows from.
pub(crate) struct DeclaredId<'t, T> {
    pub(crate) place: Place,
    pub(crate) id: T,
    pub(crate) follows_from: Option<&'t str>,
}

impl<'t> DeclaredIds<'t> {
    /// Those of the endpoint that stands in this table, and has this name.
    pub(super) fn read(endpoint: &Table<'_>, name: Read<&'t str>) -> Read<Self> {
        let ids = endpoint.optional("ids", |value| value.table(KEYS))?;
        let aws = DeclaredId::read(ids.as_ref(), "aws", vpce);
        let gcp = DeclaredId::read(ids.as_ref(), "gcp", |value| value.integer(&GCP));
        let azure = DeclaredId::read(ids.as_ref(), "azure", |value| value.integer(&AZURE));
        let (name, place) = (name?, &endpoint.place);
        let hash = fnv1a(name.as_bytes());
        Ok(Self {
            aws: DeclaredId::or(aws?, place, name, format!("{PREFIX}0{hash:016x}")),
            // As many bits as every reader of JSON keeps.
            gcp: DeclaredId::or(gcp?, place, name, hash >> 11),
            azure: DeclaredId::or(azure?, place, name, hash as u32),
        })
    }
}

impl From<DeclaredIds<'_>> for EndpointIds {
    fn from(DeclaredIds { aws, gcp, azure }: DeclaredIds<'_>) -> Self {
        Self { aws: aws.id, gcp: gcp.id, azure: azure.id }
    }
}

impl<'t, T> DeclaredId<'t, T> {
    fn read(ids: Option<&Table<'_>>, key: &str, read: fn(&Value<'_>) -> Read<T>) -> Read<Option<Self>> {
        let read = |value: Value<'_>| Ok(Self { id: read(&value)?, place: value.place, follows_from: None });
        ids.map_or(Ok(None), |ids| ids.optional(key, read))
    }

    fn or(given: Option<Self>, place: &Place, name: &'t str, id: T) -> Self {
        given.unwrap_or_else(|| Self { place: place.clone(), id, follows_from: Some(name) })
    }
}

fn vpce(value: &Value<'_>) -> Read<String> {
    let remedy = "write vpce- and 17 hexadecimal digits, such as \"vpce-08d2bf15fac5001c9\"";
    let written = value.text(remedy)?;
    let digits = written.strip_prefix(PREFIX).unwrap_or_default();
    let is_hex = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hex || !DIGITS.contains(&digits.len()) {
        return Err(value.refuse(format!("{written:?} is not the id of a VPC endpoint"), remedy));
    }
    Ok(written.into())
}

/// A hash that is the same in every release: ids must not change by themselves.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
