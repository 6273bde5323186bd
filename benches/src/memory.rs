//! What a peer's programs hold, and what the kernel holds for itself. A difference of the latter is what something made the kernel
//! hold, as long as nothing else on the machine changes: so it is taken over a short time.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::namespace::{read, words};

/// Bytes that are held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Memory {
    /// By programs: their shares of what several of them map.
    pub programs: u64,
    /// By the kernel.
    pub kernel: u64,
}

impl Memory {
    /// What these programs hold now, and whatever runs in their process groups: a server's workers do, and each program of a
    /// benchmark leads a group of its own ([`Program::start`](crate::process::Program::start)). And what the kernel holds, with their
    /// page tables.
    pub fn now(pids: &[u32]) -> Result<Self> {
        let page_tables = of_all(pids, "status", "VmPTE")?;
        Ok(Self { programs: of_all(pids, "smaps_rollup", "Pss")?, kernel: kernel()? + page_tables })
    }

    /// What has come since then.
    pub const fn since(self, before: Self) -> Self {
        Self {
            programs: self.programs.saturating_sub(before.programs),
            kernel: self.kernel.saturating_sub(before.kernel),
        }
    }

    /// Both together.
    pub const fn total(self) -> u64 {
        self.programs + self.kernel
    }
}

/// What the kernel holds: all memory, without what is free (pages that a processor keeps for its next allocation are), caches, and
/// programs' own, of which page tables are counted as: those of anybody else's come and go. That has everything in it, as a sum of what the kernel itemizes has not: the pages of socket buffers and of a
/// device's rings are in no line. Of what it can reclaim, which files that are looked at change all the time, it has the inodes of
/// sockets; not their directory entries (192 bytes each), which cannot be told from those of files. Needs root.
pub fn kernel() -> Result<u64> {
    const NOT_ITS_OWN: [&str; 6] =
        ["MemFree", "Buffers", "Cached", "AnonPages", "SReclaimable", "PageTables"];
    const INODES: &str = "sock_inode_cache";
    // Brings the figures up to date, which processors count by themselves and add up now and then.
    read("/proc/sys/vm/stat_refresh")?;
    let all = read("/proc/meminfo")?;
    let kilobytes = amounts(&all);
    let amount = |name: &str| kilobytes.get(name).copied().with_context(|| format!("no {name} in meminfo"));
    let others = NOT_ITS_OWN.iter().map(|name| amount(name)).sum::<Result<u64>>()?;
    let pages = pages_of(&read("/proc/slabinfo")?, INODES).with_context(|| format!("no {INODES}"))?;
    let kept = kept_by_processors(&read("/proc/zoneinfo")?);
    let own = (amount("MemTotal")?.saturating_sub(others) << 10) + pages * page();
    Ok(own.saturating_sub(kept * page()))
}

/// Lines of `NAME: NUMBER`, as the kernel writes them.
pub fn amounts(text: &str) -> HashMap<&str, u64> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.filter_map(|(name, rest)| Some((name.trim(), words(rest).next()?.parse().ok()?))).collect()
}

/// The processes in the groups of these.
fn members(leaders: &[u32]) -> Result<Vec<u32>> {
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended in the meantime is nobody's.
        let Ok(stat) = fs::read_to_string(Path::new("/proc").join(name).join("stat")) else { continue };
        if group(&stat).is_some_and(|group| leaders.contains(&group)) {
            members.push(pid);
        }
    }
    Ok(members)
}

/// The process group in `/proc/PID/stat`. A program's name, in brackets, may have brackets and spaces in it.
fn group(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    words(rest).nth(2)?.parse().ok()
}

/// What the kernel says under this name in this file of each of these programs, and of whatever runs in their process groups.
fn of_all(pids: &[u32], file: &str, name: &str) -> Result<u64> {
    let members = members(pids)?;
    for pid in pids {
        ensure!(members.contains(pid), "no process {pid}: what it held is not known");
    }
    members.into_iter().map(|pid| of_one(pid, file, name)).sum()
}

fn of_one(pid: u32, file: &str, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let kilobytes = amounts(&read(&path)?).get(name).copied();
    Ok(kilobytes.with_context(|| format!("no {name} in {path}"))? << 10)
}

/// Pages that one kind of the kernel's objects takes, by `/proc/slabinfo`.
fn pages_of(slabs: &str, kind: &str) -> Option<u64> {
    // After the name: in use, all, an object's size, objects in a slab, pages in a slab …
    const PAGES: usize = 5;
    // … tunables, with their word and their colons; then "slabdata", slabs in use, slabs.
    const SLABS: usize = 14;
    let line = slabs.lines().find(|line| words(line).next() == Some(kind))?;
    let number = |place| words(line).nth(place)?.parse::<u64>().ok();
    Some(number(PAGES)? * number(SLABS)?)
}

/// Free pages that processors keep for their next allocations.
fn kept_by_processors(zones: &str) -> u64 {
    let counts = zones.lines().filter_map(|line| line.trim_start().strip_prefix("count:"));
    counts.filter_map(|rest| words(rest).next()?.parse::<u64>().ok()).sum()
}

fn page() -> u64 {
    rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_what_has_come() {
        let before = Memory { programs: 10, kernel: 100 };
        let came = Memory { programs: 15, kernel: 120 }.since(before);
        assert_eq!((came, came.total()), (Memory { programs: 5, kernel: 20 }, 25));
        // A little less than nothing is nothing.
        assert_eq!(before.since(Memory { programs: 9, kernel: 101 }), Memory { programs: 1, kernel: 0 });
    }

    #[test]
    fn amounts_are_read_line_by_line() {
        let amounts =
            amounts("55d0-7ffc ---p 00000000 00:00 0  [rollup]\nRss:    1928 kB\nPss:  1044 kB\nodd: x\n");
        assert_eq!((amounts["Rss"], amounts["Pss"]), (1928, 1044));
        assert!(!amounts.contains_key("odd"));
    }

    #[test]
    fn a_group_is_found_behind_any_name() {
        assert_eq!(group("12 (nginx: worker) S 10 11 11 0 -1"), Some(11));
        assert_eq!(group("12 (a) b) (c) S 10 13 11 0"), Some(13));
        assert_eq!(group("12 (x) S"), None);
    }

    #[test]
    fn slabs_are_counted_in_pages() {
        let slabs = "slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> …
sock_inode_cache_of_another      1      1    832   19    4 : tunables    0    0    0 : slabdata     99     99      0
sock_inode_cache     240    247    832   19    4 : tunables    0    0    0 : slabdata     12     13      0
";
        assert_eq!(pages_of(slabs, "sock_inode_cache"), Some(52));
        assert_eq!(pages_of(slabs, "sock_inode"), None);
    }

    #[test]
    fn pages_that_processors_keep_are_added_up() {
        let zones = "Node 0, zone   Normal
  pages free     14
    cpu: 0
              count:    43
              high:     1208
    cpu: 1
              count:    17
";
        assert_eq!(kept_by_processors(zones), 60);
    }

    #[test]
    fn this_process_holds_something_and_a_missing_one_is_an_error() {
        // The harness may not lead its group, and may share it with whoever called it.
        let leader = rustix::process::getpgrp().as_raw_nonzero().get().cast_unsigned();
        let members = members(&[leader]).unwrap();
        assert!(members.contains(&std::process::id()));
        for (file, name) in [("smaps_rollup", "Pss"), ("status", "VmPTE")] {
            assert!(of_one(std::process::id(), file, name).unwrap() > 10_000, "{name}");
            assert_eq!(of_all(&[], file, name).unwrap(), 0);
            let error = of_all(&[u32::MAX], file, name).unwrap_err().to_string();
            assert!(error.contains("no process 4294967295"), "{error}");
        }
    }
}
