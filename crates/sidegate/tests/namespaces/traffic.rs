//! What a running instance tells about its traffic: `targets`, `services`, `endpoints`, `flows` and `explain`.

use std::process::Command;

use libtest_mimic::Failed;
use runtime::{EndpointDetail, Explanation, FlowList, ServiceStatus, TargetStatus};
use rustix::process::Signal;
use serde::de::DeserializeOwned;

use crate::Named;
use crate::lab::{Lab, Running, ensure, exited};

pub(crate) const TRIALS: &[Named] = &[
    ("traffic::tables_name_what_there_is", tables_name_what_there_is),
    ("traffic::scripts_get_the_same", scripts_get_the_same),
    ("traffic::flows_are_picked", flows_are_picked),
    ("traffic::a_watch_goes_on_until_it_is_ended", a_watch_goes_on_until_it_is_ended),
    ("traffic::a_watch_ends_with_its_reader", a_watch_ends_with_its_reader),
    ("traffic::explain_tells_what_would_become_of_it", explain_tells_what_would_become_of_it),
    ("traffic::explain_knows_what_a_number_decides", explain_knows_what_a_number_decides),
];

const SECOND: [u8; 4] = [10, 2, 0, 3];
const FROM: [&str; 2] = ["--from", "10.1.0.2:40000"];
const TO: [&str; 2] = ["--to", "10.1.9.50:80"];

/// A lab whose group has two targets.
fn lab() -> Result<Lab, Failed> {
    let lab = Lab::new()?;
    lab.serve_at(SECOND, "second")?;
    let one = r#"{ address = "10.2.0.2", port = 8080 }"#;
    lab.rewrite(one, &format!(r#"{one}, {{ address = "10.2.0.3", port = 8080, weight = 3 }}"#))?;
    Ok(lab)
}

fn json<T: DeserializeOwned>(command: &mut Command) -> Result<T, Failed> {
    let output = command.arg("--json").output()?;
    exited(&output, 0, &[])?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn tables_name_what_there_is() -> Result<(), Failed> {
    let lab = lab()?;
    let _running = lab.start()?;
    let _open = lab.connect()?;
    let [consumer, provider] = [lab.consumer.name(), lab.provider.name()];
    for (verb, words) in [
        ("targets", &["web", "10.2.0.2:8080", "10.2.0.3:8080", "healthy"][..]),
        ("services", &["service orders", provider, "10.2.9.1", "tcp 80", "nat", "web", "2 of 2"]),
        ("endpoints", &["orders-a", "orders", consumer, "10.1.9.50", "10.2.9.1", "up"]),
        ("flows", &["tcp nat", "10.1.0.2:", "orders-a:80", "10.2.9.1:", "1 of 1 flow"]),
    ] {
        let output = lab.sidegate(verb).output()?;
        exited(&output, 0, words)?;
        let shown = String::from_utf8(output.stdout)?;
        ensure(shown.lines().all(|line| line.chars().count() <= 100), || format!("too wide: {shown}"))?;
    }
    exited(&lab.sidegate("targets").args(["--group", "web"]).output()?, 0, &["10.2.0.2:8080"])?;
    exited(&lab.sidegate("targets").args(["--group", "wep"]).output()?, 1, &["\"wep\"", "lists all"])
}

fn scripts_get_the_same() -> Result<(), Failed> {
    let lab = lab()?;
    let _running = lab.start()?;
    let _open = lab.connect()?;
    let targets: Vec<TargetStatus> = json(&mut lab.sidegate("targets"))?;
    ensure(targets.len() == 2 && targets.iter().all(|target| target.state == "healthy"), || {
        format!("{targets:?}")
    })?;
    let flows: usize = targets.iter().map(|target| target.flows).sum();
    ensure(flows == 1, || format!("one flow is open, and yet: {targets:?}"))?;
    let services: Vec<ServiceStatus> = json(&mut lab.sidegate("services"))?;
    ensure(
        services.len() == 1 && services[0].up && services[0].listeners[0].forward[0].healthy == 2,
        || format!("{services:?}"),
    )?;
    let endpoints: Vec<EndpointDetail> = json(&mut lab.sidegate("endpoints"))?;
    ensure(endpoints.len() == 1 && endpoints[0].up && endpoints[0].flows == 1, || format!("{endpoints:?}"))
}

fn flows_are_picked() -> Result<(), Failed> {
    let lab = lab()?;
    let _running = lab.start()?;
    let _open = [lab.connect()?, lab.connect()?, lab.connect()?];
    let matching = |filter: &[&str]| -> Result<usize, Failed> {
        let list: FlowList = json(lab.sidegate("flows").args(filter))?;
        Ok(list.matching)
    };
    ensure(matching(&[])? == 3, || "not all are listed".into())?;
    let [first, second] = [matching(&["--target", "10.2.0.2"])?, matching(&["--target", "10.2.0.3:8080"])?];
    ensure(first + second == 3, || format!("{first} and {second} are not 3"))?;
    for (filter, wanted) in [
        (["--endpoint", "orders-a"], 3),
        (["--client", "10.1.0.2"], 3),
        (["--client", "10.1.0.3"], 0),
        (["--target", "10.2.0.2:80"], 0),
        (["--protocol", "tcp"], 3),
        (["--protocol", "udp"], 0),
        (["--path", "nat"], 3),
        (["--path", "terminate"], 0),
        (["--sort", "age"], 3),
    ] {
        let found = matching(&filter)?;
        ensure(found == wanted, || format!("{filter:?}: {found} instead of {wanted}"))?;
    }
    let cut: FlowList = json(lab.sidegate("flows").args(["--limit", "2"]))?;
    ensure(cut.matching == 3 && cut.flows.len() == 2, || format!("{cut:?}"))?;
    exited(
        &lab.sidegate("flows").args(["--limit", "2"]).output()?,
        0,
        &["2 of 3 flows", "--limit N lists more"],
    )?;
    exited(&lab.sidegate("flows").args(["--endpoint", "orders-b"]).output()?, 1, &["orders-b"])
}

/// On a pipe: tables with an empty line between them, and nothing for terminals.
fn a_watch_goes_on_until_it_is_ended() -> Result<(), Failed> {
    let lab = lab()?;
    let _running = lab.start()?;
    let mut watch = Running::start(lab.sidegate("targets").arg("--watch=0.1"))?;
    for _ in 0..3 {
        let mut table = vec![watch.line()?];
        while let line = watch.line()?
            && !line.is_empty()
        {
            table.push(line);
        }
        ensure(table[0].starts_with("  GROUP"), || format!("the titles are missing: {table:?}"))?;
        let targets = table.iter().filter(|line| line.contains(":8080")).count();
        ensure(targets == 2, || format!("a target is missing: {table:?}"))?;
    }
    let status = watch.end(Signal::INT)?;
    ensure(status.success(), || format!("{status}"))?;

    let mut watch = Running::start(lab.sidegate("targets").args(["--watch=0.1", "--json"]))?;
    for _ in 0..2 {
        let targets: Vec<TargetStatus> = serde_json::from_str(&watch.line()?)?;
        ensure(targets.len() == 2, || format!("{targets:?}"))?;
    }
    Ok(())
}

fn a_watch_ends_with_its_reader() -> Result<(), Failed> {
    let lab = lab()?;
    let _running = lab.start()?;
    let watch = lab.sidegate("flows");
    let mut shell = Command::new("sh");
    shell.args(["-c", "{ \"$@\" --watch=0.1; echo $? >&2; } | head -n 1", "sh"]);
    let output = shell.arg(watch.get_program()).args(watch.get_args()).output()?;
    exited(&output, 0, &["there are no flows"])?;
    ensure(output.stderr == b"0\n", || String::from_utf8_lossy(&output.stderr).into())
}

fn explain_tells_what_would_become_of_it() -> Result<(), Failed> {
    let lab = lab()?;
    let _running = lab.start()?;
    let explain =
        |to: [&str; 2], more: &[&str]| lab.sidegate("explain").args(FROM).args(to).args(more).output();
    let way = ["admitted", "orders-a", "service orders", "tcp 80", "path nat", "group web", "10.2.9.1"];
    exited(&explain(TO, &[])?, 0, &way)?;
    exited(&explain(TO, &[])?, 0, &["25.0 %", "75.0 %", "depends on the SYN's sequence number"])?;
    exited(&explain(TO, &["--endpoint", "orders-a", "--isn", "7"])?, 0, &["would go to 10.2.0."])?;
    exited(&explain(["--to", "10.1.9.50:81"], &[])?, 0, &["refused"])?;
    exited(&explain(TO, &["--udp"])?, 0, &["refused"])?;
    exited(&explain(TO, &["--endpoint", "orders-b"])?, 1, &["orders-b"])?;
    exited(&explain(["--to", "10.9.9.9:80"], &[])?, 1, &["10.9.9.9"])
}

/// It is determined, and all numbers together are spread as the weights say.
fn explain_knows_what_a_number_decides() -> Result<(), Failed> {
    let lab = lab()?;
    let _running = lab.start()?;
    let choice = |isn: u32| -> Result<String, Failed> {
        let isn = isn.to_string();
        let told: Explanation = json(lab.sidegate("explain").args(FROM).args(TO).args(["--isn", &isn]))?;
        let choice = told.way.and_then(|way| way.choice).ok_or("no choice")?;
        Ok(choice.to_string())
    };
    let choices: Vec<String> = (0..40).map(choice).collect::<Result<_, _>>()?;
    for (isn, before) in choices.iter().enumerate().take(5) {
        ensure(choice(isn as u32)? == *before, || format!("number {isn} has gone elsewhere"))?;
    }
    let second = choices.iter().filter(|choice| *choice == "10.2.0.3:8080").count();
    ensure((20..40).contains(&second), || format!("{second} of 40, for three quarters"))
}
