//! Jobs with more rows than a batch takes: divided into parts that are queued a few at a time, and rejoined in order.
//!
//! Only a window of parts is queued at once, so that a large request shares the workers with small ones. The job holds
//! one of the queue's slots until its answer is whole. Any part that fails fails the job; the others are taken back.

use std::ops::Range;

use bytes::BytesMut;
use futures_util::stream::{self, StreamExt};
use smallvec::SmallVec;

use super::shared::{Admission, Shared};
use super::{Job, Reply, Scheduler, SchedulerError};
use crate::backend::Output;
use crate::infer::Timing;
use crate::tensor::{Tensor, strings_len_of_rows};

/// Parts in the queue or running for each worker.
const PARTS_PER_WORKER: usize = 2;

/// A slot of the queue, given back when the job ends.
struct Slot<'a> {
    shared: &'a Shared,
    is_done: bool,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.shared.state.lock().queues.release_slot();
        self.shared.leave();
        if !self.is_done {
            self.shared.metrics.cancelled.inc();
        }
    }
}

/// Runs `job` in parts of at most `rows_max` rows.
pub(super) async fn submit(
    scheduler: &Scheduler,
    job: Job,
    rows_max: usize,
) -> Result<Reply, SchedulerError> {
    let shared = &scheduler.shared;
    shared.hold_slot(&job)?;
    let mut slot = Slot { shared, is_done: false };
    let rows = job.rows;
    let offsets = string_offsets(&job).inspect_err(|_| slot.is_done = true)?;
    let ranges = (0..rows).step_by(rows_max).map(|start| start..(start + rows_max).min(rows));
    let parts = ranges.map(|range| scheduler.submit_one(part(&job, &offsets, range), Admission::Part));
    let mut answers = stream::iter(parts).buffered(shared.plan.workers.max(1) * PARTS_PER_WORKER);
    let mut replies = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(reply) => replies.push(reply),
            Err(error) => {
                slot.is_done = true;
                return Err(error);
            }
        }
    }
    drop(answers);
    slot.is_done = true;
    let names = |index: usize| {
        shared.model.signature().outputs.get(index).map_or_else(String::new, |spec| spec.name.to_string())
    };
    join(replies, names, rows)
}

/// Where each row of each BYTES input starts, and the end; empty for others.
type Offsets = SmallVec<[Vec<usize>; 4]>;

fn string_offsets(job: &Job) -> Result<Offsets, SchedulerError> {
    let mut offsets = Offsets::new();
    for input in &job.inputs {
        let mut starts = Vec::new();
        if let Some(input) = input.as_ref().filter(|input| input.dtype().element_size().is_none()) {
            let lens = strings_len_of_rows(input.data(), input.shape().row_element_count(), job.rows);
            starts.push(0);
            let mut end = 0;
            // The tensor's constructor has read the same bytes.
            for len in lens.map_err(|_| SchedulerError::Panicked)? {
                end += len;
                starts.push(end);
            }
        }
        offsets.push(starts);
    }
    Ok(offsets)
}

fn part(job: &Job, offsets: &Offsets, rows: Range<usize>) -> Job {
    let inputs = job.inputs.iter().zip(offsets).map(|(input, starts)| {
        let input = input.as_ref()?;
        let bytes = match input.dtype().element_size() {
            None => starts[rows.start]..starts[rows.end],
            Some(size) => {
                let row_len = input.shape().row_element_count() * size;
                rows.start * row_len..rows.end * row_len
            }
        };
        let shape = input.shape().with_rows(rows.len()).expect("fewer rows than the job has");
        let data = input.data().slice(bytes);
        Some(
            Tensor::new(input.name().clone(), input.dtype(), shape, data)
                .expect("a row range of a tensor is a tensor"),
        )
    });
    Job { inputs: inputs.collect(), rows: rows.len(), priority: job.priority, deadline: job.deadline }
}

fn join(replies: Vec<Reply>, names: impl Fn(usize) -> String, rows: usize) -> Result<Reply, SchedulerError> {
    let mut timing = Timing::default();
    for (index, reply) in replies.iter().enumerate() {
        if index == 0 {
            timing.queue = reply.timing.queue;
        }
        timing.gather += reply.timing.gather;
        timing.compute += reply.timing.compute;
        timing.scatter += reply.timing.scatter;
        timing.batch_rows = timing.batch_rows.max(reply.timing.batch_rows);
    }
    let count = replies.iter().map(|reply| reply.outputs.len()).min().unwrap_or(0);
    let outputs = (0..count).map(|index| {
        let parts: Vec<&Output> = replies.iter().filter_map(|reply| reply.outputs.get(index)).collect();
        join_output(&parts, rows).ok_or_else(|| SchedulerError::OutputShapes { output: names(index) })
    });
    Ok(Reply { outputs: outputs.collect::<Result<_, _>>()?, timing })
}

fn join_output(parts: &[&Output], rows: usize) -> Option<Output> {
    let first = parts.first()?;
    let mut data = BytesMut::with_capacity(parts.iter().map(|part| part.data.len()).sum());
    for part in parts {
        if part.dtype != first.dtype || part.shape.row_dims() != first.shape.row_dims() {
            return None;
        }
        data.extend_from_slice(&part.data);
    }
    debug_assert_eq!(parts.iter().filter_map(|part| part.shape.rows()).sum::<usize>(), rows);
    Some(Output { dtype: first.dtype, shape: first.shape.with_rows(rows).ok()?, data: data.freeze() })
}
