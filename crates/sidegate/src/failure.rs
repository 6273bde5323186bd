//! Why the command ends without success, and the exit status for it.

use std::fmt::Display;
use std::process::ExitCode;

use control::{AskError, ClaimError};
use device::{DeviceError, Obstacle};
use runtime::RunError;
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

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NotRunning { .. } => Self::mistake(error),
            _ => Self::system(error),
        }
    }
}
