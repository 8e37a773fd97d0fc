//! How a version is run: batch size, workers, threads. Pure: from settings, signature, machine and what the probe
//! found, to numbers and the reasons for them.

use std::time::Duration;

use crate::model::config::Provider;
use crate::model::settings::{ParsedModelConfig, Source};
use crate::model::{ModelConfig, Signature};

/// The most rows in a batch when nobody says otherwise.
const BATCH_DEFAULT: usize = 64;

/// A single run that takes longer than this is worth several threads.
const HEAVY: Duration = Duration::from_millis(2);

/// Most worker threads of all versions together; versions get fewer each when there are many.
const WORKERS_TOTAL: usize = 2048;

/// What running a version in a child process showed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Findings {
    /// Whether rows of a batch are independent.
    pub(super) rows: Rows,
    /// Whether the version came through dimensions of 0.
    pub(super) survives_empty: bool,
    /// How long one row takes on one thread; `None` when that is not known.
    pub(super) run: Option<Duration>,
    /// Resident bytes that loading took.
    pub(super) memory_bytes: u64,
}

/// Whether rows of a batch are independent of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rows {
    /// Run together and apart, they gave the same.
    Independent,
    /// They did not, or the run failed.
    Dependent(String),
    /// It could not be tried.
    Unknown(String),
}

/// The machine and who shares it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    /// Cores that models may use.
    pub(super) cores: usize,
    /// Versions that share it.
    pub(super) versions: usize,
}

/// Why settings and model do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("max_batch_size is {max_batch_size}, but {reason}")]
pub(super) struct BatchRefused {
    max_batch_size: usize,
    reason: &'static str,
}

/// Decides threads and workers, before the model is opened. Settings that were written stay as they are.
pub(super) fn plan_threads(parsed: &mut ParsedModelConfig, findings: &Findings, machine: Machine) {
    let is_heavy = findings.run.is_some_and(|run| run >= HEAVY);
    let cores = machine.cores.max(1);
    let config = &mut parsed.config;
    let (threads, workers, why) = match config.runtime.provider {
        Provider::Cuda => (1, 2, "two sessions overlap copies with compute"),
        Provider::Cpu if cores == 1 => (1, 1, "one core"),
        Provider::Cpu if is_heavy && cores >= 4 => (cores, 2, "a heavy model: one run takes every core"),
        Provider::Cpu if is_heavy => (cores, 1, "a heavy model: one run takes every core"),
        Provider::Cpu => (1, cores, "a light model: a core for each run"),
    };
    // A thousand small models share the machine; each still gets a worker.
    let share = (WORKERS_TOTAL / machine.versions.max(1)).max(1);
    if config.runtime.intra_threads.is_none() {
        config.runtime.intra_threads = Some(threads);
        parsed.sources.insert("runtime.intra_threads".to_owned(), Source::Inferred(why.to_owned()));
    }
    if config.instances.count.is_none() {
        config.instances.count = Some(workers.min(share));
        parsed.sources.insert("instances.count".to_owned(), Source::Inferred(why.to_owned()));
    }
}

/// Decides the most rows in a batch, 0 for none, and tells why when the answer is not what was asked for.
pub(super) fn plan_batch(
    config: &ModelConfig,
    signature: &Signature,
    rows: &Rows,
) -> Result<(usize, Option<String>), BatchRefused> {
    let asked = config.max_batch_size;
    if asked == Some(0) {
        return Ok((0, None));
    }
    if !signature.has_batch_candidate() {
        return match asked {
            Some(max_batch_size) => Err(BatchRefused {
                max_batch_size,
                reason: "not every input and output has a dynamic first dimension",
            }),
            None => Ok((0, None)),
        };
    }
    Ok(match (rows, asked) {
        (Rows::Independent, _) => (asked.unwrap_or(BATCH_DEFAULT), None),
        (Rows::Dependent(why), _) => (0, Some(format!("served unbatched: {why}"))),
        (Rows::Unknown(why), None) => (0, Some(format!("served unbatched: {why}"))),
        (Rows::Unknown(why), Some(size)) => {
            (size, Some(format!("batched as configured, though not proved right: {why}")))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dim, TensorSpec};
    use crate::tensor::DataType;

    fn check_threads(cores: usize, versions: usize, run_us: u64, expected: (usize, usize)) {
        let mut parsed = ParsedModelConfig::default();
        let findings = Findings {
            rows: Rows::Independent,
            survives_empty: false,
            run: Some(Duration::from_micros(run_us)),
            memory_bytes: 0,
        };
        plan_threads(&mut parsed, &findings, Machine { cores, versions });
        let config = &parsed.config;
        assert_eq!(
            (config.runtime.intra_threads, config.instances.count),
            (Some(expected.0), Some(expected.1))
        );
    }

    #[test]
    fn light_models_get_workers_and_heavy_ones_threads() {
        check_threads(1, 1, 50_000, (1, 1));
        check_threads(2, 1, 20, (1, 2));
        check_threads(2, 1, 50_000, (2, 1));
        check_threads(16, 1, 20, (1, 16));
        check_threads(16, 1, 50_000, (16, 2));
        check_threads(64, 1500, 20, (1, 1));
        check_threads(0, 0, 20, (1, 1));
    }

    #[test]
    fn what_is_written_stays() {
        let mut parsed = ParsedModelConfig::default();
        parsed.config.runtime.intra_threads = Some(3);
        parsed.config.instances.count = Some(5);
        let findings =
            Findings { rows: Rows::Independent, survives_empty: false, run: None, memory_bytes: 0 };
        plan_threads(&mut parsed, &findings, Machine { cores: 8, versions: 1 });
        assert_eq!((parsed.config.runtime.intra_threads, parsed.config.instances.count), (Some(3), Some(5)));
        assert!(parsed.sources.is_empty());
    }

    fn check_batch(asked: Option<usize>, leading: Dim, rows: &Rows, expected: Result<(usize, bool), ()>) {
        let spec = TensorSpec {
            name: "x".into(),
            dtype: DataType::Fp32,
            shape: Some(vec![leading]),
            optional: false,
        };
        let signature = Signature { inputs: vec![spec.clone()], outputs: vec![spec] };
        let config = ModelConfig { max_batch_size: asked, ..ModelConfig::default() };
        let planned = plan_batch(&config, &signature, rows).map(|(size, warning)| (size, warning.is_some()));
        assert_eq!(planned.map_err(|_| ()), expected, "{asked:?} {rows:?}");
    }

    #[test]
    fn only_proved_or_ordered_models_are_batched() {
        let any = || Dim::Dynamic(None);
        let (dependent, unknown) = (Rows::Dependent("d".to_owned()), Rows::Unknown("u".to_owned()));
        check_batch(None, any(), &Rows::Independent, Ok((BATCH_DEFAULT, false)));
        check_batch(Some(8), any(), &Rows::Independent, Ok((8, false)));
        check_batch(Some(0), any(), &Rows::Independent, Ok((0, false)));
        check_batch(None, any(), &dependent, Ok((0, true)));
        check_batch(Some(8), any(), &dependent, Ok((0, true)));
        check_batch(None, any(), &unknown, Ok((0, true)));
        check_batch(Some(8), any(), &unknown, Ok((8, true)));
        check_batch(None, Dim::Fixed(1), &Rows::Independent, Ok((0, false)));
        check_batch(Some(8), Dim::Fixed(1), &Rows::Independent, Err(()));
    }
}
