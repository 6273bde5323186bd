//! Why the command ends without success, and the exit status for it.

use std::fmt::Display;
use std::process::ExitCode;

use control::{AskError, ClaimError, Refusal};
use device::{DeviceError, Obstacle};
use runtime::{ReloadError, RunError};
use thiserror::Error;

/// Each says what, where, and what to do.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The operator asked for something that cannot be.
    #[error("{0}")]
    Mistake(String),
    /// The system refused.
    #[error("{0}")]
    System(String),
    /// A signal ended what had not come to its end.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    pub(crate) const MISTAKE: ExitCode = ExitCode::FAILURE;

    pub(crate) fn mistake(what: impl Display) -> Self {
        Self::Mistake(what.to_string())
    }

    pub(crate) fn system(what: impl Display) -> Self {
        Self::System(what.to_string())
    }

    /// The same, and something more about it.
    pub(crate) fn adding(self, remark: &str) -> Self {
        match self {
            Self::Mistake(what) => Self::Mistake(format!("{what}; {remark}")),
            Self::System(what) => Self::System(format!("{what}; {remark}")),
            Self::Interrupted => self,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Mistake(_) => Self::MISTAKE,
            Self::System(_) => ExitCode::from(2),
            // As shells have it for SIGINT.
            Self::Interrupted => ExitCode::from(130),
        }
    }
}

impl From<ClaimError> for Failure {
    fn from(error: ClaimError) -> Self {
        Self::system(error)
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        Self::system(error)
    }
}

impl From<Obstacle> for Failure {
    fn from(obstacle: Obstacle) -> Self {
        Self::system(obstacle)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::system(error)
    }
}

/// As it is told to somebody who asked over the control socket.
impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Mistake(what) => Self::Mistake(what),
            _ => Self::Error(failure.to_string()),
        }
    }
}

impl From<ReloadError> for Failure {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Unchangeable(_) | ReloadError::OutOfIds(_) => Self::mistake(error),
            ReloadError::Device(_) | ReloadError::Silent => Self::system(error),
        }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NotRunning { .. } | AskError::Refused(Refusal::Mistake(_)) => Self::mistake(error),
            _ => Self::system(error),
        }
    }
}
