//! The experiments: load, run on made-up inputs, rows together and apart, dimensions of 0.
//!
//! Each is announced before it starts, with all that is known so far, because any of them may be the process's last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{
    Artifact, Backend, BackendError, DeviceFault, Input, Instance, Interrupt, OpenOptions, Output,
};
use super::compare::{difference, has_nan, rows};
use super::protocol::{Progress, Stage};
use super::sample::{SampleOutcome, SampleRun, run_given, run_made};
use super::synthetic::{Plan, SIZES, Style};
use super::verdict::{Exercised, RowIndependence, SeenTensor, Verdict, ZeroSize};
use crate::model::{Dim, Signature};

/// What to probe.
#[derive(Debug, Clone)]
pub struct ProbeSubject {
    /// The file.
    pub artifact: Artifact,
    /// How it is to be opened.
    pub options: OpenOptions,
    /// The most rows that a batch may get.
    pub rows_max: usize,
    /// Largest difference, relative and absolute, that counts as equal.
    pub tolerance: f64,
    /// Whether dimensions of 0 are tried.
    pub try_zero: bool,
    /// Which sample is run and kept.
    pub sample: SampleRun,
}

/// What the process that experiments knows of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host {
    /// How many bytes it holds now.
    pub(super) resident: fn() -> u64,
    /// At the most, since the model came.
    pub(super) peak: fn() -> u64,
    /// Ends it, because its device is lost: what came after would say nothing of the model.
    pub(super) give_up: fn(&BackendError),
}

/// How long repeated runs go on for. The first of each kind is always done.
const REPEAT_TIME: Duration = Duration::from_millis(20);
const REPEAT_MAX: usize = 3;
/// A batch that takes longer is the last: the next would take twice as long, and nobody would wait for it.
const LAST_TIME: Duration = Duration::from_millis(500);
/// How long rows of the largest batch are run one by one. The first two and the last always are.
const APART_TIME: Duration = Duration::from_millis(100);

/// Runs all experiments on one model.
pub(super) fn exercise(
    backend: &dyn Backend,
    subject: &ProbeSubject,
    host: Host,
    announce: &mut dyn FnMut(&Progress),
) -> Verdict {
    let mut verdict = Verdict::new();
    let before = (host.resident)();
    announce(&Progress { stage: Stage::Load, so_far: verdict.clone() });
    let started = Instant::now();
    let opened = backend.open(&subject.artifact, &subject.options);
    let opened = opened.and_then(|model| model.instance().map(|instance| (model, instance)));
    let (model, instance) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            if error.is_device_lost() {
                (host.give_up)(&error);
            }
            verdict.is_of_the_moment = error.is_of_the_moment();
            verdict.refuse(error.to_string());
            return verdict;
        }
    };
    let mut instance = OnDevice { instance, give_up: host.give_up, was_full: false };
    verdict.load_time = started.elapsed();
    verdict.inputs = model.signature().inputs.iter().map(SeenTensor::of).collect();
    verdict.outputs = model.signature().outputs.iter().map(SeenTensor::of).collect();
    let mut bench = Bench::new(subject, model.signature(), &mut instance, announce);
    bench.settles = model.pays_for_new_shapes();
    bench.find_inputs(&mut verdict);
    if verdict.exercised == Exercised::Yes {
        bench.time_batches(&mut verdict);
        bench.prove_rows(&mut verdict);
    }
    // A process that had room left needs no more for a small model, so the file's size is the least it counts for.
    let file_bytes = std::fs::metadata(&subject.artifact.path).map_or(0, |metadata| metadata.len());
    verdict.memory_bytes = (host.resident)().saturating_sub(before).max(file_bytes);
    verdict.peak_bytes = (host.peak)().saturating_sub(before).max(verdict.memory_bytes);
    // After the measurements, which it would disturb, and before the experiment that some models do not survive.
    bench.run_sample(&mut verdict);
    if verdict.exercised == Exercised::Yes && subject.try_zero {
        bench.try_zero(&mut verdict);
    }
    verdict.is_of_the_moment = instance.was_full;
    verdict
}

/// An instance on a device that may fail it, which is not to be held against the model.
struct OnDevice {
    instance: Box<dyn Instance>,
    give_up: fn(&BackendError),
    /// Whether the device had no memory for a run: another time it may have.
    was_full: bool,
}

impl Instance for OnDevice {
    fn run(&mut self, inputs: &[Option<Input<'_>>]) -> Result<Vec<Output>, BackendError> {
        let ran = self.instance.run(inputs);
        if let Err(error @ BackendError::Device { fault, .. }) = &ran {
            match fault {
                DeviceFault::Full => self.was_full = true,
                DeviceFault::Lost => (self.give_up)(error),
            }
        }
        ran
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.instance.interrupter()
    }
}

/// One model on the bench.
struct Bench<'a> {
    subject: &'a ProbeSubject,
    instance: &'a mut dyn Instance,
    announce: &'a mut dyn FnMut(&Progress),
    plan: Plan<'a>,
    output_names: Vec<&'a str>,
    /// Whether the first run of a batch size says nothing of the next.
    settles: bool,
    /// Why two rows together, or one, did not run.
    refused_two: Option<String>,
}

impl<'a> Bench<'a> {
    fn new(
        subject: &'a ProbeSubject,
        signature: &'a Signature,
        instance: &'a mut dyn Instance,
        announce: &'a mut dyn FnMut(&Progress),
    ) -> Bench<'a> {
        let batched = signature.has_batch_candidate();
        let plan = Plan { signature, batched, size: SIZES[0], style: Style::Plain, zero: None };
        let output_names = signature.outputs.iter().map(|spec| &*spec.name).collect();
        Bench { subject, instance, announce, plan, output_names, settles: false, refused_two: None }
    }

    fn run(&mut self, plan: &Plan<'_>, rows: &[u64]) -> Result<Vec<Output>, BackendError> {
        let made = plan.make(rows).ok_or_else(|| BackendError::Run {
            message: "its inputs would be too large to make up".to_owned(),
            invalid_input: true,
        })?;
        let inputs: Vec<Option<Input<'_>>> = made.iter().map(|input| Some(input.as_input())).collect();
        self.instance.run(&inputs)
    }

    fn announce(&mut self, stage: Stage, verdict: &Verdict) {
        (self.announce)(&Progress { stage, so_far: verdict.clone() });
    }

    /// Finds a size for the dynamic dimensions, and values, that the model accepts.
    fn find_inputs(&mut self, verdict: &mut Verdict) {
        self.announce(Stage::Run { rows: 1 }, verdict);
        // One size is as good as another when there is nothing to choose.
        let sizes =
            if has_free_dim(self.plan.signature, self.plan.batched) { &SIZES[..] } else { &SIZES[..1] };
        for style in Style::ALL {
            for &size in sizes {
                self.plan = Plan { size, style, ..self.plan };
                let plan = self.plan;
                match self.run(&plan, &[1]) {
                    Ok(outputs) => {
                        verdict.exercised = Exercised::Yes;
                        verdict.output_shapes = outputs.iter().map(|o| o.shape.dims().to_vec()).collect();
                        verdict.has_nan = has_nan(&outputs);
                        return;
                    }
                    Err(error) => verdict.exercised = Exercised::No(error.to_string()),
                }
            }
        }
        verdict.row_independence = if self.plan.batched {
            RowIndependence::Unproven("it refused every input that was made up for it".to_owned())
        } else {
            RowIndependence::NotCandidate
        };
    }

    /// Measures runs of 1, 2, 4, ... and the most rows; fewer where the model refuses so many, or takes too long.
    fn time_batches(&mut self, verdict: &mut Verdict) {
        let plan = self.plan;
        let mut rows_next = vec![1];
        if plan.batched {
            let rows_max = self.subject.rows_max.max(1);
            rows_next = std::iter::successors(Some(1usize), |rows| rows.checked_mul(2))
                .take_while(|&rows| rows < rows_max)
                .collect();
            rows_next.push(rows_max);
        }
        for mut rows in rows_next {
            let last = verdict.run_times.last();
            if rows > 2 && last.is_some_and(|(_, took)| *took > LAST_TIME) {
                break;
            }
            loop {
                self.announce(Stage::Run { rows }, verdict);
                match self.fastest(&plan, &seeds(rows)) {
                    Ok(fastest) => {
                        verdict.run_times.push((rows, fastest));
                        break;
                    }
                    Err(error) if rows <= 2 => {
                        self.refused_two = Some(error.to_string());
                        break;
                    }
                    Err(_) => rows /= 2,
                }
            }
        }
        verdict.run_times.dedup_by_key(|(rows, _)| *rows);
    }

    fn fastest(&mut self, plan: &Plan<'_>, rows: &[u64]) -> Result<Duration, BackendError> {
        if self.settles {
            self.run(plan, rows)?;
        }
        let begun = Instant::now();
        let mut fastest = Duration::MAX;
        for _ in 0..REPEAT_MAX {
            let started = Instant::now();
            self.run(plan, rows)?;
            fastest = fastest.min(started.elapsed());
            if begun.elapsed() > REPEAT_TIME {
                break;
            }
        }
        Ok(fastest)
    }

    /// Runs rows together and apart and compares.
    fn prove_rows(&mut self, verdict: &mut Verdict) {
        if !self.plan.batched {
            verdict.row_independence = RowIndependence::NotCandidate;
            return;
        }
        let rows_max = verdict.run_times.iter().map(|(rows, _)| *rows).max().unwrap_or(1);
        self.announce(Stage::Rows, verdict);
        verdict.row_independence = match self.compare_rows(rows_max) {
            Ok(None) if rows_max < 2 && self.subject.rows_max >= 2 => {
                let why = self.refused_two.as_deref().unwrap_or("they were not tried");
                RowIndependence::Dependent(format!("it does not take two rows together: {why}"))
            }
            Ok(None) => RowIndependence::Independent { rows_max },
            Ok(Some(why)) => RowIndependence::Dependent(why),
            Err(error) => RowIndependence::Unproven(error.to_string()),
        };
    }

    /// The first difference found, or `None`.
    fn compare_rows(&mut self, rows_max: usize) -> Result<Option<String>, BackendError> {
        let plan = self.plan;
        let names = self.output_names.clone();
        let tolerance = self.subject.tolerance;
        let first = self.run(&plan, &[1])?;
        let again = self.run(&plan, &[1])?;
        if let Some(why) = unequal(&first, 1, 0, &again, tolerance, &names) {
            return Ok(Some(format!("the same row gave two answers: {why}")));
        }
        if rows_max < 2 {
            return Ok(None);
        }
        let second = self.run(&plan, &[2])?;
        let (ab, ba) = (self.run(&plan, &[1, 2])?, self.run(&plan, &[2, 1])?);
        let cases = [(&ab, 0, &first), (&ab, 1, &second), (&ba, 0, &second), (&ba, 1, &first)];
        for (together, index, alone) in cases {
            if let Some(why) = unequal(together, 2, index, alone, tolerance, &names) {
                return Ok(Some(format!("a row gives something else with a batch mate than alone: {why}")));
            }
        }
        if rows_max == 2 {
            return Ok(None);
        }
        let all = seeds(rows_max);
        let together = self.run(&plan, &all)?;
        let begun = Instant::now();
        for (index, seed) in all.iter().enumerate() {
            if begun.elapsed() > APART_TIME && index > 1 && index + 1 < rows_max {
                continue;
            }
            let alone = self.run(&plan, &[*seed])?;
            if let Some(why) = unequal(&together, rows_max, index, &alone, tolerance, &names) {
                return Ok(Some(format!("a row of {rows_max} gives something else than alone: {why}")));
            }
        }
        Ok(None)
    }

    /// Runs the sample and keeps what came of it.
    fn run_sample(&mut self, verdict: &mut Verdict) {
        if self.subject.sample == SampleRun::None {
            return;
        }
        self.announce(Stage::Sample, verdict);
        let (signature, tolerance) = (self.plan.signature, self.subject.tolerance);
        verdict.sample = match &self.subject.sample {
            SampleRun::Given(inputs) => run_given(signature, self.instance, inputs, tolerance),
            _ if verdict.exercised != Exercised::Yes => {
                SampleOutcome::Missing("it refused every input that was made up for it".to_owned())
            }
            _ => match self.plan.make(&[1]) {
                Some(made) => run_made(signature, self.instance, &made, tolerance),
                None => SampleOutcome::Missing("its inputs would be too large to make up".to_owned()),
            },
        };
    }

    /// Gives the model each dynamic dimension as 0, once.
    fn try_zero(&mut self, verdict: &mut Verdict) {
        let mut tried: Vec<&Dim> = Vec::new();
        let mut tried_batch = false;
        for (position, spec) in self.plan.signature.inputs.iter().enumerate() {
            for (axis, dim) in spec.shape.iter().flatten().enumerate() {
                let is_batch = self.plan.batched && axis == 0;
                let is_known = if is_batch { tried_batch } else { tried.contains(&dim) };
                if !dim.is_dynamic() || (is_known && !matches!((is_batch, dim), (false, Dim::Dynamic(None))))
                {
                    continue;
                }
                tried_batch |= is_batch;
                tried.push(dim);
                let place = format!("dimension {axis} of input '{}'", spec.name);
                self.announce(Stage::Zero { place }, verdict);
                let plan = Plan { zero: Some((position, axis)), ..self.plan };
                // Some kernels survive nothing next to 1, and not next to 2.
                let attempts: &[&[u64]] = if is_batch { &[&[]] } else { &[&[1], &[1, 2]] };
                for rows in attempts {
                    // An error is an answer too; only not coming back is not.
                    drop(self.run(&plan, rows));
                }
                verdict.zero_size = ZeroSize::Survives;
            }
        }
    }
}

/// Whether any dimension besides the batch is dynamic.
pub(super) fn has_free_dim(signature: &Signature, batched: bool) -> bool {
    let first = usize::from(batched);
    signature
        .inputs
        .iter()
        .any(|spec| spec.shape.as_ref().is_none_or(|dims| dims.iter().skip(first).any(Dim::is_dynamic)))
}

fn seeds(rows: usize) -> Vec<u64> {
    (1..=rows as u64).collect()
}

/// How row `index` of `together` differs from the only row of `alone`.
fn unequal(
    together: &[Output],
    row_count: usize,
    index: usize,
    alone: &[Output],
    tolerance: f64,
    names: &[&str],
) -> Option<String> {
    match (rows(together, row_count, names), rows(alone, 1, names)) {
        (Ok(together), Ok(alone)) => {
            let (row, alone) = (together.get(index)?, alone.first()?);
            difference(row, alone, tolerance, names)
        }
        (Err(why), _) | (_, Err(why)) => Some(why),
    }
}
