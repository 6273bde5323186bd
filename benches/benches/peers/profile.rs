//! Profiles: the same work once more, while `perf` watches every core. What slows a run down so is no measurement; so a run of the
//! benchmark either measures or does this.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use benches::profile::cast::Cast;
use benches::profile::flame::Flames;
use benches::profile::page::{Page, Profile};
use benches::profile::{FIELDS, Recording};
use benches::stage::Stage;

use crate::latency;
use crate::peer::{Peer, Purpose, Session, Setting};
use crate::preset::Plan;
use crate::work::{Ask, Work};

/// How often a core is looked at in a second. No round number, lest it beat with what it watches.
const FREQUENCY: &str = "997";
/// How long `perf` may take to put names to addresses.
const READING: Duration = Duration::from_secs(120);
/// What tells that `perf` watches, by the program that it starts once it does.
const WATCHING: &str = "watching";

/// Watches everyone at everything that is planned, once each; writes the flame graphs and a page about them into `folder`. Whether
/// all succeeded.
pub(crate) fn all(folder: &Path, plan: &Plan, setting: &mut Setting) -> Result<bool> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let (mut page, mut is_clean) = (Page(Vec::new()), true);
    for &mtu in &plan.mtus {
        setting.mtu = mtu;
        for peer in plan.peers() {
            if let Some(why) = peer.absent(setting) {
                eprintln!("absent: {why}");
                continue;
            }
            let mut session = None;
            for work in plan.works().into_iter().filter(|work| plan.peers_at(*work).contains(&peer)) {
                match profile(folder, peer, work, plan.length, &mut session, setting) {
                    Ok(profile) => page.0.push(profile),
                    Err(error) => {
                        eprintln!("{error:#}");
                        (session, is_clean) = (None, false);
                    }
                }
                setting.interrupt.check()?;
            }
        }
    }
    let file = folder.join("shares.md");
    fs::write(&file, page.to_string()).with_context(|| file.display().to_string())?;
    Ok(is_clean)
}

/// One peer at one kind of work, in this session if it may.
fn profile(
    folder: &Path,
    peer: Peer,
    work: Work,
    length: Duration,
    session: &mut Option<Session>,
    setting: &Setting,
) -> Result<Profile> {
    let name = format!("{}-{}-{}", peer.as_str(), work.as_str(), setting.mtu);
    if work.wants_new_session() {
        *session = None;
    }
    let session = match session {
        Some(session) => session,
        None => session.insert(peer.open(setting, Purpose::Standing)?),
    };
    let (values, printed) = watch(session, work, length).with_context(|| name.clone())?;
    let figures = work.figures().iter().zip(values);
    let did =
        figures.map(|(figure, value)| format!("{} {} {}", figure.name, figure.unit.show(value), figure.unit));
    let did = did.collect::<Vec<_>>().join("; ");
    eprintln!("{name}: {did}");
    let recording = Recording::parse(&printed)?;
    let cast = cast(session)?;
    let picture = folder.join(format!("{name}.svg"));
    let drawn = Flames::of(&recording, &cast).svg(&format!("{name}: {did}"));
    fs::write(&picture, drawn).with_context(|| picture.display().to_string())?;
    Ok(Profile::of(name, did, &recording, &cast))
}

/// The work's figures, and all stacks that `perf` saw meanwhile, as it prints them.
fn watch(session: &Session, work: Work, length: Duration) -> Result<(Vec<f64>, String)> {
    let stage = &session.lab.stage;
    let rate = match work {
        // Half of what it can, as where there is nobody slower.
        Work::Latency => Some(latency::maximum(session, length)? / 2.0),
        _ => None,
    };
    let data = stage.write("perf.data", "")?;
    let mut record = Command::new("perf");
    record.args(["record", "--event", "cpu-clock", "--freq", FREQUENCY, "--all-cpus", "--namespaces"]);
    // By the tables for exceptions, the program that is measured can be watched as it is, without frame pointers.
    record.args(["--call-graph", "dwarf", "--mmap-pages", "8M", "--no-buildid", "--no-buildid-cache"]);
    record.arg("--output").arg(&data);
    record.args(["--", "sh", "-c", &format!("echo {WATCHING}; exec sleep infinity")]);
    let mut perf = stage.start_on_the_host("perf", record)?;
    perf.until(|perf| Ok(perf.printed()?.contains(WATCHING)))?;
    let values = work.run(session, &Ask { length, rate })?;
    drop(perf);
    Ok((values, printed(stage, &data)?))
}

fn printed(stage: &Stage, data: &Path) -> Result<String> {
    let mut script = Command::new("perf");
    // To find out what is inlined where takes perf minutes.
    script
        .args(["script", "--no-inline", "--fields", FIELDS, "--show-namespace-events", "--input"])
        .arg(data);
    stage.start_on_the_host("perf-script", script)?.finish(READING)
}

fn cast(session: &Session) -> Result<Cast> {
    let lab = &session.lab;
    Ok(Cast {
        programs: session.pids(),
        middle: lab.middle.inode()?,
        consumer: lab.consumer.inode()?,
        provider: lab.provider.inode()?,
    })
}
