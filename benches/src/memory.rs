//! What a peer's programs hold, and what the kernel holds for itself. A difference of the latter is what something made the kernel
//! hold, as long as nothing else on the machine changes: so it is taken over a short time.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::namespace::{read, words};
use crate::process::Interrupt;

/// Memory is at rest once nothing has been given back for so long …
const QUIET: Duration = Duration::from_millis(1500);
/// … or when this much time has passed.
const RESTING: Duration = Duration::from_secs(6);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Bytes that are held; or, of a difference, that have come, and less than nothing where more has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// By programs.
    pub programs: i64,
    /// By the kernel.
    pub kernel: i64,
}

impl Memory {
    /// What these programs hold now, and whatever runs in their process groups: a server's workers do, and each program of a
    /// benchmark leads a group of its own ([`Program::start`](crate::process::Program::start)). That is their own pages, and the pages
    /// of files that the largest of them has: the others mostly have the same ones, and whoever else on this machine has them makes no
    /// difference. And what the kernel holds, with these programs' page tables.
    pub fn now(pids: &[u32]) -> Result<Self> {
        let all = members(pids)?.into_iter().map(Held::by).collect::<Result<Vec<_>>>()?;
        let page_tables: u64 = all.iter().map(|held| held.page_tables).sum();
        Ok(Self { programs: of_a_group(&all).try_into()?, kernel: (kernel()? + page_tables).try_into()? })
    }

    /// The same once nothing is given back any more, be it what somebody else had before.
    pub fn at_rest(pids: &[u32], interrupt: &Interrupt) -> Result<Self> {
        let start = Instant::now();
        let (mut least, mut since) = (Self::now(pids)?, start);
        while since.elapsed() < QUIET && start.elapsed() < RESTING {
            interrupt.pause(LOOK_AGAIN)?;
            let now = Self::now(pids)?;
            if now.total() < least.total() {
                (least, since) = (now, Instant::now());
            }
        }
        Ok(least)
    }

    /// What has come since then.
    pub const fn since(self, before: Self) -> Self {
        Self { programs: self.programs - before.programs, kernel: self.kernel - before.kernel }
    }

    /// Both together.
    pub const fn total(self) -> i64 {
        self.programs + self.kernel
    }
}

/// So many bytes as a figure, of what must have come and cannot have gone.
pub fn taken(bytes: i64) -> Result<f64> {
    ensure!(bytes >= 0, "{} bytes less than before: something else has given them back meanwhile", -bytes);
    Ok(bytes as f64)
}

/// What the kernel holds: all memory, without what is free (pages that a processor keeps for its next allocation are free too), without
/// caches, and without what is programs' own. Page tables count as that, because anybody's come and go. What is left has everything in
/// it; a sum of what the kernel itemizes has not: the pages of socket buffers and of a device's rings are in no line. Of what the
/// kernel can reclaim, which changes with every file that is looked at, the inodes of sockets count; not their directory entries (192
/// bytes each), which cannot be told from those of files. Needs root.
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

/// What one process holds.
#[derive(Clone, Copy)]
struct Held {
    /// Its shares of pages that no file has: who else has one is a process of the same group.
    own: u64,
    /// Resident pages of files.
    files: u64,
    page_tables: u64,
}

impl Held {
    fn by(pid: u32) -> Result<Self> {
        let [anonymous, shared] = of_one(pid, "smaps_rollup", ["Pss_Anon", "Pss_Shmem"])?;
        let [files, page_tables] = of_one(pid, "status", ["RssFile", "VmPTE"])?;
        Ok(Self { own: anonymous + shared, files, page_tables })
    }
}

/// What those hold together that do their work with the same program.
fn of_a_group(all: &[Held]) -> u64 {
    let files = all.iter().map(|held| held.files).max();
    all.iter().map(|held| held.own).sum::<u64>() + files.unwrap_or_default()
}

/// The processes in the groups of these, each of which is there.
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
    for pid in leaders {
        ensure!(members.contains(pid), "no process {pid}: what it held is not known");
    }
    Ok(members)
}

/// The process group in `/proc/PID/stat`. A program's name, in brackets, may have brackets and spaces in it.
fn group(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    words(rest).nth(2)?.parse().ok()
}

/// What the kernel says of a process under these names in this file.
fn of_one<const N: usize>(pid: u32, file: &str, names: [&str; N]) -> Result<[u64; N]> {
    let path = format!("/proc/{pid}/{file}");
    let text = read(&path)?;
    let kilobytes = amounts(&text);
    let mut bytes = [0; N];
    for (amount, name) in bytes.iter_mut().zip(names) {
        *amount = kilobytes.get(name).with_context(|| format!("no {name} in {path}"))? << 10;
    }
    Ok(bytes)
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
        assert_eq!(before.since(Memory { programs: 9, kernel: 101 }), Memory { programs: 1, kernel: -1 });
    }

    #[test]
    fn what_has_gone_is_no_figure() {
        assert_eq!((taken(0).unwrap(), taken(20).unwrap()), (0.0, 20.0));
        assert!(taken(-20).unwrap_err().to_string().contains("20 bytes less than before"));
    }

    #[test]
    fn a_group_has_its_files_once() {
        let held = |own, files| Held { own, files, page_tables: 1 };
        assert_eq!(of_a_group(&[held(10, 300), held(20, 500), held(30, 400)]), 560);
        assert_eq!(of_a_group(&[]), 0);
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
        let Held { own, files, page_tables } = Held::by(std::process::id()).unwrap();
        assert!([own, files, page_tables].iter().all(|bytes| *bytes > 10_000), "{own} {files} {page_tables}");
        let error = super::members(&[u32::MAX]).unwrap_err().to_string();
        assert!(error.contains("no process 4294967295"), "{error}");
        let error = of_one(std::process::id(), "status", ["VmPTE", "VmOdd"]).unwrap_err().to_string();
        assert!(error.starts_with("no VmOdd in /proc/"), "{error}");
    }
}
