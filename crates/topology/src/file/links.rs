//! `answer_on`: the links of a namespace on which its own addresses are answered for.

use super::tree::{Table, Value};
use crate::problem::{Place, Read};

/// The kernel's limit (`IFNAMSIZ` less the closing zero).
const MAX_LINK: usize = 15;
/// What the name of every device of sidegate's begins with.
const OWN_PREFIX: &str = "sg-";

/// A link that is named in the file.
pub(crate) struct DeclaredLink<'t> {
    pub(crate) place: Place,
    pub(crate) name: &'t str,
}

impl<'t> DeclaredLink<'t> {
    /// The links under `answer_on`; none where the key is left out.
    pub(super) fn read_all(table: &Table<'t>) -> Vec<Read<Self>> {
        match table.optional("answer_on", |value| value.elements("write a list of links: [\"br0\"]")) {
            Ok(elements) => elements.into_iter().flatten().map(Self::read).collect(),
            Err(reported) => vec![Err(reported)],
        }
    }

    fn read(value: Value<'t>) -> Read<Self> {
        let remedy = "write the name of a link that leads to the hosts, as `ip link` shows it";
        let name = value.text(remedy)?;
        match flaw(name) {
            None => Ok(Self { place: value.place, name }),
            Some(flaw) => Err(value.refuse(format!("{name:?} {flaw}"), remedy)),
        }
    }
}

/// Why hosts cannot be answered on a link of this name.
fn flaw(name: &str) -> Option<&'static str> {
    let odd = |character: char| {
        matches!(character, '/' | ':') || character.is_whitespace() || character.is_control()
    };
    let fits = (1..=MAX_LINK).contains(&name.len()) && !matches!(name, "." | "..") && !name.contains(odd);
    if !fits {
        Some("is not the name of a link: it has 1 to 15 bytes, and no slash, colon or space")
    } else if name == "lo" {
        Some("is the loopback link, behind which there are no hosts")
    } else if name.starts_with(OWN_PREFIX) {
        Some("begins with `sg-`, which sidegate keeps for its own devices; rename the link")
    } else {
        None
    }
}
