//! How a command ended: its exit code, and the line or JSON object that says why.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::app::cli::{complain, say};
use crate::error::{Code, Coded};
use crate::registry::{Refusal, RegistryError, StoreError};

/// It is done.
pub(in crate::app) const DONE: u8 = 0;
/// The store or a file failed.
pub(in crate::app) const FAILED: u8 = 1;
/// What was typed cannot be used.
pub(in crate::app) const USAGE: u8 = 2;
/// Refused: not found, in use, someone else was first, or not allowed.
pub(in crate::app) const REFUSED: u8 = 3;
/// The change is made, and `--wait` ended before every replica served it.
pub(in crate::app) const NOT_SERVED: u8 = 4;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum Failure {
    /// What was typed cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The registry refused or failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
    /// Not every replica serves the change. It was said already.
    #[error("not every replica serves it")]
    NotServed,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Registry(refusal.into())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Registry(error.into())
    }
}

impl Failure {
    fn code(&self) -> Code {
        match self {
            Failure::Usage(_) => Code::InvalidArgument,
            Failure::Registry(error) => error.code(),
            Failure::Other(_) => Code::Internal,
            Failure::NotServed => Code::Unavailable,
        }
    }

    fn exit(&self) -> u8 {
        match self {
            Failure::Usage(_) | Failure::Registry(RegistryError::Refused(Refusal::Invalid(_))) => USAGE,
            Failure::Registry(RegistryError::Refused(_) | RegistryError::Contended { .. }) => REFUSED,
            Failure::Registry(_) | Failure::Other(_) => FAILED,
            Failure::NotServed => NOT_SERVED,
        }
    }

    fn to_json(&self) -> Value {
        let mut error = json!({ "code": self.code().as_str(), "message": self.to_string() });
        if let Failure::Registry(RegistryError::Refused(Refusal::InUse { holders, .. })) = self {
            error["holders"] = json!(holders);
        }
        if let Failure::Registry(RegistryError::Refused(Refusal::Stale { current, .. })) = self {
            error["revision"] = json!(current);
        }
        json!({ "error": error })
    }
}

/// Says why a command failed, if it did, and ends it.
pub(in crate::app) fn finish(result: Result<(), Failure>, json: bool) -> ExitCode {
    match result {
        Ok(()) => ExitCode::from(DONE),
        Err(failure) => {
            match failure {
                Failure::NotServed => {}
                _ if json => say(&format!("{}\n", failure.to_json())),
                _ => complain(&failure.to_string()),
            }
            ExitCode::from(failure.exit())
        }
    }
}
