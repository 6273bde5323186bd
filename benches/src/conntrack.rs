//! Whether the kernel had room for every connection that it tracks. What finds its table full is dropped, which a run may survive: then
//! its figure would be one of a kernel that turns people away.

use anyhow::{Context, Result, anyhow};

use crate::namespace::{Namespace, read, words};

/// Does something through the kernel of this namespace. It has failed if the kernel had no room for a connection meanwhile.
pub fn with_room<T>(namespace: &Namespace, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = Counters::now(namespace)?;
    let outcome = work();
    let Some(refused) = Counters::now(namespace)?.refused_since(before) else { return outcome };
    let limit = namespace.inside(|| read("/proc/sys/net/netfilter/nf_conntrack_max"))?;
    let full =
        format!("the kernel's table of connections was full (nf_conntrack_max, {}): {refused}", limit.trim());
    Err(match outcome {
        Ok(_) => anyhow!(full),
        Err(error) => error.context(full),
    })
}

/// What the kernel has counted in a namespace since that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Counters {
    /// Packets.
    dropped: u64,
    /// Connections that others were ahead of with the same addresses and ports: their packets are among those that were dropped.
    overtaken: u64,
    /// Connections that had to make room for others.
    given_up: u64,
}

impl Counters {
    fn now(namespace: &Namespace) -> Result<Self> {
        const FILE: &str = "/proc/thread-self/net/stat/nf_conntrack";
        Self::read(&namespace.inside(|| read(FILE))?).with_context(|| format!("what {FILE} says"))
    }

    /// From a table of all processors: the names of the columns, and a line of hexadecimal figures for each.
    fn read(table: &str) -> Option<Self> {
        let mut lines = table.lines();
        let names: Vec<&str> = words(lines.next()?).collect();
        let lines: Vec<Vec<&str>> = lines.map(|line| words(line).collect()).collect();
        let sum = |name: &str| {
            let place = names.iter().position(|one| *one == name)?;
            let figures = lines.iter().map(|line| u64::from_str_radix(line.get(place)?, 16).ok());
            figures.sum::<Option<u64>>()
        };
        Some(Self { dropped: sum("drop")?, overtaken: sum("insert_failed")?, given_up: sum("early_drop")? })
    }

    /// What there was no room for.
    fn refused_since(self, before: Self) -> Option<String> {
        let overtaken = self.overtaken.saturating_sub(before.overtaken);
        let packets = self.dropped.saturating_sub(before.dropped).saturating_sub(overtaken);
        let connections = self.given_up.saturating_sub(before.given_up);
        (packets > 0 || connections > 0).then(|| {
            format!("{packets} packets were dropped, and {connections} connections given up for others")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two processors, as Linux 6 writes it.
    fn table(drop: [&str; 2], early_drop: &str) -> String {
        format!(
            "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart
0000abcd  00000001 00000002 00000000 00000003 00000004 00000000 00000000 00000000 00000002 {} {early_drop} 00000000  00000000 00000000 00000000 00000005
0000abcd  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000001 {} 00000000 00000000  00000000 00000000 00000000 00000000
",
            drop[0], drop[1]
        )
    }

    fn refused(before: &str, after: &str) -> Option<String> {
        Counters::read(after).unwrap().refused_since(Counters::read(before).unwrap())
    }

    #[test]
    fn what_all_processors_have_refused_is_counted() {
        let before = table(["00000002", "00000001"], "00000001");
        let after = table(["0000001f", "00000002"], "00000010");
        assert_eq!(
            refused(&before, &after).unwrap(),
            "30 packets were dropped, and 15 connections given up for others"
        );
        assert_eq!(refused(&after, &after), None);
    }

    #[test]
    fn who_is_overtaken_is_not_refused() {
        let before = table(["00000000", "00000000"], "00000000");
        let overtaken = before.replacen("00000002 00000000 00000000", "00000004 00000002 00000000", 1);
        assert_ne!(before, overtaken);
        assert_eq!(refused(&before, &overtaken), None);
        let one_more = overtaken.replacen("00000004 00000002", "00000004 00000003", 1);
        assert!(refused(&before, &one_more).unwrap().starts_with("1 packets"));
    }

    #[test]
    fn another_table_is_none() {
        assert_eq!(Counters::read(""), None);
        assert_eq!(Counters::read("entries drop early_drop\n1 2 3\n"), None);
        assert_eq!(Counters::read("drop early_drop insert_failed\n1 2 x\n"), None);
    }
}
