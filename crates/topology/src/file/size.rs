//! Sizes in bytes, as the file writes them: a whole number and a unit.

use std::fmt;

/// Each unit, and by how many bits it shifts.
const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub(crate) struct Size(pub(crate) usize);

impl Size {
    /// So many MiB.
    pub(super) const fn mib(number: usize) -> Self {
        Self(number << 20)
    }

    /// The size that is written like this, if it is one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|character: char| !character.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        let (_, shift) = UNITS.iter().find(|(name, _)| *name == unit)?;
        number.parse::<usize>().ok()?.checked_mul(1 << shift).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |(_, shift): &&(&str, u32)| self.0 != 0 && self.0.trailing_zeros() >= *shift;
        match UNITS.iter().find(divides) {
            Some((unit, shift)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_shown_as_it_was_written() {
        for text in ["1 KiB", "16 MiB", "1 GiB", "1536 MiB", "7 TiB"] {
            assert_eq!(Size::parse(text).map(|size| size.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Size::parse("1024MiB"), Some(Size::mib(1024)));
        assert_eq!(Size(1000).to_string(), "1000 bytes");
    }

    #[test]
    fn anything_else_is_none() {
        for text in
            ["", "1", "GiB", "1 GB", "1 gib", "-1 GiB", "1.5 GiB", "1 GiB ", " 1 GiB", "99999999999 TiB"]
        {
            assert_eq!(Size::parse(text), None, "{text:?}");
        }
    }
}
