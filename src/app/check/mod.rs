//! `weir check`: loads what lies at a path exactly as `weir serve` would, and says what came of it: signature, operators,
//! batching, memory, and every setting with where it came from. Nothing is served.

mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use self::report::Report;
use super::cli::say;
use super::config::Config;
use super::run::{start_manager, start_runtime};
use crate::backend::onnx::{OnnxBackend, precheck};
use crate::backend::{Artifact, OpenOptions};
use crate::metrics::Registry;
use crate::serving::{Engine, ModelControl, Servable};

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Checks the models at the configuration's paths. Answers whether all of them can be served.
pub(super) fn check(mut config: Config, form: Form) -> anyhow::Result<bool> {
    anyhow::ensure!(!config.models.paths.is_empty(), "nothing to check: name a model or a repository");
    config.models.control = ModelControl::None;
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let engine = Arc::new(Engine::new(&Registry::new())?);
    let runtime = start_runtime(&config.runtime)?;
    threads.block_on(async {
        let manager = start_manager(&config, Arc::clone(&runtime), Arc::clone(&engine)).await?;
        manager.settled().await;
        anyhow::Ok(())
    })?;
    let report = report(&engine, &config.models.paths, &OnnxBackend::new(runtime))?;
    say(&match form {
        Form::Text => report.to_string(),
        Form::Json => format!("{}\n", report.to_json()),
    });
    Ok(report.is_good())
}

fn report(engine: &Engine, paths: &[PathBuf], backend: &OnnxBackend) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for servable in engine.served() {
        let file = locate(paths, &servable).context("the model's file is gone")?;
        // Read again for what only the file says; it was checked in the same way when it was loaded.
        let facts = precheck::check(&file)?;
        let options = OpenOptions {
            runtime: servable.config.runtime.clone(),
            instances: servable.config.instances.clone(),
        };
        let coverage = backend.coverage(&Artifact { path: file.clone() }, &options);
        report.add(&servable, &file, &facts, &coverage);
    }
    for entry in engine.index(false).iter().filter(|entry| !entry.reason.is_empty()) {
        report.refuse(entry);
    }
    Ok(report)
}

/// The file that a version was loaded from.
fn locate(paths: &[PathBuf], servable: &Servable) -> Option<PathBuf> {
    let file = servable.settings.model_file.as_deref().unwrap_or("model.onnx");
    let in_version = Path::new(&*servable.version_text).join(file);
    paths.iter().find_map(|path| {
        let candidates = [path.join(&*servable.name).join(&in_version), path.join(&in_version)];
        let is_stem = path.file_stem().is_some_and(|stem| stem == &*servable.name);
        match path.is_file() {
            true => Some(path.clone()).filter(|_| is_stem),
            false => candidates.into_iter().find(|candidate| candidate.is_file()),
        }
    })
}
