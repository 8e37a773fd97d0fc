//! One instance of the model and what it needs to run a batch: gather, run, check, scatter, answer.
//!
//! A batch of several jobs that the model fails is run again in halves, so that a bad row fails alone. A panic fails
//! the jobs of its batch and costs the instance, which is made anew for the next batch. No lock is held here.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use smallvec::{SmallVec, smallvec};

use super::gather::{Staging, check_rows, scatter};
use super::policy::{Limits, filled};
use super::ticket::{Outcome, Promise};
use super::{Reply, SchedulerError};
use crate::backend::{BackendError, DeviceFault, Instance, Interrupt, Model, Output};
use crate::infer::Timing;

/// One instance with its staging memory.
pub(super) struct Executor {
    model: Arc<dyn Model>,
    limits: Limits,
    /// Gone after a panic, until the next batch.
    instance: Option<Box<dyn Instance>>,
    interrupter: Arc<dyn Interrupt>,
    /// Runs begun by this instance; whoever interrupts reads it.
    run_number: Arc<AtomicU64>,
    staging: Staging,
    /// The batch; filled by the scheduler, empty between batches.
    pub(super) batch: Vec<Promise>,
    outcomes: Vec<Option<Outcome>>,
    /// Tasks of the answered jobs, for the scheduler to wake.
    pub(super) wakers: Vec<Waker>,
}

/// What a batch came to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Report {
    /// Rows of the batch.
    pub(super) rows: usize,
    /// Jobs of the batch.
    pub(super) jobs: usize,
    /// Stage times, summed over reruns.
    pub(super) gather: Duration,
    pub(super) compute: Duration,
    pub(super) scatter: Duration,
    /// Calls of the instance.
    pub(super) runs: u64,
    /// Whether the first run succeeded, so that its time says something about the next.
    pub(super) clean: bool,
    /// Whether it ended in a panic.
    pub(super) panicked: bool,
}

impl Executor {
    pub(super) fn new(model: Arc<dyn Model>, limits: Limits) -> Result<Executor, BackendError> {
        let instance = model.instance()?;
        Ok(Executor {
            interrupter: instance.interrupter(),
            model,
            limits,
            staging: Staging::within(instance.staging_memory()),
            instance: Some(instance),
            run_number: Arc::new(AtomicU64::new(0)),
            batch: Vec::new(),
            outcomes: Vec::new(),
            wakers: Vec::new(),
        })
    }

    /// What stops the current run from another thread, and where its number is.
    pub(super) fn stopper(&self) -> (Arc<dyn Interrupt>, Arc<AtomicU64>) {
        (Arc::clone(&self.interrupter), Arc::clone(&self.run_number))
    }

    /// Makes the instance anew if a panic has cost it.
    pub(super) fn renew(&mut self) -> Result<(), BackendError> {
        if self.instance.is_none() {
            let instance = self.model.instance()?;
            self.interrupter = instance.interrupter();
            self.run_number = Arc::new(AtomicU64::new(0));
            self.staging = Staging::within(instance.staging_memory());
            self.instance = Some(instance);
        }
        Ok(())
    }

    /// Runs the batch and answers its jobs, all at once when the last of them is known. Their tasks are not woken yet.
    pub(super) fn run(&mut self, taken_at: Instant) -> Report {
        let mut report = Report { jobs: self.batch.len(), ..Report::default() };
        self.outcomes.clear();
        self.outcomes.resize_with(self.batch.len(), || None);
        let ran = catch_unwind(AssertUnwindSafe(|| self.run_guarded(taken_at, &mut report)));
        if ran.is_err() {
            report.panicked = true;
            self.drop_instance();
            tracing::error!(jobs = report.jobs, "a worker panicked; its instance is made anew");
        }
        self.staging.release();
        self.answer();
        if report.panicked {
            // Now rather than with the next batch, so that whoever stops that one has the right handle.
            match catch_unwind(AssertUnwindSafe(|| self.renew())) {
                Ok(Ok(())) => {}
                _ => tracing::error!("no new instance after a panic; the next batch tries again"),
            }
        }
        report
    }

    /// A destructor may panic as well.
    fn drop_instance(&mut self) {
        let instance = self.instance.take();
        if catch_unwind(AssertUnwindSafe(|| drop(instance))).is_err() {
            tracing::error!("dropping an instance panicked");
        }
        self.staging = Staging::default();
    }

    fn run_guarded(&mut self, taken_at: Instant, report: &mut Report) {
        if let Err(error) = self.renew() {
            for outcome in &mut self.outcomes {
                *outcome = Some(Err(error.clone().into()));
            }
            return;
        }
        let mut ranges: SmallVec<[Range<usize>; 8]> = smallvec![0..self.batch.len()];
        while let Some(range) = ranges.pop() {
            if self.batch[range.clone()].iter().all(|job| job.ticket().is_abandoned()) {
                continue;
            }
            match self.attempt(range.clone(), taken_at, report) {
                Ok(()) => report.clean |= report.runs == 1,
                // One job's rows may be why the model fails, or gives other rows than it was given; a device may have memory
                // for fewer.
                Err(
                    SchedulerError::Backend(
                        BackendError::Run { .. } | BackendError::Device { fault: DeviceFault::Full, .. },
                    )
                    | SchedulerError::OutputRows { .. },
                ) if range.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    ranges.push(middle..range.end);
                    ranges.push(range.start..middle);
                }
                Err(error) => {
                    for outcome in &mut self.outcomes[range] {
                        *outcome = Some(Err(error.clone()));
                    }
                }
            }
        }
    }

    fn attempt(
        &mut self,
        range: Range<usize>,
        taken_at: Instant,
        report: &mut Report,
    ) -> Result<(), SchedulerError> {
        let jobs = &self.batch[range.clone()];
        let rows: usize = jobs.iter().map(|job| job.ticket().job.rows).sum();
        report.rows = report.rows.max(rows);
        let fills = self.limits.fills && rows > 0;
        let run_rows = if fills { filled(rows, self.limits.rows_max) } else { rows };
        let instance = self.instance.as_mut().ok_or(SchedulerError::Panicked)?;

        let started_at = if report.runs == 0 { taken_at } else { Instant::now() };
        let inputs = self.staging.gather(jobs, run_rows);
        let gathered_at = Instant::now();
        report.runs += 1;
        self.run_number.fetch_add(1, Ordering::Release);
        let ran = instance.run(&inputs);
        drop(inputs);
        let ran_at = Instant::now();
        report.gather += gathered_at - started_at;
        report.compute += ran_at - gathered_at;

        let divided = self.divide(ran?, range.clone(), run_rows)?;
        let scattered_at = Instant::now();
        report.scatter += scattered_at - ran_at;
        for (index, outputs) in range.zip(divided) {
            let timing = Timing {
                queue: taken_at.saturating_duration_since(self.batch[index].ticket().queued_at),
                gather: gathered_at - started_at,
                compute: ran_at - gathered_at,
                scatter: scattered_at - ran_at,
                batch_rows: rows,
                ..Timing::default()
            };
            self.outcomes[index] = Some(Ok(Reply { outputs, timing }));
        }
        Ok(())
    }

    /// Outputs of the jobs in `range`, which ran as `rows` rows. A job alone gets what the model gave, which must have its
    /// rows if the version is batched: its answer must not depend on whether it had company.
    fn divide(
        &self,
        outputs: Vec<Output>,
        range: Range<usize>,
        rows: usize,
    ) -> Result<SmallVec<[Vec<Output>; 1]>, SchedulerError> {
        let jobs = &self.batch[range];
        let name = |index: usize| {
            self.model.signature().outputs.get(index).map_or_else(String::new, |spec| spec.name.to_string())
        };
        let is_alone = |job: &Promise| !self.limits.batched || job.ticket().job.rows == rows;
        if jobs.len() == 1 && jobs.first().is_some_and(is_alone) {
            if self.limits.batched {
                for (index, output) in outputs.iter().enumerate() {
                    check_rows(output, rows).map_err(|actual| SchedulerError::OutputRows {
                        output: name(index),
                        expected: rows,
                        actual,
                    })?;
                }
            }
            return Ok(smallvec![outputs]);
        }
        let rows_of_jobs: SmallVec<[usize; 64]> = jobs.iter().map(|job| job.ticket().job.rows).collect();
        Ok(SmallVec::from_vec(scatter(&outputs, name, &rows_of_jobs, rows)?))
    }

    fn answer(&mut self) {
        for (promise, outcome) in self.batch.drain(..).zip(self.outcomes.drain(..)) {
            let outcome = outcome.unwrap_or(Err(SchedulerError::Panicked));
            self.wakers.extend(promise.keep(outcome));
        }
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("model", &self.model).finish_non_exhaustive()
    }
}
