//! The file as a tree whose every node knows its place: tables, values, and the readers of plain types.
//!
//! A reader that cannot make its value reports why and returns [`Reported`], so that its caller can read on and find
//! the other mistakes too.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::size::Size;
use crate::problem::{Key, Place, Problems, Read, Reported, nearest, suggest};

/// The keys that a table may hold.
pub(super) type Keys = &'static [&'static str];

/// The numbers that a key may hold.
pub(super) struct Bounds<T> {
    /// What the number is, with its article: `a port`.
    pub(super) what: &'static str,
    pub(super) range: RangeInclusive<T>,
    /// Why no other, or nothing.
    pub(super) why: &'static str,
}

impl<T: Display> Bounds<T> {
    fn limits(&self) -> String {
        format!("from {} to {}{}", self.range.start(), self.range.end(), self.why)
    }
}

/// What to do where a list belongs.
const LIST: &str = "write a list: [ … ]";

/// A table of the file, without a key that it may not hold.
pub(super) struct Table<'t> {
    pub(super) place: Place,
    pub(super) problems: &'t Problems<'t>,
    /// `None` for a section that is not there.
    entries: Option<&'t DeTable<'t>>,
    /// Keys that are not there because they are misspelt, which was reported.
    misspelt: HashMap<&'static str, Reported>,
}

impl<'t> Table<'t> {
    /// The file itself.
    pub(super) fn root(entries: &'t DeTable<'t>, keys: Keys, problems: &'t Problems<'t>) -> Self {
        Self::open(Some(entries), Place::default(), keys, problems)
    }

    /// What `read` makes of a key that may be absent.
    pub(super) fn optional<T>(&self, key: &str, read: impl FnOnce(Value<'t>) -> Read<T>) -> Read<Option<T>> {
        self.get(key).map(read).transpose()
    }

    /// What `read` makes of a key that must be there.
    pub(super) fn required<T>(&self, key: &str, read: impl FnOnce(Value<'t>) -> Read<T>) -> Read<T> {
        read(self.get(key).ok_or_else(|| self.report_missing(key, &format!("add {key} = …")))?)
    }

    /// What `read` makes of each element of a list that must be there and not be empty. A list that cannot be read
    /// is one unread element.
    pub(super) fn list<T>(&self, key: &str, read: impl Fn(Value<'t>) -> Read<T>) -> Vec<Read<T>> {
        all(self.required(key, |value| value.elements(LIST)), read)
    }

    /// As [`Table::list`], but that the list may be empty.
    pub(super) fn list_or_none<T>(&self, key: &str, read: impl Fn(Value<'t>) -> Read<T>) -> Vec<Read<T>> {
        all(self.required(key, |value| value.elements_or_none(LIST)), read)
    }

    /// The tables under `[[key]]`, each known by its `name` from here on. There may be none.
    pub(super) fn tables(&self, key: &str, keys: Keys) -> Vec<Read<Self>> {
        let remedy = format!("write [[{key}]], in double brackets");
        match self.optional(key, |value| value.elements(&remedy)) {
            Ok(elements) => {
                elements.into_iter().flatten().map(|value| value.owned_by_name(key).table(keys)).collect()
            }
            Err(reported) => vec![Err(reported)],
        }
    }

    /// The table under `[key]`; an empty one when the file leaves it out, or it is none.
    pub(super) fn section(&self, key: &str, keys: Keys) -> Self {
        let empty = || Self::open(None, self.place.child(key), keys, self.problems);
        self.optional(key, |value| value.table(keys)).ok().flatten().unwrap_or_else(empty)
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Value<'t>> {
        let node = self.entries?.get(key)?;
        Some(Value::new(node, self.place.key.child(key), self.problems))
    }

    /// Reports that a key is missing, unless it was there but for a slip.
    pub(super) fn report_missing(&self, key: &str, remedy: &str) -> Reported {
        let report = || self.problems.report(&self.place.child(key), "missing", remedy);
        self.misspelt.get(key).copied().unwrap_or_else(report)
    }

    /// Refuses every key that is not one of `keys`.
    fn open(entries: Option<&'t DeTable<'t>>, place: Place, keys: Keys, problems: &'t Problems<'t>) -> Self {
        let mut misspelt = HashMap::new();
        for key in entries.into_iter().flat_map(DeTable::keys) {
            let word = key.get_ref().as_ref();
            let place = Place { offset: key.span().start, key: place.key.child(word) };
            if let Some(whole) = keys.iter().find(|known| is_part(word, known)) {
                let message = format!("{word} is a part of a key");
                let remedy = format!("write the whole key in quotes, such as \"{whole}\" = …");
                problems.report(&place, message, remedy);
            } else if !keys.contains(&word) {
                let message = format!("unknown key {word:?}");
                let reported = problems.report(&place, message, suggest(word, keys.iter().copied()));
                misspelt.extend(nearest(word, keys.iter().copied()).map(|meant| (meant, reported)));
            }
        }
        Self { place, problems, entries, misspelt }
    }
}

/// What `read` makes of each of these.
fn all<'t, T>(elements: Read<Vec<Value<'t>>>, read: impl Fn(Value<'t>) -> Read<T>) -> Vec<Read<T>> {
    match elements {
        Ok(elements) => elements.into_iter().map(read).collect(),
        Err(reported) => vec![Err(reported)],
    }
}

/// Whether TOML has taken a key with dots apart, because it stands there without quotes, and this is its first part.
fn is_part(word: &str, key: &str) -> bool {
    key.strip_prefix(word).is_some_and(|rest| rest.starts_with('.'))
}

/// A value of the file.
pub(super) struct Value<'t> {
    pub(super) place: Place,
    pub(super) problems: &'t Problems<'t>,
    node: &'t DeValue<'t>,
}

impl<'t> Value<'t> {
    fn new(node: &'t Spanned<DeValue<'t>>, key: Key, problems: &'t Problems<'t>) -> Self {
        Self { place: Place { offset: node.span().start, key }, problems, node: node.get_ref() }
    }

    /// Reports a problem with this value.
    pub(super) fn refuse(&self, message: impl Into<String>, remedy: impl Into<String>) -> Reported {
        self.problems.report(&self.place, message, remedy)
    }

    /// The string, if it is one.
    pub(super) fn as_str(&self) -> Option<&'t str> {
        self.node.as_str()
    }

    /// A string.
    pub(super) fn text(&self, remedy: &str) -> Read<&'t str> {
        self.as_str().ok_or_else(|| self.mismatch("a string", remedy))
    }

    /// True or false.
    pub(super) fn boolean(&self) -> Read<bool> {
        self.node.as_bool().ok_or_else(|| self.mismatch("a boolean", "write true or false"))
    }

    /// A whole number within bounds.
    pub(super) fn integer<T>(&self, bounds: &Bounds<T>) -> Read<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let Bounds { what, range, .. } = bounds;
        let limits = bounds.limits();
        let wrong_type = || self.mismatch("an integer", &format!("write {what} {limits}"));
        let number = self.node.as_integer().ok_or_else(wrong_type)?;
        i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.refuse(format!("{number} is not {what}"), format!("write one {limits}")))
    }

    /// A whole number within bounds, also as a string, unless the string is the word for none.
    pub(super) fn integer_unless<T>(&self, none: &str, bounds: &Bounds<T>) -> Read<Option<T>>
    where
        T: TryFrom<i128> + FromStr + PartialOrd + Display,
    {
        let Some(written) = self.as_str() else { return self.integer(bounds).map(Some) };
        if written == none {
            return Ok(None);
        }
        let number = written.parse().ok().filter(|number| bounds.range.contains(number));
        let remedy = || format!("write one {}", bounds.limits());
        number.map(Some).ok_or_else(|| self.refuse(format!("{written:?} is not {}", bounds.what), remedy()))
    }

    /// A number of bytes within bounds.
    pub(super) fn size(&self, bounds: &Bounds<Size>) -> Read<Size> {
        let Bounds { what, range, why } = bounds;
        let remedy = format!("write {what} from \"{}\" to \"{}\"{why}", range.start(), range.end());
        let written = self.text(&remedy)?;
        let size = Size::parse(written).filter(|size| range.contains(size));
        size.ok_or_else(|| self.refuse(format!("{written:?} is not {what}"), remedy))
    }

    /// One of `words`; those in `later` will mean something one day.
    pub(super) fn word<T: Copy>(&self, words: &[(&'static str, T)], later: &[&str]) -> Read<T> {
        let all = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let written = self.text(&format!("write {all}"))?;
        if later.contains(&written) {
            return Err(self.refuse(format!("\"{written}\" is not honoured yet"), format!("write {all}")));
        }
        let meant = words.iter().find(|(word, _)| *word == written).map(|(_, meaning)| *meaning);
        meant.ok_or_else(|| self.refuse(format!("unknown word {written:?}"), format!("write {all}")))
    }

    /// A table that may hold these keys.
    pub(super) fn table(self, keys: Keys) -> Read<Table<'t>> {
        let entries =
            self.node.as_table().ok_or_else(|| self.mismatch("a table", "write { key = value, … }"))?;
        Ok(Table::open(Some(entries), self.place, keys, self.problems))
    }

    /// The elements of a list that is not empty.
    pub(super) fn elements(self, remedy: &str) -> Read<Vec<Self>> {
        if self.node.as_array().is_some_and(|array| array.is_empty()) {
            return Err(self.refuse("the list is empty", "add at least one element"));
        }
        self.elements_or_none(remedy)
    }

    /// The elements of a list.
    pub(super) fn elements_or_none(self, remedy: &str) -> Read<Vec<Self>> {
        let array = self.node.as_array().ok_or_else(|| self.mismatch("a list", remedy))?;
        let element = |(index, node)| Self::new(node, self.place.key.element(index), self.problems);
        Ok(array.iter().enumerate().map(element).collect())
    }

    /// Whether this is a list.
    pub(super) fn is_list(&self) -> bool {
        self.node.is_array()
    }

    /// This value, if it is a table with a name, as the owner of everything within.
    fn owned_by_name(mut self, key: &str) -> Self {
        if let Some(name) = self.node.get("name").and_then(|name| name.get_ref().as_str()) {
            self.place.key.owner = Some(format!("{} {name:?}", key.replace('_', " ")).into());
        }
        self
    }

    fn mismatch(&self, wanted: &str, remedy: &str) -> Reported {
        let found = match self.node {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.refuse(format!("{found} where {wanted} belongs"), remedy)
    }
}
