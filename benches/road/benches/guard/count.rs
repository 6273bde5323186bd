//! Counting: each step in a process of its own under callgrind, which counts only inside of one function.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::{env, fs, io, thread};

use anyhow::{Context, Result, anyhow, bail};
use road::instructions::counted;
use road::{Meter, Step, steps};

/// How often a step is done before it is counted: what is done but once is done by then.
const WARM_UP: usize = 1000;
/// How often it is done while it is counted: what happens only now and then gets its share.
const TIMES: usize = 1000;
/// How many seconds of a core's time a step's process may take; it takes a tenth of that.
const PATIENCE: &str = "120";
/// How many seconds may pass meanwhile, on a machine that has more urgent things to do.
const LIMIT: &str = "1200";

/// Counts every step, as many at once as there are cores. Their profiles are left in `folder`.
pub(crate) fn count_all(folder: &Path) -> Result<BTreeMap<String, f64>> {
    Command::new("valgrind").arg("--version").output().context("valgrind; scripts/deps installs it")?;
    let titles: Vec<String> = steps::<Repeat>().iter().map(Step::title).collect();
    let lanes = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes)
            .map(|lane| {
                let titles = titles.iter().skip(lane).step_by(lanes);
                scope.spawn(move || count_some(titles, folder))
            })
            .collect();
        let counts = lanes.into_iter().map(|lane| lane.join().map_err(|_| anyhow!("a thread panicked"))?);
        Ok(counts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })
}

/// Does a step so often: what is to be counted happens in [`guarded_repetition`].
pub(crate) fn work(title: &str) -> Result<()> {
    let step = steps::<Repeat>().into_iter().find(|step| step.title() == title);
    let step = step.with_context(|| format!("there is no step {title:?}"))?;
    (step.run)(&mut Repeat);
    Ok(())
}

fn count_some<'a>(titles: impl Iterator<Item = &'a String>, folder: &Path) -> Result<Vec<(String, f64)>> {
    let count = |title: &String| count(title, folder).with_context(|| title.clone());
    titles.map(|title| Ok((title.clone(), count(title)?))).collect()
}

/// How many instructions it takes to do a step once.
fn count(title: &str, folder: &Path) -> Result<f64> {
    let profile = folder.join(title.replace(|c: char| !c.is_alphanumeric(), "-"));
    // What an earlier run has left there would pass for this one's.
    fs::remove_file(&profile).or_else(unless_missing).with_context(|| profile.display().to_string())?;
    // A Ctrl-C reaches this process and, since it stays in the foreground, that one too.
    let ended = Command::new("timeout")
        .args(["--foreground", "--kill-after=5", LIMIT, "prlimit", &format!("--cpu={PATIENCE}")])
        .args(["valgrind", "--quiet", "--tool=callgrind", "--toggle-collect=*guarded_repetition*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe()?)
        .args(["--step", title])
        .output()
        .context("timeout (coreutils)")?;
    if !ended.status.success() {
        // 124 is `timeout` itself, and a signal the limit of time on a core.
        bail!(
            "valgrind ({}; it has {PATIENCE} s of a core, and {LIMIT} s in all): {}",
            ended.status,
            String::from_utf8_lossy(&ended.stderr).trim()
        );
    }
    let total = counted(&fs::read_to_string(&profile).with_context(|| profile.display().to_string())?)?;
    if total == 0 {
        bail!("valgrind has not found what to count: does the program have symbols?");
    }
    Ok(total as f64 / TIMES as f64)
}

fn unless_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Does a step many times.
struct Repeat;

impl Meter for Repeat {
    fn again<T>(&mut self, mut work: impl FnMut() -> T) {
        self.each(|| (), |()| drop(black_box(work())));
    }

    fn each<I>(&mut self, mut ready: impl FnMut() -> I, mut work: impl FnMut(&mut I)) {
        (0..WARM_UP).for_each(|_| work(&mut ready()));
        let mut inputs: Vec<I> = (0..TIMES).map(|_| ready()).collect();
        let mut inputs = inputs.iter_mut();
        guarded_repetition(&mut || inputs.by_ref().for_each(&mut work))
    }
}

/// All that is counted. It is known by its name.
#[inline(never)]
fn guarded_repetition(work: &mut dyn FnMut()) {
    work();
    // A call that nothing follows would be a jump, and what is jumped to is not inside.
    black_box(&work);
}
