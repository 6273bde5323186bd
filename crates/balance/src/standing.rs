//! How a target stands: the states and reasons of the real load balancer, spelt as its API spells them.

/// What a target is to its load balancer. All that the API knows are here, so that a table can be read beside the real one's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// Registered, and not yet found to be well or unwell. Takes no new flows.
    Initial,
    /// Takes new flows.
    Healthy,
    /// Fails its checks. Takes no new flows.
    Unhealthy,
    /// Fails its checks, and its flows are kept for a while. Takes no new flows.
    UnhealthyDraining,
    /// No longer registered, and its flows are kept for a while. Takes no new flows.
    Draining,
    /// Registered, but nothing leads to it.
    Unused,
    /// Its health cannot be told. We can always tell.
    Unavailable,
}

impl State {
    const ALL: [Self; 7] = [
        Self::Initial,
        Self::Healthy,
        Self::Unhealthy,
        Self::UnhealthyDraining,
        Self::Draining,
        Self::Unused,
        Self::Unavailable,
    ];

    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::UnhealthyDraining => "unhealthy.draining",
            Self::Draining => "draining",
            Self::Unused => "unused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why a target is in its state. All that the API knows, as with [`State`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// It was registered just now.
    RegistrationInProgress,
    /// Its first checks are under way.
    InitialHealthChecking,
    /// The load balancer could not check it. We hold nothing against a target that we cannot check.
    InternalError,
    /// It answered with a status that does not mean health.
    ResponseCodeMismatch,
    /// It did not answer in time.
    Timeout,
    /// It refused, or its answer made no sense.
    FailedHealthChecks,
    /// It is not registered.
    NotRegistered,
    /// No listener, weight or zone leads to it.
    NotInUse,
    /// It was removed, and its flows may end in peace.
    DeregistrationInProgress,
    /// It is not running: an instance that is stopped. We know addresses only.
    InvalidState,
    /// Its address cannot be used. Our files cannot say such a one.
    IpUnusable,
    /// It is not checked.
    HealthCheckDisabled,
}

impl Reason {
    const ALL: [Self; 12] = [
        Self::RegistrationInProgress,
        Self::InitialHealthChecking,
        Self::InternalError,
        Self::ResponseCodeMismatch,
        Self::Timeout,
        Self::FailedHealthChecks,
        Self::NotRegistered,
        Self::NotInUse,
        Self::DeregistrationInProgress,
        Self::InvalidState,
        Self::IpUnusable,
        Self::HealthCheckDisabled,
    ];

    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RegistrationInProgress => "Elb.RegistrationInProgress",
            Self::InitialHealthChecking => "Elb.InitialHealthChecking",
            Self::InternalError => "Elb.InternalError",
            Self::ResponseCodeMismatch => "Target.ResponseCodeMismatch",
            Self::Timeout => "Target.Timeout",
            Self::FailedHealthChecks => "Target.FailedHealthChecks",
            Self::NotRegistered => "Target.NotRegistered",
            Self::NotInUse => "Target.NotInUse",
            Self::DeregistrationInProgress => "Target.DeregistrationInProgress",
            Self::InvalidState => "Target.InvalidState",
            Self::IpUnusable => "Target.IpUnusable",
            Self::HealthCheckDisabled => "Target.HealthCheckDisabled",
        }
    }

    /// The same in a line for people.
    pub const fn description(self) -> &'static str {
        match self {
            Self::RegistrationInProgress => "registered just now; its first check is to come",
            Self::InitialHealthChecking => "its first checks are under way",
            Self::InternalError => "it could not be checked, for no fault of its own",
            Self::ResponseCodeMismatch => {
                "its answer to the check has a status that the matcher does not accept"
            }
            Self::Timeout => "it did not answer the check in time",
            Self::FailedHealthChecks => "it refused the check's connection, reset it, or answered nonsense",
            Self::NotRegistered => "it is in no target group",
            Self::NotInUse => "no listener leads to it, its weight is 0, or no node uses its zone and family",
            Self::DeregistrationInProgress => "it was removed; its flows may go on until the delay is over",
            Self::InvalidState => "it is not running",
            Self::IpUnusable => "its address cannot be used",
            Self::HealthCheckDisabled => "no health check: counts as healthy",
        }
    }
}

/// A target's state, and the reason where there is one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Standing {
    /// The state.
    pub state: State,
    /// Why it is that; a healthy target needs no reason.
    pub reason: Option<Reason>,
}

impl Standing {
    /// In service.
    pub const HEALTHY: Self = Self { state: State::Healthy, reason: None };

    /// This state, for this reason.
    pub const fn of(state: State, reason: Reason) -> Self {
        Self { state, reason: Some(reason) }
    }

    /// Both in 16 bits of a word.
    pub const fn to_bits(self) -> u32 {
        let reason = match self.reason {
            Some(reason) => reason as u32 + 1,
            None => 0,
        };
        self.state as u32 | reason << 8
    }

    /// What [`Standing::to_bits`] packed. Bits that it never packs are somebody who was registered just now.
    pub fn from_bits(bits: u32) -> Self {
        let [state, reason, ..] = bits.to_le_bytes().map(usize::from);
        let reason = reason.checked_sub(1).and_then(|reason| Reason::ALL.get(reason).copied());
        State::ALL.get(state).map_or_else(Self::default, |&state| Self { state, reason })
    }
}

impl Default for Standing {
    /// That of somebody who was registered just now.
    fn default() -> Self {
        Self::of(State::Initial, Reason::RegistrationInProgress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standing_comes_out_as_it_went_in() {
        for state in State::ALL {
            let reasons = Reason::ALL.into_iter().map(Some).chain([None]);
            for standing in reasons.map(|reason| Standing { state, reason }) {
                assert_eq!(Standing::from_bits(standing.to_bits()), standing);
            }
        }
        assert_eq!(Standing::from_bits(u32::MAX), Standing::default());
    }

    #[test]
    fn names_are_those_of_the_api() {
        assert_eq!(State::UnhealthyDraining.as_str(), "unhealthy.draining");
        for reason in Reason::ALL {
            let (owner, name) = reason.as_str().split_once('.').unwrap();
            assert_eq!(name, format!("{reason:?}"));
            assert!(["Elb", "Target"].contains(&owner), "{owner}");
        }
    }
}
