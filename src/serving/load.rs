//! From files to a [`Servable`]: probe, open, decide how to batch and with how many workers, warm up, start the
//! workers. Takes as long as the model needs; runs on the manager's threads, never on the async runtime.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::time::{Duration, Instant};

use super::catalog::Catalog;
use super::examine::{ExamineError, Examiner};
use super::manager::DeployedVersion;
use super::metrics::{ServingMetrics, VersionMetrics};
use super::plan::{BatchRefused, Findings, Machine, Rows, inline_run, plan_batch, plan_threads};
use super::replay::{Judge, replay};
use super::repository::{MODEL_FILE, VersionFiles};
use super::servable::Farewell;
use super::settings::Settings;
use super::validate::Contract;
use super::{Servable, ServableState};
use crate::backend::{Artifact, Backend, BackendError, Model, OpenOptions};
use crate::error::Coded;
use crate::events::EventBus;
use crate::infer::{Tap, TapSource, TappedVersion};
use crate::model::settings::{ParsedModelConfig, SettingsError, Source};
use crate::model::{ModelId, Signature};
use crate::scheduler::{Plan, Scheduler, SchedulerError, filled_sizes};

/// Why a version is not served.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(super) enum LoadError {
    /// The folder has no model file.
    #[error("the version's folder has no {0}")]
    NoFile(String),
    /// It must not be opened.
    #[error(transparent)]
    Examine(#[from] ExamineError),
    /// The backend refused it.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The settings do not fit the model.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The batch size does not fit the model.
    #[error(transparent)]
    Batch(#[from] BatchRefused),
    /// It does not answer as it did when it was registered.
    #[error("{0}")]
    Golden(String),
    /// Its workers could not be started.
    #[error("the workers could not be started: {0}")]
    Scheduler(#[from] SchedulerError),
    /// The files changed while they were read; the next look finds them settled.
    #[error("the files changed while they were loaded")]
    Changing,
}

impl LoadError {
    /// Whether a device does nothing more for this process.
    pub(super) fn is_device_lost(&self) -> bool {
        matches!(self, LoadError::Backend(error) if error.is_device_lost())
    }

    /// Whether the same may succeed another time, with nothing about the model changed.
    pub(super) fn is_of_the_moment(&self) -> bool {
        match self {
            LoadError::Backend(error) => error.is_of_the_moment(),
            LoadError::Examine(error) => error.is_of_the_moment(),
            _ => false,
        }
    }

    /// The reason that clients see in the index.
    pub(super) fn public_message(&self) -> String {
        match self {
            LoadError::Backend(error) | LoadError::Examine(ExamineError::Backend(error)) => {
                error.public_message()
            }
            LoadError::Examine(ExamineError::Refused { reason, .. }) => reason.clone(),
            other => other.to_string(),
        }
    }
}

/// Loads versions.
#[derive(Debug)]
pub(super) struct Loader {
    pub(super) backend: Arc<dyn Backend>,
    /// `None` opens models unseen.
    pub(super) examiner: Option<Arc<dyn Examiner>>,
    /// Cores that models may use.
    pub(super) cores: usize,
    /// Versions that share the machine.
    pub(super) versions: AtomicUsize,
    pub(super) catalog: Arc<Catalog>,
    pub(super) families: ServingMetrics,
    pub(super) events: EventBus,
    /// Who watches versions.
    pub(super) taps: Arc<OnceLock<Arc<dyn TapSource>>>,
    /// Who judges golden outputs.
    pub(super) judge: OnceLock<Arc<dyn Judge>>,
    /// Numbers the loads of the process, from 1.
    pub(super) serial: AtomicU64,
}

impl Loader {
    /// Loads one version and starts its workers. It is not served until it is published. One that a registry deploys must
    /// answer as it did when it was registered.
    pub(super) fn load(
        &self,
        id: &ModelId,
        files: &VersionFiles,
        settings: &Settings,
        registered: Option<&DeployedVersion>,
    ) -> Result<Arc<Servable>, LoadError> {
        let started = Instant::now();
        let serial = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
        self.catalog.advance(id, serial, ServableState::Loading);
        let artifact = artifact(files, settings)?;
        let findings = match &self.examiner {
            Some(examiner) => examiner.examine(&artifact, settings)?,
            None => Findings::none(),
        };
        let mut parsed = settings.parsed.clone();
        let machine = Machine { cores: self.cores, versions: self.versions.load(Ordering::Relaxed) };
        plan_threads(&mut parsed, &findings, machine);
        let options = OpenOptions {
            runtime: parsed.config.runtime.clone(),
            instances: parsed.config.instances.clone(),
        };
        let model = self.backend.open(&artifact, &options)?;
        self.catalog.advance(id, serial, ServableState::Verifying);
        parsed.check_signature(model.signature(), &settings.origin)?;
        settle_batch(&mut parsed, model.signature(), &findings)?;
        let sizes = batch_sizes(&*model, &parsed, &findings);
        let workers = worker_count(&*model, &parsed);
        model.keep_shapes(if model.pays_for_new_shapes() { sizes.len() + workers - 1 } else { workers });
        self.warm_up(&*model, &parsed, &sizes, workers)?;
        if let Some(golden) = registered.and_then(|registered| registered.golden.as_ref()) {
            let judge = self.judge.get().map(|judge| &**judge);
            replay(judge, golden, &*model, &parsed.config).map_err(LoadError::Golden)?;
        }
        let farewell = Farewell {
            catalog: Arc::clone(&self.catalog),
            events: self.events.clone(),
            id: id.clone(),
            serial,
        };
        let mut servable = assemble(model, parsed, &findings, farewell, &self.families, self.cores)?;
        servable.labels = settings.labels.clone();
        servable.tap = self.tap(&servable, files, registered);
        servable.load_duration = started.elapsed();
        Ok(Arc::new(servable))
    }

    /// Who watches the version, if anyone does.
    fn tap(
        &self,
        servable: &Servable,
        files: &VersionFiles,
        registered: Option<&DeployedVersion>,
    ) -> Option<Arc<dyn Tap>> {
        let version = TappedVersion {
            id: servable.id.clone(),
            signature: servable.signature.clone(),
            is_batched: servable.max_batch_size > 0,
            config: servable.config.clone(),
            digest: registered.map(|registered| registered.digest.clone()),
        };
        self.taps.get()?.tap(&version, files.folder.as_deref())
    }

    /// Runs the version at `sizes`, and where its instances share no session, all of them at the largest.
    fn warm_up(
        &self,
        model: &dyn Model,
        parsed: &ParsedModelConfig,
        sizes: &[usize],
        workers: usize,
    ) -> Result<(), BackendError> {
        let Some(examiner) = &self.examiner else { return Ok(()) };
        let runs = parsed.config.warmup.runs;
        examiner.warm_up(model.signature(), &mut *model.instance()?, sizes, runs);
        if let Some(&largest) = sizes.last()
            && model.concurrency_max().is_some()
        {
            let instances: Vec<_> = (0..workers).map(|_| model.instance()).collect::<Result<_, _>>()?;
            let together = Barrier::new(instances.len());
            std::thread::scope(|scope| {
                for mut instance in instances {
                    let together = &together;
                    scope.spawn(move || {
                        together.wait();
                        examiner.warm_up(model.signature(), &mut *instance, &[largest], runs);
                    });
                }
            });
        }
        Ok(())
    }
}

/// The rows of batches that the version is warmed up with, ascending: all that there will be where each costs something
/// the first time, else 1, 2 and the largest that its examination ran.
fn batch_sizes(model: &dyn Model, parsed: &ParsedModelConfig, findings: &Findings) -> Vec<usize> {
    let largest = parsed.config.max_batch_size.unwrap_or(0).max(1);
    if model.pays_for_new_shapes() {
        return filled_sizes(largest).collect();
    }
    let tried = findings.run_times.iter().map(|(rows, _)| *rows).filter(|rows| *rows <= largest);
    let last = tried.clone().max();
    tried.filter(|rows| *rows <= 2 || Some(*rows) == last).collect()
}

/// How many workers run at the same time.
fn worker_count(model: &dyn Model, parsed: &ParsedModelConfig) -> usize {
    let asked = parsed.config.instances.count.unwrap_or(1);
    asked.min(model.concurrency_max().unwrap_or(usize::MAX)).max(1)
}

/// The model file of a version, which must be there.
fn artifact(files: &VersionFiles, settings: &Settings) -> Result<Artifact, LoadError> {
    let name = settings.parsed.model_file.as_deref().unwrap_or(MODEL_FILE);
    if !files.stamps.contains_key(name) {
        return Err(LoadError::NoFile(name.to_owned()));
    }
    // A model that is one file is called as its user called it.
    Ok(Artifact {
        path: files.folder.as_ref().map_or_else(|| files.path.clone(), |folder| folder.join(name)),
    })
}

/// Writes what was decided about batching and dimensions of 0 into the settings, with the reasons.
fn settle_batch(
    parsed: &mut ParsedModelConfig,
    signature: &Signature,
    findings: &Findings,
) -> Result<(), BatchRefused> {
    let (max_batch_size, warning) = plan_batch(&parsed.config, signature, findings)?;
    parsed.warnings.extend(warning);
    if parsed.config.max_batch_size != Some(max_batch_size) {
        let why = match &findings.rows {
            _ if !signature.has_batch_candidate() => {
                "inputs and outputs have no dynamic first dimension in common"
            }
            Rows::Independent { .. } => "rows were proved independent of each other",
            Rows::Dependent(why) | Rows::Unknown(why) => why,
        };
        parsed.sources.insert("max_batch_size".to_owned(), Source::Inferred(why.to_owned()));
        parsed.config.max_batch_size = Some(max_batch_size);
    }
    let (allowed, why) = match (&findings.kills_empty, findings.survives_empty) {
        (Some(why), _) => (false, why.as_str()),
        (None, true) => (true, "it survived dimensions of 0"),
        (None, false) => (false, "it was not tried with dimensions of 0"),
    };
    if parsed.config.allow_empty == Some(true) && findings.kills_empty.is_some() {
        parsed.warnings.push(format!("allow_empty is not followed: {why}"));
        parsed.config.allow_empty = None;
    }
    if parsed.config.allow_empty.is_none() {
        parsed.config.allow_empty = Some(allowed);
        parsed.sources.insert("allow_empty".to_owned(), Source::Inferred(why.to_owned()));
    }
    Ok(())
}

/// Starts the workers of an opened model.
fn assemble(
    model: Arc<dyn Model>,
    mut parsed: ParsedModelConfig,
    findings: &Findings,
    farewell: Farewell,
    families: &ServingMetrics,
    cores: usize,
) -> Result<Servable, SchedulerError> {
    let id = farewell.id.clone();
    let metrics = Arc::new(VersionMetrics::new(families, &id));
    let queue_metrics = families.scheduler.resolve(&id.name, &id.version.to_string());
    let signature = model.signature().clone();
    let max_batch_size = parsed.config.max_batch_size.unwrap_or(0);
    let allow_empty = parsed.config.allow_empty.unwrap_or(false);
    let workers = worker_count(&*model, &parsed);
    let plan = Plan {
        label: format!("{}/{}", id.name, id.version),
        max_batch_size,
        queue: parsed.config.queue.clone(),
        workers,
        fills_batches: model.pays_for_new_shapes(),
        inline_run_max: inline_run(&parsed.config, &signature, findings, max_batch_size, cores),
    };
    let scheduler = Scheduler::start(model, plan, queue_metrics)?;
    Ok(Servable {
        name: id.name.shared(),
        version_text: id.version.to_string().into(),
        contract: Contract::new(&signature, max_batch_size > 0, allow_empty),
        id,
        signature,
        config: parsed.config.clone(),
        max_batch_size,
        workers,
        labels: BTreeMap::new(),
        warnings: std::mem::take(&mut parsed.warnings),
        settings: parsed,
        memory_bytes: findings.memory_bytes,
        load_duration: Duration::ZERO,
        scheduler,
        tap: None,
        metrics,
        farewell,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake::FakeModel;

    #[test]
    fn warm_up_has_every_batch_size_that_costs_something() {
        let check = |model: &FakeModel, max_batch_size, expected: &[usize]| {
            let mut parsed = ParsedModelConfig::default();
            parsed.config.max_batch_size = Some(max_batch_size);
            let run_times = [1, 2, 4, 8, 16, 32, 64].map(|rows| (rows, Duration::from_micros(1))).to_vec();
            let findings = Findings { run_times, ..Findings::none() };
            assert_eq!(batch_sizes(model, &parsed, &findings), expected);
        };
        let model = FakeModel::elementwise(1, |x| x);
        check(&model, 64, &[1, 2, 64]);
        check(&model, 48, &[1, 2, 32]);
        check(&model, 0, &[1]);
        let model = model.paying_for_new_shapes();
        check(&model, 48, &[1, 2, 4, 8, 16, 32, 48]);
        check(&model, 0, &[1]);
    }
}
