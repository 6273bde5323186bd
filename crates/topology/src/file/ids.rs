//! `ids` of an endpoint: what targets are told that it is.

use super::tree::{Bounds, Keys, Value};
use crate::EndpointIds;
use crate::problem::Read;

const KEYS: Keys = &["aws", "gcp", "azure"];
const GCP: Bounds<u64> = Bounds { what: "a connection's id", range: 0..=i64::MAX as u64, why: "" };
const AZURE: Bounds<u32> = Bounds { what: "a link's id", range: 0..=u32::MAX, why: "" };
const PREFIX: &str = "vpce-";
/// Hexadecimal digits behind the prefix: as many as ids have now, and as they had at first.
const DIGITS: [usize; 2] = [17, 8];

/// Ids as the file has them; those that are left out stay open.
#[derive(Default)]
pub(crate) struct DeclaredIds {
    aws: Option<String>,
    gcp: Option<u64>,
    azure: Option<u32>,
}

impl DeclaredIds {
    pub(super) fn read(value: Value<'_>) -> Read<Self> {
        let table = value.table(KEYS)?;
        let aws = table.optional("aws", vpce);
        let gcp = table.optional("gcp", |value| value.integer(&GCP));
        let azure = table.optional("azure", |value| value.integer(&AZURE));
        Ok(Self { aws: aws?, gcp: gcp?, azure: azure? })
    }

    /// What is left out follows from the endpoint's name, and is the same each time.
    pub(crate) fn complete(self, name: &str) -> EndpointIds {
        let hash = fnv1a(name.as_bytes());
        EndpointIds {
            aws: self.aws.unwrap_or_else(|| format!("{PREFIX}0{hash:016x}")),
            gcp: self.gcp.unwrap_or(hash >> 1),
            azure: self.azure.unwrap_or(hash as u32),
        }
    }
}

fn vpce(value: Value<'_>) -> Read<String> {
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
