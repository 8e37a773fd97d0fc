//! How a version is run: batch size, workers, threads. Pure: from settings, signature, machine and what the probe
//! found, to numbers and the reasons for them.

use std::time::Duration;

use crate::model::config::Provider;
use crate::model::settings::{ParsedModelConfig, Source};
use crate::model::{ModelConfig, Signature};

/// The most rows in a batch when nobody says otherwise.
pub(super) const BATCH_DEFAULT: usize = 64;

/// Longest run of a batch size that nobody asked for: others wait meanwhile.
const BATCH_RUN_MAX: Duration = Duration::from_millis(250);

/// Longest run of the largest batch that a caller may do itself, on an async thread.
const INLINE_RUN_MAX: Duration = Duration::from_micros(200);

/// The same where there is one core: a worker thread would only take turns with the others.
const INLINE_RUN_MAX_ALONE: Duration = Duration::from_millis(2);

/// A single run that takes longer than this is worth several threads.
const HEAVY: Duration = Duration::from_millis(2);

/// Largest difference between rows run together and apart on a GPU that counts as equal.
const TOLERANCE_CUDA: f64 = 0.02;

/// Most worker threads of all versions together; versions get fewer each when there are many.
const WORKERS_TOTAL: usize = 2048;

/// What running a version in a child process showed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Findings {
    /// Whether rows of a batch are independent.
    pub(super) rows: Rows,
    /// Whether the version came through dimensions of 0.
    pub(super) survives_empty: bool,
    /// What it did with a dimension of 0, when that ended the process.
    pub(super) kills_empty: Option<String>,
    /// The fastest run by rows, ascending, on one thread.
    pub(super) run_times: Vec<(usize, Duration)>,
    /// Whether it decides or loops, so that its time depends on values.
    pub(super) has_control_flow: bool,
    /// Resident bytes that loading took.
    pub(super) memory_bytes: u64,
}

/// Whether rows of a batch are independent of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rows {
    /// Run together and apart, they gave the same, up to so many.
    Independent {
        /// The most that were run together.
        rows_max: usize,
    },
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

/// How far rows run together and apart may differ, and why where nobody said. A GPU picks other kernels for other batch
/// sizes, and its tensor cores multiply 10 bits of each number's fraction.
pub(super) fn plan_tolerance(parsed: &ParsedModelConfig) -> (f64, Option<&'static str>) {
    let config = &parsed.config;
    if config.runtime.provider == Provider::Cuda && *parsed.source("batch_tolerance") == Source::Default {
        return (TOLERANCE_CUDA, Some("tensor cores round, and other batch sizes have other kernels"));
    }
    (config.batch_tolerance, None)
}

/// Decides threads and workers, before the model is opened. Settings that were written stay as they are.
pub(super) fn plan_threads(parsed: &mut ParsedModelConfig, findings: &Findings, machine: Machine) {
    if let (tolerance, Some(why)) = plan_tolerance(parsed) {
        parsed.config.batch_tolerance = tolerance;
        parsed.sources.insert("batch_tolerance".to_owned(), Source::Inferred(why.to_owned()));
    }
    let is_heavy = findings.run_of_one().is_some_and(|run| run >= HEAVY);
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
    findings: &Findings,
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
    Ok(match (&findings.rows, asked) {
        (Rows::Independent { .. }, Some(size)) => (size, None),
        (Rows::Independent { rows_max }, None) => (best_batch(*rows_max, &findings.run_times), None),
        (Rows::Dependent(why), _) => (0, Some(format!("served unbatched: {why}"))),
        (Rows::Unknown(why), None) => (0, Some(format!("served unbatched: {why}"))),
        (Rows::Unknown(why), Some(size)) => {
            (size, Some(format!("batched as configured, though not proved right: {why}")))
        }
    })
}

/// The smallest batch that is as fast by the row as any, nearly, and whose run nobody minds.
fn best_batch(rows_max: usize, run_times: &[(usize, Duration)]) -> usize {
    let by_row = |&(rows, run): &(usize, Duration)| run.as_secs_f64() / rows.max(1) as f64;
    let tried: Vec<_> = run_times
        .iter()
        .filter(|(rows, run)| *rows <= rows_max && (*rows == 1 || *run <= BATCH_RUN_MAX))
        .collect();
    let fastest = tried.iter().map(|tried| by_row(tried)).fold(f64::INFINITY, f64::min);
    // Cheap models gain from large batches what a run of the model does not show: fewer wake-ups.
    if tried.last().is_some_and(|(_, run)| *run < HEAVY) {
        return tried.last().map_or(1, |(rows, _)| *rows);
    }
    tried.iter().find(|tried| by_row(tried) <= fastest * 1.03).map_or(rows_max.max(1), |(rows, _)| *rows)
}

/// The time of the largest batch, when it is so short, and so much the same for every request, that callers may run
/// it themselves.
pub(super) fn inline_run(
    config: &ModelConfig,
    signature: &Signature,
    findings: &Findings,
    max_batch_size: usize,
    cores: usize,
) -> Option<Duration> {
    let largest = findings.run_times.iter().find(|(rows, _)| *rows >= max_batch_size.max(1))?;
    let is_steady = config.runtime.provider == Provider::Cpu
        && max_batch_size > 0
        && signature.has_fixed_rows()
        && !findings.has_control_flow;
    let longest = if cores <= 1 { INLINE_RUN_MAX_ALONE } else { INLINE_RUN_MAX };
    (is_steady && largest.1 <= longest).then_some(largest.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dim, TensorSpec};
    use crate::tensor::DataType;

    fn check_threads(cores: usize, versions: usize, run_us: u64, expected: (usize, usize)) {
        let mut parsed = ParsedModelConfig::default();
        let findings = Findings { run_times: vec![(1, Duration::from_micros(run_us))], ..Findings::none() };
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
    fn a_gpu_may_round_more_unless_somebody_says_otherwise() {
        let mut parsed = ParsedModelConfig::default();
        assert_eq!(plan_tolerance(&parsed), (1e-4, None));
        parsed.config.runtime.provider = Provider::Cuda;
        assert_eq!(plan_tolerance(&parsed).0, TOLERANCE_CUDA);
        plan_threads(&mut parsed, &Findings::none(), Machine { cores: 8, versions: 1 });
        assert_eq!((parsed.config.batch_tolerance, parsed.config.instances.count), (TOLERANCE_CUDA, Some(2)));
        let mut parsed = ParsedModelConfig::default();
        parsed.config.runtime.provider = Provider::Cuda;
        parsed.config.batch_tolerance = 0.5;
        let written = Source::File { file: "model.toml".to_owned(), line: 1 };
        parsed.sources.insert("batch_tolerance".to_owned(), written);
        assert_eq!(plan_tolerance(&parsed), (0.5, None));
    }

    #[test]
    fn what_is_written_stays() {
        let mut parsed = ParsedModelConfig::default();
        parsed.config.runtime.intra_threads = Some(3);
        parsed.config.instances.count = Some(5);
        plan_threads(&mut parsed, &Findings::none(), Machine { cores: 8, versions: 1 });
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
        let findings = Findings { rows: rows.clone(), ..Findings::none() };
        let planned =
            plan_batch(&config, &signature, &findings).map(|(size, warning)| (size, warning.is_some()));
        assert_eq!(planned.map_err(|_| ()), expected, "{asked:?} {rows:?}");
    }

    #[test]
    fn only_proved_or_ordered_models_are_batched() {
        let any = || Dim::Dynamic(None);
        let independent = Rows::Independent { rows_max: 48 };
        let (dependent, unknown) = (Rows::Dependent("d".to_owned()), Rows::Unknown("u".to_owned()));
        check_batch(None, any(), &independent, Ok((48, false)));
        check_batch(Some(8), any(), &independent, Ok((8, false)));
        check_batch(Some(0), any(), &independent, Ok((0, false)));
        check_batch(None, any(), &dependent, Ok((0, true)));
        check_batch(Some(8), any(), &dependent, Ok((0, true)));
        check_batch(None, any(), &unknown, Ok((0, true)));
        check_batch(Some(8), any(), &unknown, Ok((8, true)));
        check_batch(None, Dim::Fixed(1), &independent, Ok((0, false)));
        check_batch(Some(8), Dim::Fixed(1), &independent, Err(()));
    }

    #[test]
    fn batches_are_as_large_as_they_help() {
        let check = |rows_max, run_times_us: &[(usize, u64)], expected| {
            let run_times: Vec<_> =
                run_times_us.iter().map(|&(rows, us)| (rows, Duration::from_micros(us))).collect();
            assert_eq!(best_batch(rows_max, &run_times), expected, "{run_times_us:?}");
        };
        check(64, &[(1, 5), (2, 6), (32, 20), (64, 30)], 64);
        check(64, &[(1, 30_000), (2, 60_000), (4, 121_000), (8, 300_000)], 1);
        check(64, &[(1, 30_000), (2, 40_000), (4, 70_000), (8, 118_000), (16, 236_000)], 8);
        check(64, &[(1, 600_000), (2, 1_200_000)], 1);
        check(2, &[(1, 5), (2, 6), (4, 7)], 2);
        check(0, &[], 1);
    }

    #[test]
    fn only_short_and_steady_models_run_on_their_callers() {
        let spec = |dims: Vec<Dim>| TensorSpec {
            name: "x".into(),
            dtype: DataType::Fp32,
            shape: Some(dims),
            optional: false,
        };
        let check_on = |cores, dims: Vec<Dim>, run_us, has_control_flow, batch, expected| {
            let signature = Signature { inputs: vec![spec(dims.clone())], outputs: vec![spec(dims)] };
            let run_times = vec![(1, Duration::from_micros(1)), (64, Duration::from_micros(run_us))];
            let findings = Findings { run_times, has_control_flow, ..Findings::none() };
            let run = inline_run(&ModelConfig::default(), &signature, &findings, batch, cores);
            assert_eq!(run.is_some(), expected);
        };
        let check = |dims, run_us, has_control_flow, batch, expected| {
            check_on(2, dims, run_us, has_control_flow, batch, expected);
        };
        let any = || Dim::Dynamic(None);
        check(vec![any(), Dim::Fixed(4)], 50, false, 64, true);
        check(vec![any(), Dim::Fixed(4)], 1900, false, 64, false);
        check_on(1, vec![any(), Dim::Fixed(4)], 1900, false, 64, true);
        check_on(1, vec![any(), Dim::Fixed(4)], 5000, false, 64, false);
        check(vec![any(), Dim::Fixed(4)], 50, true, 64, false);
        check(vec![any(), any()], 50, false, 64, false);
        check(vec![any(), Dim::Fixed(4)], 50, false, 0, false);
        check(vec![any(), Dim::Fixed(4)], 50, false, 128, false);
    }
}
