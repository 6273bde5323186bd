//! The command in the hands of a user who is not root, and of a root who lacks something. Root sets the stage: in a mount
//! namespace of the trial's own, /dev/net/tun is what the trial wants it to be.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use libtest_mimic::Failed;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::Named;
use crate::demo::Demo;
use crate::lab::{Lab, Running, ensure, exited};

pub(crate) const TRIALS: &[Named] = &[
    ("privilege::the_demo_runs_without_root", the_demo_runs_without_root),
    ("privilege::a_kept_demo_can_be_entered", a_kept_demo_can_be_entered),
    ("privilege::a_closed_tun_is_said_so", a_closed_tun_is_said_so),
    ("privilege::a_tun_that_no_mode_opens_is_said_so", a_tun_that_no_mode_opens_is_said_so),
    ("privilege::a_missing_tun_is_said_so", a_missing_tun_is_said_so),
    ("privilege::forbidden_user_namespaces_are_said_so", forbidden_user_namespaces_are_said_so),
    ("privilege::a_bare_root_is_told_how_to_start_a_container", a_bare_root_is_told_how_to_start_a_container),
    ("privilege::run_and_check_say_the_same", run_and_check_say_the_same),
    ("privilege::packets_are_steered_unless_that_is_refused", packets_are_steered_unless_that_is_refused),
];

/// What /dev/net/tun is like.
#[derive(Clone, Copy)]
enum Tun {
    Mode(u32),
    /// Open, but on a mount where no device is.
    NoDevices,
    Missing,
}

/// Who runs the command, as the command that makes them so.
const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";
const BARE_ROOT: &str = "setpriv --bounding-set=-net_admin,-sys_admin";
/// Nobody, in a user namespace that allows none below it.
const CONFINED: &str = "unshare --user --map-user=65534 --map-group=65534 --keep-caps sh -c \
    'echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv --inh-caps=-all --ambient-caps=-all \"$@\"' sh";
const ROOT: &str = "";

/// The command where everybody gets at it: the build's own folder may be root's.
struct Stage {
    directory: TempDir,
}

impl Stage {
    fn new() -> Result<Self, Failed> {
        let stage = Self { directory: TempDir::new()? };
        fs::copy(env!("CARGO_BIN_EXE_sidegate"), stage.path("sidegate"))?;
        fs::set_permissions(stage.directory.path(), Permissions::from_mode(0o755))?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `sidegate`, as `who` runs it where /dev/net/tun is like this.
    fn sidegate(&self, who: &str, tun: Tun, arguments: &[&str]) -> Command {
        let node = match tun {
            Tun::Mode(mode) => format!("mknod --mode={mode:o} /dev/net/tun c 10 200"),
            Tun::NoDevices => {
                "mknod --mode=666 /dev/net/tun c 10 200 && mount -o remount,nodev /dev/net".into()
            }
            Tun::Missing => "true".into(),
        };
        let script = format!("mount -t tmpfs tmpfs /dev/net && {node} && exec {who} \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(self.path("sidegate")).args(arguments);
        command
    }

    fn demo(&self, who: &str, tun: Tun) -> Result<Output, Failed> {
        Ok(self.sidegate(who, tun, &["demo"]).output()?)
    }
}

fn the_demo_runs_without_root() -> Result<(), Failed> {
    let output = Stage::new()?.demo(NOBODY, Tun::Mode(0o666))?;
    exited(&output, 0, &["rootless", "one way", "all as it should be"])
}

/// By the command that it prints.
fn a_kept_demo_can_be_entered() -> Result<(), Failed> {
    let stage = Stage::new()?;
    let demo =
        Demo::kept(Running::start(&mut stage.sidegate(NOBODY, Tun::Mode(0o666), &["demo", "--keep"]))?)?;
    for (part, says) in [("/hello/a", "a 10.2.9.1:"), ("/hello/b", "b 10.2.9.1:"), ("status", "terminated")] {
        let script = format!("exec {NOBODY} {} sh -c '{}'", demo.command("nsenter")?, demo.command(part)?);
        exited(&Command::new("sh").args(["-c", &script]).output()?, 0, &[says])?;
    }
    demo.end(Signal::INT, 0)
}

fn a_closed_tun_is_said_so() -> Result<(), Failed> {
    let output = Stage::new()?.demo(NOBODY, Tun::Mode(0o600))?;
    exited(&output, 2, &["/dev/net/tun is closed to this user (mode 0600)", "sudo chmod 0666 /dev/net/tun"])
}

fn a_tun_that_no_mode_opens_is_said_so() -> Result<(), Failed> {
    let stage = Stage::new()?;
    for who in [NOBODY, ROOT] {
        exited(&stage.demo(who, Tun::NoDevices)?, 2, &["may not be opened, whatever its mode", "`nodev`"])?;
    }
    Ok(())
}

fn a_missing_tun_is_said_so() -> Result<(), Failed> {
    let stage = Stage::new()?;
    for who in [NOBODY, ROOT] {
        let remedies = ["/dev/net/tun is missing", "sudo modprobe tun", "--device /dev/net/tun"];
        exited(&stage.demo(who, Tun::Missing)?, 2, &remedies)?;
    }
    Ok(())
}

fn forbidden_user_namespaces_are_said_so() -> Result<(), Failed> {
    let remedy = "sudo sysctl -w user.max_user_namespaces=10000";
    exited(&Stage::new()?.demo(CONFINED, Tun::Mode(0o666))?, 2, &["user.max_user_namespaces = 0", remedy])
}

fn a_bare_root_is_told_how_to_start_a_container() -> Result<(), Failed> {
    let remedy = "docker run --cap-add NET_ADMIN --cap-add SYS_ADMIN --device /dev/net/tun";
    let output = Stage::new()?.demo(BARE_ROOT, Tun::Mode(0o666))?;
    exited(&output, 2, &["root has no CAP_NET_ADMIN and no CAP_SYS_ADMIN here", remedy])
}

fn run_and_check_say_the_same() -> Result<(), Failed> {
    let (lab, stage) = (Lab::new()?, Stage::new()?);
    let (config, socket) = (stage.path("orders.toml"), stage.path("orders.sock"));
    fs::copy(lab.config(), &config)?;
    let (config, socket) = (config.display().to_string(), socket.display().to_string());
    let check = ["check", "--live", "--config", &config];
    let run = ["run", "--config", &config, "--socket", &socket, "--", "true"];
    for verb in [&check[..], &run] {
        exited(&stage.sidegate(ROOT, Tun::Mode(0o600), verb).output()?, 0, &[])?;
    }
    fs::set_permissions(stage.directory.path(), Permissions::from_mode(0o777))?;
    for (who, tun, words) in [
        (
            NOBODY,
            Tun::Mode(0o666),
            ["cannot enter namespace sg-cli-", "this user is not root; run with sudo"],
        ),
        (BARE_ROOT, Tun::Mode(0o666), ["cannot enter namespace sg-cli-", "docker run --cap-add NET_ADMIN"]),
        (ROOT, Tun::Missing, ["/dev/net/tun is missing", "modprobe tun"]),
    ] {
        for verb in [&check[..], &run] {
            exited(&stage.sidegate(who, tun, verb).output()?, 2, &words)?;
        }
    }
    let elsewhere = ["run", "--config", &config];
    exited(&stage.sidegate(NOBODY, Tun::Mode(0o666), &elsewhere).output()?, 2, &["sudo", "--socket"])?;
    ensure(!lab.has_device()?, || "a device is left".into())
}

/// In the log and in `status`; in a user namespace the kernel takes programs only where it takes them from everybody.
fn packets_are_steered_unless_that_is_refused() -> Result<(), Failed> {
    let lab = Lab::new()?;
    let file = fs::read_to_string(lab.config())?;
    for (key, steering) in
        [("", "by destination port, by flow"), ("steering = \"kernel\"", "the kernel's own")]
    {
        fs::write(lab.config(), file.replace("[run]", &format!("[run]\nworkers = 2\n{key}")))?;
        let log = lab.scratch("log");
        let mut running = Running::start(lab.sidegate("run").stderr(File::create(&log)?))?;
        ensure(running.line()? == "ready", || "it is not ready".into())?;
        ensure(lab.talk()? == "10.2.9.1", || "nothing is forwarded".into())?;
        exited(&lab.sidegate("status").output()?, 0, &[&format!("  steering: {steering}\n")])?;
        let said = fs::read_to_string(&log)?;
        ensure(said.contains(&format!("steering {steering}\n")), || said)?;
    }

    let stage = Stage::new()?;
    let demo =
        Demo::kept(Running::start(&mut stage.sidegate(NOBODY, Tun::Mode(0o666), &["demo", "--keep"]))?)?;
    let status = format!("{} sh -c '{}'", demo.command("nsenter")?, demo.command("status")?);
    let output = Command::new("sh").args(["-c", &format!("exec {NOBODY} {status}")]).output()?;
    let from_everybody = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled")?.trim() == "0";
    let steering = if std::thread::available_parallelism()?.get() == 1 {
        "none (one queue)"
    } else if from_everybody {
        "by destination port, by flow"
    } else {
        "the kernel's own (bpf was refused: Operation not permitted"
    };
    exited(&output, 0, &[&format!("  steering: {steering}")])?;
    demo.end(Signal::INT, 0)
}
