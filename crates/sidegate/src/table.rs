//! Tables of text that fit a terminal. What is too long for its column goes on below.

use std::fmt;

/// No line is longer.
pub(crate) const WIDTH: usize = 100;
const INDENT: usize = 2;
const GAP: usize = 2;
/// No column is made narrower, for the sake of the others.
const NARROWEST: usize = 8;

/// To which side a column keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Left,
    Right,
}

/// A table with a line of titles.
pub(crate) struct Table {
    sides: Vec<Side>,
    /// The titles are the first.
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(columns: [(Side, &str); N]) -> Self {
        let titles = columns.iter().map(|(_, title)| (*title).to_owned()).collect();
        Self { sides: columns.map(|(side, _)| side).into(), rows: vec![titles] }
    }

    /// Adds a row, which ought to have as many cells as there are columns.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// How wide each column is: as its longest cell, or less where that would not fit. No word is broken if it need not be:
    /// an address is one.
    fn widths(&self) -> Vec<usize> {
        let mut widths = self.longest(length);
        let room = WIDTH - INDENT - GAP * self.sides.len().saturating_sub(1);
        let mut least = self.longest(|cell| cell.split_whitespace().map(length).max().unwrap_or(0));
        if least.iter().sum::<usize>() > room {
            least.fill(NARROWEST);
        }
        while widths.iter().sum::<usize>() > room {
            let spare =
                widths.iter_mut().zip(&least).filter(|(width, least)| **width > NARROWEST.max(**least));
            match spare.map(|(width, _)| width).max() {
                Some(widest) => *widest -= 1,
                None => break,
            }
        }
        widths
    }

    /// The most of each column's cells.
    fn longest(&self, of: impl Fn(&str) -> usize) -> Vec<usize> {
        let mut longest = vec![0; self.sides.len()];
        for row in &self.rows {
            for (most, cell) in longest.iter_mut().zip(row) {
                *most = of(cell).max(*most);
            }
        }
        longest
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let cells: Vec<Vec<String>> =
                row.iter().zip(&widths).map(|(cell, width)| wrap(cell, *width)).collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(0);
            for line in 0..height {
                let mut text = " ".repeat(INDENT);
                for ((cell, width), side) in cells.iter().zip(&widths).zip(&self.sides) {
                    let piece = cell.get(line).map_or("", String::as_str);
                    match side {
                        Side::Left => text += &format!("{piece:<width$}"),
                        Side::Right => text += &format!("{piece:>width$}"),
                    }
                    text += &" ".repeat(GAP);
                }
                writeln!(f, "{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Breaks a text at its spaces, and a word where it is longer than the line.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for piece in text.split_whitespace().flat_map(|word| cut(word, width.max(1))) {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&piece),
            Some(line) if length(line) + 1 + length(&piece) <= width => {
                line.push(' ');
                line.push_str(&piece);
            }
            _ => lines.push(piece),
        }
    }
    lines
}

/// A word in pieces that fit.
fn cut(word: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters.chunks(width).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_keep_to_their_side() {
        let mut table = Table::new([(Side::Left, "REASON"), (Side::Right, "COUNT"), (Side::Left, "REMEDY")]);
        table.row(["one_way".into(), "7".into(), String::new()]);
        table.row(["icmp".into(), "1,200".into(), "test with TCP".into()]);
        let expected = "  REASON   COUNT  REMEDY\n  one_way      7\n  icmp     1,200  test with TCP\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn no_line_is_too_long_and_no_word_is_lost() {
        let mut table = Table::new([(Side::Left, "A"), (Side::Left, "B"), (Side::Right, "C")]);
        let remedy =
            "the consumer's namespace has no address to send from: add one, or set `local` on it ".repeat(2);
        table.row(["x".repeat(70), remedy.clone(), "12,345".into()]);
        let shown = table.to_string();
        assert!(shown.lines().all(|line| length(line) <= WIDTH), "{shown}");
        assert!(remedy.split_whitespace().all(|word| shown.contains(word)), "{shown}");
        assert_eq!(shown.matches('x').count(), 70);
    }

    #[test]
    fn a_text_makes_room_for_words() {
        let mut table = Table::new([(Side::Left, "A"), (Side::Left, "B"), (Side::Left, "C")]);
        let [address, other] = ["a".repeat(40), "b".repeat(45)];
        table.row(["a text of words".into(), address.clone(), other.clone()]);
        let shown = table.to_string();
        assert!(shown.contains(&format!("  a text of  {address}  {other}\n  words\n")), "{shown}");
    }

    #[test]
    fn text_breaks_at_spaces() {
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("a bc def", 5), ["a bc", "def"]);
        assert_eq!(wrap("abcdefgh ij", 5), ["abcde", "fgh", "ij"]);
        assert_eq!(wrap("ü ü", 0), ["ü", "ü"]);
    }
}
