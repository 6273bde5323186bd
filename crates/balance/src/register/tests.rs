use topology::Origin;

use super::*;

const UNWELL: Standing = Standing::of(State::Unhealthy, Reason::Timeout);
const CHECKED: &str = "health_check = {}";

/// A group with these targets, a health check or none, and attributes.
fn file(targets: &[&str], check: &str, attributes: &str) -> Topology {
    let targets: Vec<_> = targets.iter().map(|target| format!("{{ port = 80, {target} }}")).collect();
    let text = format!(
        r#"
        [[service]]
        name = "orders"
        namespace = "provider"
        nodes = [{{ zone = "a", address = "10.2.9.1" }}, {{ zone = "b", address = "10.2.9.2" }}]
        listeners = [{{ protocol = "tcp", port = 80, forward = "web" }}]
        [[target_group]]
        name = "web"
        targets = [{}]
        {check}
        [target_group.attributes]
        {attributes}
        "#,
        targets.join(", ")
    );
    Topology::parse(&text, &Origin::new("/etc/sidegate/test.toml")).unwrap()
}

const ONE: &str = r#"address = "10.2.0.1""#;
const OTHER: &str = r#"address = "10.2.0.2""#;

/// What is under test, and the topology that it has taken up last.
struct Ground {
    topology: Topology,
    register: Register,
    health: Health,
}

impl Ground {
    fn new(topology: Topology) -> Self {
        let (mut register, health) = (Register::default(), Health::default());
        register.adopt(&topology, &health, Duration::ZERO);
        register.review(&health, Duration::ZERO);
        Self { topology, register, health }
    }

    fn reload(&mut self, topology: Topology, now: u64) -> Option<Duration> {
        self.topology = topology.succeed(&self.topology).unwrap();
        self.register.adopt(&self.topology, &self.health, Duration::from_secs(now));
        self.review(now)
    }

    fn review(&mut self, now: u64) -> Option<Duration> {
        self.register.review(&self.health, Duration::from_secs(now))
    }

    fn found(&mut self, target: TargetId, standing: Standing, now: u64) -> Option<Duration> {
        self.health.set(target, standing);
        self.review(now)
    }

    fn target(&self, address: &str) -> TargetId {
        let mut targets = self.topology.targets.iter();
        targets.find(|(_, target)| target.address.to_string() == address).unwrap().0
    }

    fn state(&self, target: TargetId) -> State {
        self.register.standing(target).state
    }

    fn member(&self, target: TargetId) -> Option<&Member> {
        self.register.members().find(|(id, _)| *id == target).map(|(_, member)| member)
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_target_serves_once_its_checks_say_so() {
    let mut ground = Ground::new(file(&[ONE, OTHER], CHECKED, ""));
    let (one, other) = (ground.target("10.2.0.1"), ground.target("10.2.0.2"));
    assert_eq!(ground.register.standing(one), Standing::default());
    assert!(!ground.register.takes_newcomers(one) && ground.register.is_eligible_when_failing_open(one));
    assert_eq!(ground.found(one, Standing::HEALTHY, 7), None, "nothing will happen by itself");
    assert!(ground.register.takes_newcomers(one) && !ground.register.takes_newcomers(other));
    assert_eq!(ground.member(one).unwrap().since, seconds(7));

    let unchecked = Ground::new(file(&[ONE], "", ""));
    let disabled = Standing::of(State::Healthy, Reason::HealthCheckDisabled);
    assert_eq!(unchecked.register.standing(unchecked.target("10.2.0.1")), disabled);
    assert!(unchecked.register.takes_newcomers(one));
}

#[test]
fn an_unhealthy_target_keeps_its_flows_or_not() {
    let terminates = r#""target_health_state.unhealthy.connection_termination.enabled" = "#;
    let interval = r#""target_health_state.unhealthy.draining_interval_seconds" = 60"#;
    let fall = |attributes: &str| {
        let mut ground = Ground::new(file(&[ONE], CHECKED, attributes));
        let one = ground.target("10.2.0.1");
        ground.found(one, Standing::HEALTHY, 5);
        assert_eq!(ground.register.tenure(one), Tenure::Kept);
        let deadline = ground.found(one, UNWELL, 10);
        assert!(!ground.register.takes_newcomers(one) && ground.register.is_eligible_when_failing_open(one));
        (ground, one, deadline)
    };
    let (ground, one, _) = fall("");
    assert_eq!((ground.register.standing(one), ground.register.tenure(one)), (UNWELL, Tenure::Unhealthy));

    let (ground, one, deadline) = fall(&format!("{terminates}false"));
    assert_eq!((ground.register.standing(one), ground.register.tenure(one)), (UNWELL, Tenure::Kept));
    assert_eq!(deadline, None);

    let (mut ground, one, deadline) = fall(&format!("{terminates}false\n{interval}"));
    assert_eq!((ground.state(one), deadline), (State::UnhealthyDraining, Some(seconds(70))));
    ground.review(69);
    assert_eq!(ground.register.tenure(one), Tenure::Kept);
    ground.review(70);
    assert_eq!((ground.register.standing(one), ground.register.tenure(one)), (UNWELL, Tenure::Unhealthy));
    ground.found(one, Standing::HEALTHY, 80);
    assert_eq!((ground.state(one), ground.register.tenure(one)), (State::Healthy, Tenure::Kept));
}

#[test]
fn who_is_removed_drains_and_leaves() {
    let ends = r#""deregistration_delay.connection_termination.enabled" = "#;
    for (ends_flows, tenure) in [(false, Tenure::Kept), (true, Tenure::Deregistered)] {
        let attributes = format!("{ends}{ends_flows}");
        let mut ground = Ground::new(file(&[ONE, OTHER], "", &attributes));
        let one = ground.target("10.2.0.1");
        assert_eq!(ground.reload(file(&[OTHER], "", &attributes), 10), Some(seconds(310)));
        let draining = Standing::of(State::Draining, Reason::DeregistrationInProgress);
        assert_eq!((ground.register.standing(one), ground.register.tenure(one)), (draining, Tenure::Kept));
        assert!(!ground.register.is_eligible_when_failing_open(one));
        let member = ground.member(one).unwrap();
        assert_eq!(
            (member.group.as_str(), member.since, member.until),
            ("web", seconds(10), Some(seconds(310)))
        );
        assert_eq!(member.target.address.to_string(), "10.2.0.1");

        assert_eq!(ground.review(310), None);
        assert_eq!((ground.state(one), ground.register.tenure(one)), (State::Unused, tenure));
        assert!(ground.member(one).is_none());
    }
}

#[test]
fn who_comes_back_begins_anew() {
    let mut ground = Ground::new(file(&[ONE, OTHER], CHECKED, ""));
    let one = ground.target("10.2.0.1");
    ground.found(one, Standing::HEALTHY, 5);
    ground.reload(file(&[OTHER], CHECKED, ""), 10);
    assert_eq!(ground.state(one), State::Draining);
    assert_eq!(ground.reload(file(&[OTHER, ONE], CHECKED, ""), 20), None);
    assert_eq!(ground.target("10.2.0.1"), one, "the same target");
    assert_eq!((ground.state(one), ground.health.standing(one)), (State::Initial, Standing::default()));
    ground.review(400);
    assert_eq!(ground.register.tenure(one), Tenure::Kept, "nobody remembers that it was to leave");
}

#[test]
fn nothing_leads_to_who_has_no_weight_or_a_zone_of_its_own() {
    let lonely = r#"address = "10.2.0.3", zone = "c""#;
    let light = r#"address = "10.2.0.4", weight = 0"#;
    let mut ground = Ground::new(file(&[ONE, lonely, light], CHECKED, ""));
    for address in ["10.2.0.3", "10.2.0.4"] {
        let target = ground.target(address);
        ground.health.set(target, UNWELL);
        ground.review(5);
        assert_eq!(ground.register.standing(target), Standing::of(State::Unused, Reason::NotInUse));
        assert_eq!(ground.register.tenure(target), Tenure::Kept);
        assert!(!ground.register.is_eligible_when_failing_open(target));
    }
    let (lonely_id, light_id) = (ground.target("10.2.0.3"), ground.target("10.2.0.4"));
    let in_use = r#"address = "10.2.0.4""#;
    ground.reload(file(&[ONE, lonely, in_use], CHECKED, r#""load_balancing.cross_zone.enabled" = true"#), 10);
    assert_eq!((ground.state(lonely_id), ground.state(light_id)), (State::Initial, State::Initial));
}
