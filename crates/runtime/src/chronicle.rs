//! The chronicle: what the log says of the targets' health, and no more of it than somebody can read.

use std::collections::BTreeMap;
use std::time::Duration;

use balance::{Member, Register, Standing};
use topology::TargetId;

/// How many changes are said within a page.
const LINES: usize = 20;
/// How long a page is.
const PAGE: Duration = Duration::from_secs(10);

/// What was last said of each target.
#[derive(Default)]
pub(crate) struct Chronicle {
    known: BTreeMap<TargetId, Known>,
    page: Page,
}

struct Known {
    standing: Standing,
    /// As it is called.
    name: String,
}

/// What was said lately.
#[derive(Default)]
struct Page {
    since: Duration,
    changes: usize,
}

impl Chronicle {
    /// What is to be said of targets that are in another state than they were, each in a line.
    pub(crate) fn news(&mut self, register: &Register, now: Duration) -> Vec<String> {
        let mut lines: Vec<String> = self.page.turn(now).into_iter().collect();
        let members: BTreeMap<TargetId, &Member> = register.members().collect();
        self.known.retain(|id, Known { standing, name }| {
            let stays = members.contains_key(id);
            if !stays {
                lines.extend(self.page.line(|| format!("{name}: {} -> gone", standing.state.as_str())));
            }
            stays
        });
        for (id, member) in members {
            let standing = member.standing;
            let known = self.known.entry(id).or_insert_with(|| Known { standing, name: name(member) });
            if known.standing.state != standing.state {
                let before = known.standing.state.as_str();
                lines.extend(self.page.line(|| format!("{}: {before} -> {}", known.name, shown(standing))));
            }
            known.standing = standing;
        }
        lines
    }
}

impl Page {
    /// Begins a new page if this one is full, and says what did not fit on it.
    fn turn(&mut self, now: Duration) -> Option<String> {
        if now < self.since + PAGE {
            return None;
        }
        let left_out = self.changes.saturating_sub(LINES);
        *self = Self { since: now, changes: 0 };
        (left_out > 0).then(|| format!("targets have changed their states {left_out} times more"))
    }

    /// The line, if there is room for it.
    fn line(&mut self, line: impl FnOnce() -> String) -> Option<String> {
        self.changes += 1;
        (self.changes <= LINES).then(line)
    }
}

fn name(member: &Member) -> String {
    format!("target {} of group {}", member.target.socket(), member.group)
}

/// A state, and why it is that.
fn shown(standing: Standing) -> String {
    let state = standing.state.as_str();
    match standing.reason {
        Some(reason) => format!("{state} ({}: {})", reason.as_str(), reason.description()),
        None => state.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use balance::{Health, Reason, State};
    use topology::{Origin, Topology};

    use super::*;

    /// A group of so many targets that are checked.
    fn targets(count: usize) -> Topology {
        let targets: String =
            (1..=count).map(|nth| format!("{{ address = \"10.2.0.{nth}\", port = 80 }},")).collect();
        let file = format!(
            r#"
            [[service]]
            name = "web"
            namespace = "provider"
            nodes = [{{ address = "10.2.9.1" }}]
            listeners = [{{ protocol = "tcp", port = 80, forward = "web" }}]
            [[target_group]]
            name = "web"
            health_check = {{ protocol = "tcp" }}
            attributes = {{ "deregistration_delay.timeout_seconds" = 5 }}
            targets = [{targets}]
            [[endpoint]]
            name = "web-a"
            service = "web"
            namespace = "consumer"
            interfaces = [{{ address = "10.1.9.50" }}]
            "#
        );
        Topology::parse(&file, &Origin::new(Path::new("/web.toml"))).unwrap()
    }

    struct Scene {
        topology: Topology,
        register: Register,
        health: Health,
        chronicle: Chronicle,
    }

    impl Scene {
        fn new(count: usize) -> Self {
            let (topology, health, mut register) = (targets(count), Health::default(), Register::default());
            register.adopt(&topology, &health, Duration::ZERO);
            let mut scene = Self { topology, register, health, chronicle: Chronicle::default() };
            assert!(scene.news(0).is_empty(), "nothing has changed");
            scene
        }

        /// What is said after all targets were found to be so.
        fn found(&mut self, standing: Standing, seconds: u64) -> Vec<String> {
            for (id, _) in self.topology.targets.iter() {
                self.health.set(id, standing);
            }
            self.news(seconds)
        }

        fn news(&mut self, seconds: u64) -> Vec<String> {
            let now = Duration::from_secs(seconds);
            self.register.review(&self.health, now);
            self.chronicle.news(&self.register, now)
        }
    }

    #[test]
    fn each_change_is_said_once() {
        let mut scene = Scene::new(1);
        let checking = Standing::of(State::Initial, Reason::InitialHealthChecking);
        assert!(scene.found(checking, 1).is_empty(), "not another state");
        assert_eq!(
            scene.found(Standing::HEALTHY, 2),
            ["target 10.2.0.1:80 of group web: initial -> healthy"]
        );
        assert!(scene.news(3).is_empty());
        let late = scene.found(Standing::of(State::Unhealthy, Reason::Timeout), 4);
        let [line] = late.as_slice() else { panic!("{late:?}") };
        assert!(
            line.starts_with("target 10.2.0.1:80 of group web: healthy -> unhealthy (Target.Timeout: "),
            "{line}"
        );
    }

    #[test]
    fn who_leaves_is_seen_off() {
        let mut scene = Scene::new(2);
        scene.found(Standing::HEALTHY, 1);
        let fewer = targets(1).succeed(&scene.topology).unwrap();
        scene.register.adopt(&fewer, &scene.health, Duration::from_secs(2));
        let draining = scene.news(2);
        assert!(
            draining[0].contains("10.2.0.2:80 of group web: healthy -> draining (Target.Dereg"),
            "{draining:?}"
        );
        assert!(scene.news(3).is_empty());
        assert_eq!(scene.news(9), ["target 10.2.0.2:80 of group web: draining -> gone"]);
        assert!(scene.news(10).is_empty());
    }

    #[test]
    fn a_flood_of_changes_is_told_in_a_few_lines() {
        let mut scene = Scene::new(100);
        assert_eq!(scene.found(Standing::HEALTHY, 1).len(), LINES);
        let unhealthy = Standing::of(State::Unhealthy, Reason::Timeout);
        assert!(scene.found(unhealthy, 2).is_empty());
        assert_eq!(scene.news(11), ["targets have changed their states 180 times more"]);
        assert!(scene.news(12).is_empty());
        assert_eq!(scene.found(Standing::HEALTHY, 30).len(), LINES);
    }
}
