//! Names: what they may be made of, and what they refer to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use super::tree::{Table, Value};
use crate::problem::{Place, Read, suggest};
use crate::{Id, Namespace, Zone};

/// The longest name of a service, an endpoint, a target group or a zone.
const MAX_NAME: usize = 64;
/// The longest name of an instance, which becomes part of a file's name.
pub(super) const MAX_INSTANCE: usize = 40;

/// The things of one kind, by name. Their ids are their places in the file, which is where they will stand in their
/// arena too.
pub(super) struct Names<'t, T> {
    kind: &'static str,
    table: &'static str,
    by_name: HashMap<&'t str, (Id<T>, Place)>,
}

impl<'t, T> Names<'t, T> {
    /// Reads the names of `tables`, which stand under `[[table]]`, and refuses a name's second use.
    pub(super) fn collect(kind: &'static str, table: &'static str, tables: &[Read<Table<'t>>]) -> Self {
        let mut by_name: HashMap<&str, (Id<T>, Place)> = HashMap::new();
        for (index, table) in tables.iter().enumerate() {
            let Some(value) = table.as_ref().ok().and_then(|table| table.get("name")) else { continue };
            let Some(name) = value.as_str() else { continue };
            match by_name.entry(name) {
                Entry::Vacant(free) => drop(free.insert((Id::new(index), value.place))),
                Entry::Occupied(taken) => {
                    let other = value.problems.name(&taken.get().1);
                    value.refuse(
                        format!("a second {kind} with the name {name:?}, after {other}"),
                        "rename one of them",
                    );
                }
            }
        }
        Self { kind, table, by_name }
    }

    /// What a value refers to.
    pub(super) fn find(&self, value: &Value<'t>) -> Read<Id<T>> {
        let Self { kind, table, by_name } = self;
        let name = value.text(&format!("write the name of a {kind}"))?;
        if let Some((id, _)) = by_name.get(name) {
            return Ok(*id);
        }
        let remedy = if by_name.is_empty() {
            format!("declare it under [[{table}]]")
        } else {
            let mut known: Vec<_> = by_name.keys().copied().collect();
            known.sort_unstable();
            suggest(name, known.into_iter())
        };
        Err(value.refuse(format!("no {kind} has the name {name:?}"), remedy))
    }
}

/// The name of a service, an endpoint, a target group or a zone.
pub(super) fn name<'t>(value: Value<'t>) -> Read<&'t str> {
    let remedy = format!("write 1 to {MAX_NAME} letters, digits, dots, dashes and underscores");
    let name = value.text(&remedy)?;
    let fits = (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_name_character);
    if fits { Ok(name) } else { Err(value.refuse(format!("{name:?} is not a name"), remedy)) }
}

/// A zone.
pub(super) fn zone(value: Value<'_>) -> Read<Zone> {
    name(value).map(Zone::from)
}

/// The name of an instance.
pub(super) fn instance(value: Value<'_>) -> Read<String> {
    let remedy = format!(
        "write 1 to {MAX_INSTANCE} letters, digits, dots, dashes and underscores, the first of them no dot: \
         the instance's socket takes its name from it"
    );
    let name = value.text(&remedy)?;
    let fits = (1..=MAX_INSTANCE).contains(&name.len())
        && name.chars().all(is_name_character)
        && !name.starts_with('.');
    if fits {
        Ok(name.into())
    } else {
        Err(value.refuse(format!("{name:?} cannot name an instance"), remedy))
    }
}

/// Whether names may contain this character.
pub(super) const fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

/// A namespace, as the operator wrote it and as the file that is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NamespaceRef<'t> {
    pub(crate) name: &'t str,
    pub(crate) path: PathBuf,
}

/// A namespace's name or path.
pub(super) fn namespace<'t>(value: Value<'t>) -> Read<NamespaceRef<'t>> {
    let remedy = "write a name under `ip netns`, or the absolute path of a namespace file";
    let name = value.text(remedy)?;
    let is_path = Path::new(name).is_absolute();
    let is_name = !name.contains('/') && !matches!(name, "" | "." | "..");
    if (is_path || is_name) && !name.chars().any(char::is_control) {
        Ok(NamespaceRef { name, path: Namespace::file(name) })
    } else {
        Err(value.refuse(format!("{name:?} is not a namespace"), remedy))
    }
}
