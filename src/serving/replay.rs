//! The last thing before a version of a registry takes traffic: it must answer as it did when it was registered. What
//! the files say and what counts as equal is the judge's business, who stands above; this runs the model.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::backend::Model;
use crate::backend::probe::run_sample;
use crate::model::ModelConfig;
use crate::tensor::Tensor;

/// A version's golden inputs and outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldenFile {
    /// The file.
    pub path: PathBuf,
    /// What made it, for messages: the runtime's build at the registration.
    pub runtime: String,
}

/// Runs a loaded version on inputs; gives every output, or why there is none.
pub type RunOnce<'a> = dyn FnMut(&[Tensor]) -> Result<Vec<Tensor>, String> + 'a;

/// Judges what a loaded version answers. Called on loader threads.
pub trait Judge: Send + Sync + fmt::Debug {
    /// Has `run` answer the inputs in `golden`, and compares the outputs: within `tolerance`, or else the file's.
    ///
    /// # Errors
    /// Why the version must not take traffic, in a line.
    fn judge(&self, golden: &Path, tolerance: Option<f64>, run: &mut RunOnce<'_>) -> Result<(), String>;
}

/// Has `judge` look at what `model` makes of `golden`, as `config` wants it. The error says how a difference is allowed,
/// because another processor or provider may sum in another order for good reasons.
pub(super) fn replay(
    judge: Option<&dyn Judge>,
    golden: &GoldenFile,
    model: &dyn Model,
    config: &ModelConfig,
) -> Result<(), String> {
    if !config.golden_check {
        return Ok(());
    }
    let judge = judge.ok_or("nobody here can read its golden outputs")?;
    let mut instance = model.instance().map_err(|error| error.to_string())?;
    let mut run = |inputs: &[Tensor]| run_sample(model.signature(), &mut *instance, inputs);
    judge.judge(&golden.path, config.golden_tolerance, &mut run).map_err(|reason| {
        let runtime = match golden.runtime.as_str() {
            "" => String::new(),
            runtime => format!(", by {runtime}"),
        };
        format!(
            "its golden inputs are not answered as they were when it was registered{runtime}: {reason} (golden_tolerance \
             or golden_check = false allow a difference)"
        )
    })
}
