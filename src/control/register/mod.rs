//! Registration: a package becomes a version, after a child process has opened and run it.
//!
//! ```text
//! upload (hashed) ──► known already? ──► trial ──► hold parents ──► commit ──► holds under the version's name
//!                        │ that version    │ refused: reject_version
//! ```
//!
//! Every step may be done again: blobs are named by their content, a key or the digest finds the version that an earlier
//! try made, and a hold that a crash left behind keeps too much, not too little.

mod plan;
mod record;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use uuid::Uuid;

use self::record::make_record;
use super::{golden, sample};
use crate::error::{Code, Coded};
use crate::model::{ModelName, Version};
use crate::registry::blobs::Content;
use crate::registry::package::upload::{changed, upload};
use crate::registry::package::{Package, PackageError, holds};
use crate::registry::record::{FileRef, GitRecord, ModelRef, VersionRecord};
use crate::registry::{Commit, Intent, Op, Refusal, Registry, RegistryError, blobs};
use crate::serving::{Candidate, Trial, TrialError, Validate};
use crate::tensor::Tensor;

/// What a version is registered with, beside its files.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The model.
    pub model: ModelName,
    /// Who and why.
    pub intent: Intent,
    /// What the version is.
    pub description: Option<String>,
    /// Tags; they go over those of the source.
    pub tags: BTreeMap<String, String>,
    /// Properties; they go over those of the source.
    pub properties: BTreeMap<String, String>,
    /// Metrics.
    pub metrics: BTreeMap<String, f64>,
    /// Data by role.
    pub datasets: BTreeMap<String, String>,
    /// The training run; goes over the source's.
    pub run: Option<String>,
    /// Versions that it was made from.
    pub derived_from: Vec<ModelRef>,
    /// The working tree; the source's goes over it, because it knows where the model was trained.
    pub git: Option<GitRecord>,
    /// An alias that is to point at it.
    pub alias: Option<String>,
    /// Names the proposal that the alias becomes where the model's policy asks for a second person.
    pub proposal: Uuid,
    /// Names the registration, so that a retry finds the version that an earlier try made.
    pub idempotency_key: Option<String>,
    /// Whether equal files make a new version all the same.
    pub force_new: bool,
    /// Inputs to run it on, in any form that [`sample`] reads.
    pub sample: Option<Value>,
}

/// A version that is registered.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The version.
    pub version: Version,
    /// The revision that made it, or the model's current one when it was there before.
    pub rev: u64,
    /// Whether this call made it.
    pub created: bool,
    /// What it is.
    pub record: VersionRecord,
    /// What is odd about it.
    pub warnings: Vec<String>,
}

/// Why a version was not registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The registry refused it or failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The package cannot be used.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The model did not come through its trial. The log says so.
    #[error("the model is refused: {reason}")]
    Rejected {
        /// What it did.
        reason: String,
        /// The revision that says so; `None` when it could not be written.
        rev: Option<u64>,
    },
    /// Nothing was found out about the model.
    #[error("{0}")]
    Untried(String),
}

impl Coded for RegisterError {
    fn code(&self) -> Code {
        match self {
            RegisterError::Registry(error) => error.code(),
            RegisterError::Package(error) => error.code(),
            RegisterError::Rejected { .. } => Code::InvalidArgument,
            RegisterError::Untried(_) => Code::Internal,
        }
    }

    fn public_message(&self) -> String {
        match self {
            RegisterError::Registry(error) => error.public_message(),
            RegisterError::Package(error) => error.public_message(),
            other => other.to_string(),
        }
    }
}

impl From<Refusal> for RegisterError {
    fn from(refusal: Refusal) -> RegisterError {
        RegisterError::Registry(refusal.into())
    }
}

/// Registers `package` as the next version of `registration.model`.
///
/// # Errors
/// [`RegisterError`]; then there is no new version. After an error of the store there may be one all the same: the same
/// call again finds it.
pub async fn register(
    registry: &Registry,
    validator: &Arc<dyn Validate>,
    package: &Package,
    registration: &Registration,
) -> Result<Registered, RegisterError> {
    plan::check(registration)?;
    let (files, digest) = upload(registry.store(), package).await?;
    let state = registry.state(&registration.model).await?;
    if let Some(version) = plan::known(&state, registration, &digest)? {
        let record = state.live(version)?.record.clone();
        return Ok(Registered { version, rev: state.rev, created: false, record, warnings: Vec::new() });
    }
    let tried = match tried(validator, package, registration).await {
        Err(TryError::Rejected(reason)) => {
            return Err(reject(registry, package, registration, &digest, reason).await);
        }
        Err(TryError::Other(error)) => return Err(error),
        Ok(tried) => tried,
    };
    if package.has_changed() {
        return Err(changed(&package.source).into());
    }
    let golden = match &tried.golden {
        Some(bytes) => {
            let stored = blobs::put_bytes(registry.store(), "weir-golden.json", bytes.clone()).await;
            Some(stored.map_err(RegistryError::from)?)
        }
        None => None,
    };
    let record = make_record(package, registration, files, digest, &tried.trial, golden);
    let (commit, version) = commit_held(registry, package, registration, &record).await?;
    // A collection that ran meanwhile may have taken what nothing named yet.
    let content = contents(package, &record, tried.golden);
    blobs::touch(registry.store(), &content).await.map_err(RegistryError::from)?;
    let created = commit.state.versions.get(&version).is_some_and(|state| state.created.rev == commit.rev);
    let record = commit.state.versions.get(&version).map_or(record, |state| state.record.clone());
    let mut warnings = tried.warnings;
    if commit.state.proposals.contains_key(&registration.proposal) {
        warnings.push(format!(
            "the alias waits for another person's approval: proposal {}",
            registration.proposal
        ));
    }
    Ok(Registered { version, rev: commit.rev, created, record, warnings })
}

/// A trial and what is kept of it.
struct Tried {
    trial: Trial,
    golden: Option<Bytes>,
    warnings: Vec<String>,
}

enum TryError {
    /// The model's fault.
    Rejected(String),
    /// Anything else.
    Other(RegisterError),
}

impl From<TrialError> for TryError {
    fn from(error: TrialError) -> TryError {
        match error {
            TrialError::Refused { reason } => TryError::Rejected(reason),
            other => TryError::Other(RegisterError::Untried(other.to_string())),
        }
    }
}

/// Tries the package, and once more on the sample inputs that there are for it.
async fn tried(
    validator: &Arc<dyn Validate>,
    package: &Package,
    registration: &Registration,
) -> Result<Tried, TryError> {
    let mut trial = try_once(validator, package, registration, None).await?;
    plan::check_external(package, &trial.facts.external_files).map_err(TryError::Rejected)?;
    let mut warnings = std::mem::take(&mut trial.warnings);
    let given = registration.sample.as_ref().or(package.capture.sample.as_ref());
    if let Some(given) = given {
        let again = match sample::read(given, &trial.signature) {
            Ok(inputs) => try_once(validator, package, registration, Some(inputs)).await?.sample,
            Err(why) => Err(why),
        };
        match again {
            Ok(sample) => trial.sample = Ok(sample),
            Err(why) if registration.sample.is_some() => {
                let refusal = Refusal::Invalid(format!("the sample cannot be used: {why}"));
                return Err(TryError::Other(refusal.into()));
            }
            Err(why) => warnings.push(format!("the source's input example is not used: {why}")),
        }
    }
    let golden = match std::mem::replace(&mut trial.sample, Err(String::new())) {
        Ok((inputs, outputs)) => golden::file(inputs, outputs),
        Err(why) => {
            warnings.push(format!("no golden outputs are kept: {why}"));
            None
        }
    };
    Ok(Tried { trial, golden, warnings })
}

async fn try_once(
    validator: &Arc<dyn Validate>,
    package: &Package,
    registration: &Registration,
    sample: Option<Vec<Tensor>>,
) -> Result<Trial, TryError> {
    let missing = || TryError::Rejected("the model file is not in the package".to_owned());
    let candidate = Candidate {
        model: registration.model.clone(),
        file: package.model_path().ok_or_else(missing)?.to_owned(),
        folder: package.settings_folder.clone(),
        sample,
    };
    let validator = Arc::clone(validator);
    let trial = tokio::task::spawn_blocking(move || validator.validate(&candidate)).await;
    let trial = trial.map_err(|error| TryError::Other(RegisterError::Untried(error.to_string())))?;
    Ok(trial?)
}

/// Writes down that the package was refused, and why.
async fn reject(
    registry: &Registry,
    package: &Package,
    registration: &Registration,
    digest: &str,
    reason: String,
) -> RegisterError {
    let op = Op::RejectVersion {
        source: package.source.clone(),
        digest: digest.to_owned(),
        reason: reason.chars().take(2000).collect(),
    };
    let intent = Intent { if_match: None, ..registration.intent.clone() };
    let plan = |state: &_| plan::with_model(state, vec![op.clone()]);
    match registry.commit(&registration.model, &intent, plan).await {
        Ok(commit) => RegisterError::Rejected { reason, rev: Some(commit.rev) },
        Err(error) => {
            tracing::warn!(model = %registration.model, %error, "a refused registration was not written down");
            RegisterError::Rejected { reason, rev: None }
        }
    }
}

/// Holds the parents in other models, commits, and puts the version's name on the holds.
async fn commit_held(
    registry: &Registry,
    package: &Package,
    registration: &Registration,
    record: &VersionRecord,
) -> Result<(Commit, Version), RegisterError> {
    let parents = holds::foreign(&registration.model, &record.derived_from);
    let pending = holds::pending(&registration.model, Uuid::now_v7());
    let parent_intent = Intent { if_match: None, ..registration.intent.clone() };
    let mut held: Vec<(&ModelName, &Vec<Version>)> = Vec::new();
    for (model, versions) in &parents {
        let plan = |state: &_| holds::hold(state, versions, &pending);
        if let Err(error) = registry.commit(model, &parent_intent, plan).await {
            release(registry, &parent_intent, &held, &pending).await;
            return Err(error.into());
        }
        held.push((model, versions));
    }
    let made = Mutex::new(None);
    let plan = |state: &_| {
        let (ops, version) = plan::ops(state, package, registration, record)?;
        *made.lock() = Some(version);
        Ok(ops)
    };
    let committed = registry.commit(&registration.model, &registration.intent, plan).await;
    // What the last plan, the one that was written, made or found.
    let version = *made.lock();
    let (commit, version) = match (committed, version) {
        (Ok(commit), Some(version)) => (commit, version),
        (Ok(_), None) => return Err(RegisterError::Untried("the registry planned nothing".to_owned())),
        (Err(error), _) => {
            // When the store failed the version may be there: then its parents must stay held.
            if !matches!(error, RegistryError::Store(_)) {
                release(registry, &parent_intent, &held, &pending).await;
            }
            return Err(error.into());
        }
    };
    let holder = holds::holder(&registration.model, version);
    for (model, versions) in held {
        let plan = |state: &_| {
            let mut ops = holds::hold(state, versions, &holder)?;
            ops.extend(holds::release(state, versions, &pending)?);
            Ok(ops)
        };
        if let Err(error) = registry.commit(model, &parent_intent, plan).await {
            tracing::warn!(%model, holder = pending, %error, "a hold keeps the registration's name");
        }
    }
    Ok((commit, version))
}

async fn release(registry: &Registry, intent: &Intent, held: &[(&ModelName, &Vec<Version>)], holder: &str) {
    for (model, versions) in held {
        let plan = |state: &_| holds::release(state, versions, holder);
        if let Err(error) = registry.commit(model, intent, plan).await {
            tracing::warn!(%model, holder, %error, "a hold is left behind");
        }
    }
}

/// Where the content of each blob of `record` can be read again.
fn contents(package: &Package, record: &VersionRecord, golden: Option<Bytes>) -> Vec<(FileRef, Content)> {
    let local = |file: &FileRef| Some(Content::File(package.file(&file.path)?.local.clone()));
    let files = record.files.iter().filter_map(|file| Some((file.clone(), local(file)?)));
    let golden = record.validation.golden.iter().cloned().zip(golden.map(Content::Bytes));
    files.chain(golden).collect()
}
