//! What the trials share: a consumer, a provider with a server, an operator's file, and the command between them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use device::lab::Namespace;
use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use tempfile::TempDir;

const DOOR: ([u8; 4], u16) = ([10, 1, 9, 50], 80);
const CONSUMER: [u8; 4] = [10, 1, 0, 2];
const TARGET: ([u8; 4], u16) = ([10, 2, 0, 2], 8080);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two networks, and the file of an instance that nobody else has.
pub(crate) struct Lab {
    pub(crate) consumer: Namespace,
    pub(crate) provider: Namespace,
    directory: TempDir,
    pub(crate) instance: String,
}

impl Lab {
    pub(crate) fn new() -> Result<Self, Failed> {
        let consumer = Namespace::unique("sg-cli-c")?;
        consumer.address(&[(CONSUMER.into(), 32)])?;
        let provider = Namespace::unique("sg-cli-p")?;
        provider.address(&[(TARGET.0.into(), 32)])?;
        serve(&provider, TARGET.into(), |peer| peer.to_string())?;
        let instance = consumer.name().replace("sg-cli-c", "cli");
        let lab = Self { consumer, provider, directory: TempDir::new()?, instance };
        fs::write(lab.config(), lab.operators_file(lab.consumer.name()))?;
        Ok(lab)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("orders.toml")
    }

    /// A path in a folder of this trial's own.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn operators_file(&self, consumer: &str) -> String {
        format!(
            r#"
            [run]
            name = "{}"
            [[service]]
            name = "orders"
            namespace = "{}"
            nodes = [{{ address = "10.2.9.1" }}]
            listeners = [{{ protocol = "tcp", port = 80, forward = "web" }}]
            [[target_group]]
            name = "web"
            targets = [{{ address = "10.2.0.2", port = 8080 }}]
            [[endpoint]]
            name = "orders-a"
            service = "orders"
            namespace = "{consumer}"
            interfaces = [{{ address = "10.1.9.50" }}]
            "#,
            self.instance,
            self.provider.name(),
        )
    }

    /// `sidegate VERB --config` with this lab's file.
    pub(crate) fn sidegate(&self, verb: &str) -> Command {
        let mut command = sidegate(verb);
        command.arg("--config").arg(self.config());
        command
    }

    /// `sidegate run`, ready.
    pub(crate) fn start(&self) -> Result<Running, Failed> {
        let mut running = Running::start(&mut self.sidegate("run"))?;
        match running.line()?.as_str() {
            "ready" => Ok(running),
            other => Err(format!("{other:?} instead of ready").into()),
        }
    }

    /// A further server in the provider's network, which says who it is.
    pub(crate) fn serve_at(&self, address: [u8; 4], name: &'static str) -> Result<(), Failed> {
        self.provider.address(&[(address.into(), 32)])?;
        serve(&self.provider, (address, TARGET.1).into(), move |_| name.into())
    }

    /// Writes the operator's file anew, with one thing different.
    pub(crate) fn rewrite(&self, old: &str, new: &str) -> Result<(), Failed> {
        let file = fs::read_to_string(self.config())?;
        ensure(file.contains(old), || format!("{old} is not in {file}"))?;
        Ok(fs::write(self.config(), file.replace(old, new))?)
    }

    /// What the provider's server says to the consumer: the source address that it sees.
    pub(crate) fn talk(&self) -> io::Result<String> {
        let mut answer = String::new();
        self.connect()?.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The consumer's connection to the endpoint.
    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        let door = SocketAddr::from(DOOR);
        let connect = || TcpStream::connect_timeout(&door, Duration::from_secs(1));
        let stream = device::inside(self.consumer.path(), connect).map_err(io::Error::other)??;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Whether the consumer's namespace has a device of ours.
    pub(crate) fn has_device(&self) -> Result<bool, Failed> {
        let read = || fs::read_to_string("/proc/thread-self/net/dev");
        Ok(device::inside(self.consumer.path(), read)??.contains("sg-"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What a killed instance could not remove; mostly there is nothing.
        let socket = control::socket_of(&self.instance);
        let _ = fs::remove_file(socket.with_extension("lock"));
        let _ = fs::remove_file(socket);
    }
}

/// `sidegate VERB`.
pub(crate) fn sidegate(verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidegate"));
    command.arg(verb);
    command
}

/// A server that answers whoever connects, for as long as the process lasts.
fn serve(
    provider: &Namespace,
    at: SocketAddr,
    answer: impl Fn(IpAddr) -> String + Send + 'static,
) -> Result<(), Failed> {
    let listener = device::inside(provider.path(), || TcpListener::bind(at))??;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let peer = stream.peer_addr().map(|peer| peer.ip()).unwrap_or(IpAddr::from([0; 4]));
            let _ = stream.write_all(answer(peer).as_bytes());
        }
    });
    Ok(())
}

/// A command that runs; killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Running {
    /// Starts it where no terminal's signals arrive.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failed> {
        Self::spawn(command.process_group(0).stdin(Stdio::null()))
    }

    /// Starts it as the only program on a terminal, whose other end is returned.
    pub(crate) fn on_terminal(command: &Command) -> Result<(Self, File), Failed> {
        // Nobody but us has the other end, so dropping it hangs up.
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        unlockpt(&user)?;
        let terminal = ioctl_tiocgptpeer(&user, OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        let mut setsid = Command::new("setsid");
        setsid.arg("--ctty").arg(command.get_program()).args(command.get_args());
        Ok((Self::spawn(setsid.stdin(terminal))?, user.into()))
    }

    fn spawn(command: &mut Command) -> Result<Self, Failed> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        Ok(Self { child, stdout: BufReader::new(stdout) })
    }

    /// The next line of its stdout.
    pub(crate) fn line(&mut self) -> Result<String, Failed> {
        let mut line = String::new();
        ensure(self.stdout.read_line(&mut line)? > 0, || "its stdout has come to its end".into())?;
        Ok(line.trim_end().into())
    }

    /// All that is left on its stdout, once nobody can write there any more.
    pub(crate) fn rest(&mut self) -> Result<String, Failed> {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest)?;
        Ok(rest)
    }

    pub(crate) fn send(&self, signal: Signal) -> Result<(), Failed> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    pub(crate) fn ended(&mut self) -> Result<bool, Failed> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(mut self, signal: Signal) -> Result<ExitStatus, Failed> {
        self.send(signal)?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tries again until it is so, or patience is lost.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Failed> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > deadline {
            return Err(format!("not within {PATIENCE:?}: {what}").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Fails unless it is so.
pub(crate) fn ensure(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failed> {
    if is_so { Ok(()) } else { Err(otherwise().into()) }
}

/// Fails unless the command ended with this status and said all of these.
pub(crate) fn exited(output: &Output, status: i32, words: &[&str]) -> Result<(), Failed> {
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure(output.status.code() == Some(status), || {
        format!("{} instead of {status}: {said}", output.status)
    })?;
    let missing = words.iter().find(|word| !said.contains(**word));
    ensure(missing.is_none(), || format!("{missing:?} is not in {said}"))
}
