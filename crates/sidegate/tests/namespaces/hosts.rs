//! Hosts behind a namespace: those that route to our addresses, and those that hold them to be their neighbours'.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use device::inside;
use device::lab::Namespace;
use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::Named;
use crate::lab::{Lab, Running, ensure, eventually, exited};

pub(crate) const TRIALS: &[Named] = &[
    ("hosts::on_link_they_need_answer_on", on_link_they_need_answer_on),
    ("hosts::that_route_here_need_forwarding_only", that_route_here_need_forwarding_only),
    ("hosts::that_are_targets_find_the_node", that_are_targets_find_the_node),
    ("hosts::after_sigkill_a_start_takes_over", after_sigkill_a_start_takes_over),
    ("hosts::in_a_namespaces_successor_are_answered", in_a_namespaces_successor_are_answered),
    ("hosts::check_and_run_say_what_is_missing", check_and_run_say_what_is_missing),
    ("hosts::where_settings_are_read_only_it_is_said_so", where_settings_are_read_only_it_is_said_so),
];

/// What takes a host longer than this to find, it does not find: the kernel waits 0.8 s at most before it answers.
const PATIENCE: Duration = Duration::from_secs(2);
/// The endpoint's address, and what the target sees.
const WAYS: [(&str, &str); 2] = [("10.1.9.50", "10.2.9.1"), ("fd01::9:50", "fd02::9:1")];
const ROUTER: [&str; 2] = ["10.1.0.1/16", "fd01::1/64"];
const ANSWER_ON: &str = "answer_on = [\"br0\"]";

/// A lab of both families, whose consumer has a bridge, with one host on it.
struct Branch {
    lab: Lab,
    host: Namespace,
}

impl Branch {
    /// `host` is what the host has for addresses; a default route leads it to the consumer.
    fn new(host: [&str; 2]) -> Result<Self, Failed> {
        let lab = Lab::new()?;
        lab.provider.address(&[("fd02::2".parse()?, 128)])?;
        serve(&lab.provider, "fd02::2".parse()?, 8080)?;
        bridge(&lab.consumer, ROUTER)?;
        let host = attach(&lab.consumer, host)?;
        ip(&host, "route add default via 10.1.0.1")?;
        ip(&host, "route add default via fd01::1")?;
        let branch = Self { lab, host };
        branch.forward(true)?;
        Ok(branch)
    }

    /// A host that holds the endpoint's addresses on-link.
    fn on_link() -> Result<Self, Failed> {
        Self::new(["10.1.0.7/16", "fd01::7/64"])
    }

    /// Writes the operator's file; `more` goes into the endpoint's table, which is the last.
    fn declare(&self, more: &str) -> Result<(), Failed> {
        let mut file = self.lab.operators_file(self.lab.consumer.name());
        for (four, six) in [
            (r#""10.2.9.1""#, r#""fd02::9:1""#),
            (r#""10.1.9.50""#, r#""fd01::9:50""#),
            (r#""10.2.0.2", port = 8080"#, r#""fd02::2", port = 8080"#),
        ] {
            file = file
                .replace(&format!("address = {four}"), &format!("address = {four} }}, {{ address = {six}"));
        }
        Ok(fs::write(self.lab.config(), file + more)?)
    }

    fn forward(&self, on: bool) -> Result<(), Failed> {
        let value = u8::from(on);
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let write = || fs::write(format!("/proc/sys/net/{setting}"), value.to_string());
            inside(self.lab.consumer.path(), write)??;
        }
        Ok(())
    }

    fn talks(&self) -> Result<(), Failed> {
        for (door, node) in WAYS {
            let seen = talk(&self.host, door).map_err(|error| format!("{door}: {error}"))?;
            ensure(seen == node, || format!("through {door} the target sees {seen}"))?;
        }
        Ok(())
    }

    fn finds_nobody(&self) -> Result<(), Failed> {
        WAYS.iter().try_for_each(|(door, _)| {
            ensure(talk(&self.host, door).is_err(), || format!("the host finds {door}"))
        })
    }

    /// The addresses that the consumer answers for.
    fn answers(&self) -> Result<String, Failed> {
        ip(&self.lab.consumer, "neigh show proxy")
    }

    fn nothing_is_left(&self) -> Result<(), Failed> {
        let answers = self.answers()?;
        ensure(answers.is_empty(), || format!("still answered: {answers}"))?;
        let read = || fs::read_to_string("/proc/sys/net/ipv6/conf/br0/proxy_ndp");
        ensure(inside(self.lab.consumer.path(), read)??.trim() == "0", || "proxy_ndp is still on".into())
    }
}

/// A bridge that is up and has these addresses.
fn bridge(namespace: &Namespace, addresses: [&str; 2]) -> Result<(), Failed> {
    ip(namespace, "link add br0 type bridge")?;
    ip(namespace, "link set br0 up")?;
    addresses.iter().try_for_each(|address| assign(namespace, "br0", address))
}

/// A host with these addresses, on the bridge of another namespace.
fn attach(router: &Namespace, addresses: [&str; 2]) -> Result<Namespace, Failed> {
    let host = Namespace::unique("sg-cli-h")?;
    ip(router, &format!("link add port type veth peer name uplink netns {}", host.name()))?;
    ip(router, "link set port master br0 up")?;
    ip(&host, "link set uplink up")?;
    addresses.iter().try_for_each(|address| assign(&host, "uplink", address))?;
    Ok(host)
}

fn assign(namespace: &Namespace, link: &str, address: &str) -> Result<(), Failed> {
    let nodad = if address.contains(':') { "nodad" } else { "" };
    ip(namespace, &format!("address add {address} dev {link} {nodad}")).map(drop)
}

/// What `ip` says in the namespace.
fn ip(namespace: &Namespace, command: &str) -> Result<String, Failed> {
    let output =
        Command::new("ip").args(["-n", namespace.name()]).args(command.split_whitespace()).output()?;
    exited(&output, 0, &[])?;
    Ok(String::from_utf8(output.stdout)?)
}

/// A server that says who connects, for as long as the process lasts.
fn serve(namespace: &Namespace, address: IpAddr, port: u16) -> Result<(), Failed> {
    let listener = inside(namespace.path(), || TcpListener::bind((address, port)))??;
    thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            // Whoever does not listen any more is not served.
            let _ = stream.write_all(peer.ip().to_string().as_bytes());
        }
    });
    Ok(())
}

/// What the server behind an endpoint's address says to a host.
fn talk(host: &Namespace, door: &str) -> io::Result<String> {
    let door = (door.parse::<IpAddr>().map_err(io::Error::other)?, 80).into();
    let connect = || TcpStream::connect_timeout(&door, PATIENCE);
    let mut stream = inside(host.path(), connect).map_err(io::Error::other)??;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn on_link_they_need_answer_on() -> Result<(), Failed> {
    let branch = Branch::on_link()?;
    branch.declare("")?;
    let silent = branch.lab.start()?;
    branch.finds_nobody()?;
    ensure(branch.lab.talk()? == "10.2.9.1", || "programs in the namespace need nothing".into())?;
    ensure(silent.end(Signal::TERM)?.success(), || "it does not end well".into())?;

    branch.declare(ANSWER_ON)?;
    let running = branch.lab.start()?;
    branch.talks()?;
    ensure(running.end(Signal::TERM)?.success(), || "it does not end well".into())?;
    branch.nothing_is_left()
}

fn that_route_here_need_forwarding_only() -> Result<(), Failed> {
    let branch = Branch::new(["10.1.0.7/24", "fd01::7/112"])?;
    branch.declare("")?;
    let _running = branch.lab.start()?;
    branch.talks()?;
    branch.forward(false)?;
    branch.finds_nobody()
}

/// The provider's side: a target that holds the node's address on-link.
fn that_are_targets_find_the_node() -> Result<(), Failed> {
    let lab = Lab::new()?;
    bridge(&lab.provider, ["10.2.0.1/16", "fd02::1/64"])?;
    let target = attach(&lab.provider, ["10.2.0.9/16", "fd02::9/64"])?;
    serve(&target, "10.2.0.9".parse()?, 8080)?;
    inside(lab.provider.path(), || fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
    let file = lab.operators_file(lab.consumer.name()).replace("10.2.0.2", "10.2.0.9");
    fs::write(lab.config(), &file)?;
    let silent = lab.start()?;
    ensure(lab.talk().is_err(), || "the target has found the node".into())?;
    ensure(silent.end(Signal::TERM)?.success(), || "it does not end well".into())?;

    fs::write(lab.config(), file.replace("nodes = ", &format!("{ANSWER_ON}\nnodes = ")))?;
    let _running = lab.start()?;
    eventually("the target's answers arrive", || lab.talk().is_ok_and(|seen| seen == "10.2.9.1"))
}

fn after_sigkill_a_start_takes_over() -> Result<(), Failed> {
    let branch = Branch::on_link()?;
    branch.declare(ANSWER_ON)?;
    let first = branch.lab.start()?;
    branch.talks()?;
    first.end(Signal::KILL)?;
    ensure(branch.answers()?.lines().count() == 2, || "a killed process cannot clean up".into())?;

    let second = branch.lab.start()?;
    branch.talks()?;
    ensure(second.end(Signal::TERM)?.success(), || "it does not end well".into())?;
    let answers = branch.answers()?;
    ensure(answers.is_empty(), || format!("still answered: {answers}"))
}

fn in_a_namespaces_successor_are_answered() -> Result<(), Failed> {
    let mut branch = Branch::on_link()?;
    branch.declare(ANSWER_ON)?;
    let running = branch.lab.start()?;
    branch.talks()?;
    let name = branch.lab.consumer.name().to_owned();
    // The old one has to go before the new one of the same name can come.
    drop(std::mem::replace(&mut branch.lab.consumer, Namespace::unique("sg-cli-other")?));
    branch.lab.consumer = Namespace::create(&name)?;
    eventually("the device needs no link", || branch.lab.has_device().is_ok_and(|has| has))?;
    bridge(&branch.lab.consumer, ROUTER)?;
    branch.host = attach(&branch.lab.consumer, ["10.1.0.7/16", "fd01::7/64"])?;
    branch.forward(true)?;
    eventually("they are answered", || branch.talks().is_ok())?;
    ensure(running.end(Signal::TERM)?.success(), || "it does not end well".into())?;
    branch.nothing_is_left()
}

fn check_and_run_say_what_is_missing() -> Result<(), Failed> {
    let branch = Branch::on_link()?;
    branch.declare(ANSWER_ON)?;
    let Branch { lab, .. } = &branch;
    let check = || lab.sidegate("check").arg("--live").output();
    let told = || -> Result<String, Failed> {
        let log = lab.scratch("log");
        let mut running = Running::start(lab.sidegate("run").stderr(File::create(&log)?))?;
        ensure(running.line()? == "ready", || "it is not ready".into())?;
        ensure(running.end(Signal::TERM)?.success(), || "it does not end well".into())?;
        Ok(fs::read_to_string(&log)?)
    };
    exited(
        &check()?,
        0,
        &["answer     10.1.9.50   on br0", "hosts on br0 -> fd01::9:50 in namespace", "answered"],
    )?;
    let quiet = told()?;
    ensure(!quiet.contains("WARN"), || format!("nothing is wrong, and yet: {quiet}"))?;
    ensure(quiet.contains("proxy_ndp of br0"), || format!("what it changes is not said: {quiet}"))?;

    branch.forward(false)?;
    let remedy = ["hosts on br0 -> 10.1.9.50 in namespace", "nobody answers them", "net.ipv4.ip_forward=1"];
    exited(&check()?, 2, &remedy)?;
    let warned = told()?;
    ensure(remedy.iter().all(|words| warned.contains(words)), || warned.clone())?;

    branch.declare("answer_on = [\"br7\"]")?;
    exited(&check()?, 2, &["hosts on br7 -> 10.1.9.50", "no such link"])?;
    exited(&lab.sidegate("run").output()?, 2, &["10.1.9.50 on br7", "no such link", "answer_on"])?;
    ensure(!lab.has_device()?, || "a device is left".into())
}

/// As in a container: in a mount namespace of the command's own, /proc/sys cannot be written.
fn where_settings_are_read_only_it_is_said_so() -> Result<(), Failed> {
    let branch = Branch::on_link()?;
    branch.declare(ANSWER_ON)?;
    let Branch { lab, .. } = &branch;
    let read_only = |verb: &str, more: &[&str]| {
        let script = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";
        let sidegate = lab.sidegate(verb);
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(sidegate.get_program()).args(sidegate.get_args()).args(more).output()
    };
    let (check, run) = (|| read_only("check", &["--live"]), || read_only("run", &["--", "true"]));
    let told =
        ["`proxy_ndp` of br0 is off", "/proc/sys is read-only", "sysctl -w net.ipv6.conf.br0.proxy_ndp=1"];
    exited(&check()?, 2, &told)?;
    exited(&run()?, 2, &told)?;
    ensure(!lab.has_device()?, || "a device is left".into())?;

    let set = || fs::write("/proc/sys/net/ipv6/conf/br0/proxy_ndp", "1");
    inside(lab.consumer.path(), set)??;
    exited(&check()?, 0, &["answered"])?;
    exited(&run()?, 0, &[])
}
