//! How a command ends: 0 done, 1 failed, 2 usage, 3 refused, 4 waited in vain, 5 found drift.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::app::cli::{complain, say};
use crate::control::register::RegisterError;
use crate::error::{Code, Coded};
use crate::registry::package::PackageError;
use crate::registry::{BlobError, Refusal, RegistryError, StoreError};

/// Input, output or the store failed.
pub(in crate::app) const FAILED: u8 = 1;
/// The command line, the configuration or a value is wrong.
pub(in crate::app) const USAGE: u8 = 2;
/// Not found, in conflict, in use, not allowed.
pub(in crate::app) const REFUSED: u8 = 3;
/// The change is made, and `--wait` ended before every replica served it.
pub(in crate::app) const NOT_SERVED: u8 = 4;

/// The data has drifted, and `--fail-on` said that this is a failure.
pub(in crate::app) const DRIFTED: u8 = 5;

/// The code of [`Failure::found`].
const FOUND: &str = "not_whole";

/// Why a command did not do it.
#[derive(Debug)]
pub(in crate::app) struct Failure {
    exit: u8,
    /// For programs: a [`Code`]'s name, or `usage`, `rejected`.
    code: &'static str,
    message: String,
    /// More for programs.
    more: Vec<(&'static str, Value)>,
}

impl Failure {
    /// What was typed makes no sense.
    pub(in crate::app) fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: USAGE, code: "usage", message: message.into(), more: Vec::new() }
    }

    /// Something outside of the registry failed.
    pub(in crate::app) fn failed(error: &anyhow::Error) -> Failure {
        let message = format!("{error:#}");
        Failure { exit: FAILED, code: Code::Internal.as_str(), message, more: Vec::new() }
    }

    /// The change is made, and not every replica serves it. The replicas were shown already.
    pub(in crate::app) fn not_served() -> Failure {
        let message = "not every replica serves it".to_owned();
        Failure { exit: NOT_SERVED, code: Code::Unavailable.as_str(), message, more: Vec::new() }
    }

    /// Something is wrong with the registry. What, was shown already.
    pub(in crate::app) fn found() -> Failure {
        let message = "the registry is not whole".to_owned();
        Failure { exit: FAILED, code: FOUND, message, more: Vec::new() }
    }

    /// The data has drifted. How, was shown already.
    pub(in crate::app) fn drifted(message: String) -> Failure {
        Failure { exit: DRIFTED, code: "drifted", message, more: Vec::new() }
    }

    /// An error by its code.
    pub(in crate::app) fn coded(error: &(impl Coded + std::fmt::Display)) -> Failure {
        let code = error.code();
        let exit = match code {
            Code::InvalidArgument => USAGE,
            Code::NotFound | Code::AlreadyExists | Code::Conflict | Code::Stale | Code::PermissionDenied => {
                REFUSED
            }
            Code::TooLarge => REFUSED,
            _ => FAILED,
        };
        // Whoever runs the command may see what the store said.
        Failure { exit, code: code.as_str(), message: error.to_string(), more: Vec::new() }
    }

    /// With one more member for programs.
    pub(in crate::app) fn with(mut self, name: &'static str, value: Value) -> Failure {
        self.more.push((name, value));
        self
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Failure {
        let failure = Failure::coded(&error);
        match error {
            RegistryError::Refused(Refusal::InUse { holders, .. }) => failure.with("holders", json!(holders)),
            RegistryError::Refused(Refusal::Stale { current, .. }) => {
                failure.with("revision", json!(current))
            }
            _ => failure,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        RegistryError::from(refusal).into()
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::failed(&error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        RegistryError::from(error).into()
    }
}

impl From<PackageError> for Failure {
    fn from(error: PackageError) -> Failure {
        // The command is right, and the files are not.
        let is_refused = matches!(
            error,
            PackageError::Invalid(_) | PackageError::TooLarge(_) | PackageError::Blob(BlobError::Refused(_))
        );
        let failure = Failure::coded(&error);
        if is_refused { Failure { exit: REFUSED, ..failure } } else { failure }
    }
}

impl From<RegisterError> for Failure {
    fn from(error: RegisterError) -> Failure {
        let failure = Failure::coded(&error);
        match error {
            RegisterError::Registry(error) => error.into(),
            RegisterError::Package(error) => error.into(),
            RegisterError::Rejected { rev, .. } => {
                Failure { exit: REFUSED, code: "rejected", ..failure }.with("revision", json!(rev))
            }
            _ => failure,
        }
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Failure {
        RegistryError::from(error).into()
    }
}

/// Tells how it ended, on standard error, and for programs on standard output as well.
pub(in crate::app) fn finish(result: Result<(), Failure>, json: bool) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    let was_shown = matches!(failure.exit, NOT_SERVED | DRIFTED) || failure.code == FOUND;
    if json && !was_shown {
        let mut error = json!({ "code": failure.code, "message": failure.message });
        for (name, value) in failure.more {
            error[name] = value;
        }
        say(&format!("{}\n", json!({ "error": error })));
    }
    complain(&failure.message);
    ExitCode::from(failure.exit)
}
