//! Whether the kernel had room for every connection that it tracks. What finds its table full is dropped, which a run may survive: then
//! its figure would be one of a kernel that turns people away. A kernel that does not count, or not as expected, gives no answer, and
//! its figures stand.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result, anyhow};

use crate::namespace::{Namespace, read, words};

/// A kernel that tracks nothing, or was built without it, has none.
const FILE: &str = "/proc/thread-self/net/stat/nf_conntrack";

/// Does something through the kernel of this namespace. It has failed if the kernel had no room for a connection meanwhile.
pub fn with_room<T>(namespace: &Namespace, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = Counters::now(namespace)?;
    let outcome = work();
    let Some(refused) = Counters::now(namespace)?.refused_since(&before) else { return outcome };
    let limit = namespace.inside(|| read("/proc/sys/net/netfilter/nf_conntrack_max"))?;
    let full =
        format!("the kernel's table of connections was full (nf_conntrack_max, {}): {refused}", limit.trim());
    Err(match outcome {
        Ok(_) => anyhow!(full),
        Err(error) => error.context(full),
    })
}

/// What the kernel has counted in a namespace since that is there, by processor. Whatever cannot be read says nothing.
#[derive(PartialEq, Eq, Debug, Default)]
struct Counters(Vec<Processor>);

/// What a processor has counted. After the largest `u32` comes 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Processor {
    /// Packets.
    dropped: u32,
    /// Connections that were not entered into the table, mostly because others were ahead of them with the same addresses and ports:
    /// the packets of these are among those that were dropped.
    not_entered: u32,
    /// Those of them that would have been too many in one place: their packets are not. Older kernels have no such limit.
    too_many: u32,
    /// Connections that had to make room for others.
    given_up: u32,
}

impl Counters {
    fn now(namespace: &Namespace) -> Result<Self> {
        let table = namespace.inside(|| match fs::read_to_string(FILE) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            table => table.context(FILE),
        })?;
        Ok(Self::read(&table))
    }

    /// From a table of all processors: the names of the columns, and a line of hexadecimal figures for each.
    fn read(table: &str) -> Self {
        let mut lines = table.lines();
        let names: Vec<&str> = lines.next().map(words).into_iter().flatten().collect();
        let processors = lines.map(|line| Processor::read(&names, &words(line).collect::<Vec<_>>()));
        Self(processors.collect::<Option<_>>().unwrap_or_default())
    }

    /// What there was no room for, as far as can be said.
    fn refused_since(&self, before: &Self) -> Option<String> {
        if self.0.len() != before.0.len() {
            return None;
        }
        let changes = || self.0.iter().zip(&before.0).map(|(now, before)| now.since(*before));
        let packets: u64 = changes().map(|change| u64::from(change.without_room())).sum();
        let connections: u64 = changes().map(|change| u64::from(change.given_up)).sum();
        (packets > 0 || connections > 0).then(|| {
            format!("{packets} packets were dropped, and {connections} connections given up for others")
        })
    }
}

impl Processor {
    fn read(names: &[&str], figures: &[&str]) -> Option<Self> {
        let place = |name: &str| names.iter().position(|one| *one == name);
        let figure = |place: usize| u32::from_str_radix(figures.get(place)?, 16).ok();
        Some(Self {
            dropped: figure(place("drop")?)?,
            not_entered: figure(place("insert_failed")?)?,
            too_many: place("chainlength").map_or(Some(0), figure)?,
            given_up: figure(place("early_drop")?)?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            dropped: self.dropped.wrapping_sub(before.dropped),
            not_entered: self.not_entered.wrapping_sub(before.not_entered),
            too_many: self.too_many.wrapping_sub(before.too_many),
            given_up: self.given_up.wrapping_sub(before.given_up),
        }
    }

    /// Packets that were dropped for want of room, at least: a connection that was not entered may have cost none.
    fn without_room(self) -> u32 {
        let overtaken = self.not_entered.saturating_sub(self.too_many);
        self.dropped.saturating_sub(overtaken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart";

    /// What is counted under `chainlength`, `insert_failed`, `drop` and `early_drop`.
    type Row<'a> = [&'a str; 4];

    const NOTHING: Row<'_> = ["00000000"; 4];

    /// Of two processors, as Linux 6 writes it.
    fn table(rows: [Row<'_>; 2]) -> String {
        let line = |[chain, failed, drop, early]: Row<'_>| {
            format!(
                "0000abcd  00000001 00000002 00000000 00000003 00000004 00000000 {chain} 00000000 {failed} {drop} {early} 00000000  00000000 00000000 00000000 00000005\n"
            )
        };
        format!("{NAMES}\n{}{}", line(rows[0]), line(rows[1]))
    }

    fn refused(before: &str, after: &str) -> Option<String> {
        Counters::read(after).refused_since(&Counters::read(before))
    }

    /// What is refused between two rows of the second processor.
    fn refused_between(before: Row<'_>, after: Row<'_>) -> Option<String> {
        refused(&table([NOTHING, before]), &table([NOTHING, after]))
    }

    fn packets(count: u32) -> Option<String> {
        Some(format!("{count} packets were dropped, and 0 connections given up for others"))
    }

    #[test]
    fn what_all_processors_have_refused_is_counted() {
        let before = table([
            ["00000000", "00000000", "00000002", "00000001"],
            ["00000000", "00000000", "00000001", "00000000"],
        ]);
        let after = table([
            ["00000000", "00000000", "0000001f", "00000010"],
            ["00000000", "00000000", "00000002", "00000000"],
        ]);
        assert_eq!(
            refused(&before, &after).unwrap(),
            "30 packets were dropped, and 15 connections given up for others"
        );
        assert_eq!(refused(&after, &after), None);
    }

    #[test]
    fn who_is_overtaken_is_not_refused() {
        let overtaken = ["00000000", "00000003", "00000003", "00000000"];
        assert_eq!(refused_between(NOTHING, overtaken), None);
        let one_more = ["00000000", "00000003", "00000004", "00000000"];
        assert_eq!(refused_between(NOTHING, one_more), packets(1));
    }

    /// Else those who are overtaken on one processor would hide those who are refused on another.
    #[test]
    fn processors_are_told_apart() {
        let elsewhere = ["00000000", "00000005", "00000000", "00000000"];
        let here = ["00000000", "00000000", "00000002", "00000000"];
        assert_eq!(refused(&table([NOTHING; 2]), &table([elsewhere, here])), packets(2));
    }

    #[test]
    fn a_connection_too_many_in_its_place_hides_none_that_was_refused() {
        let after = ["00000004", "00000005", "00000003", "00000000"];
        assert_eq!(refused_between(NOTHING, after), packets(2));
    }

    #[test]
    fn after_the_largest_figure_comes_the_first() {
        let before = ["00000000", "ffffffff", "fffffffe", "ffffffff"];
        let after = ["00000000", "00000001", "00000003", "ffffffff"];
        assert_eq!(refused_between(before, after), packets(3));
    }

    #[test]
    fn an_older_kernel_is_understood() {
        let older = |drop| format!("entries drop early_drop insert_failed\n1 {drop} 0 0\n");
        assert_eq!(refused(&older("0"), &older("a")), packets(10));
    }

    #[test]
    fn what_is_no_such_table_says_nothing() {
        let nothing = Counters::default();
        assert_eq!(Counters::read(""), nothing, "as where there is no file");
        assert_eq!(Counters::read("entries drop early_drop\n1 2 3\n"), nothing);
        assert_eq!(Counters::read("drop early_drop insert_failed\n1 2 x\n"), nothing);
        assert_eq!(Counters::read("drop early_drop insert_failed\n1 2\n"), nothing);
        let some = table([NOTHING, ["00000000", "00000000", "00000009", "00000000"]]);
        assert_eq!(refused("", &some), None, "tracking may begin meanwhile");
        assert_eq!(refused(&some, ""), None);
    }
}
