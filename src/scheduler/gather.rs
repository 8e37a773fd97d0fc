//! Rows of several jobs into one batch, and the batch's outputs back into rows: pure moves of bytes.
//!
//! Fixed-size inputs are copied into reused aligned buffers, unless a job is alone and its bytes are aligned as they
//! came; strings stay where they are and are read as runs. Outputs are divided as slices of shared memory.

use bytes::Bytes;
use smallvec::SmallVec;

use super::SchedulerError;
use super::ticket::Promise;
use crate::backend::{Input, InputData, Output};
use crate::tensor::{AlignedBuffer, DataType, Shape, Tensor, strings_len_of_rows};

/// Memory that a worker gathers inputs into, kept from batch to batch.
#[derive(Debug, Default)]
pub(super) struct Staging {
    inputs: Vec<InputStaging>,
}

#[derive(Debug, Default)]
struct InputStaging {
    fixed: AlignedBuffer,
    strings: Vec<Bytes>,
    shape: Shape,
}

/// The inputs of a batch, borrowed from its jobs and the staging memory.
pub(super) type BatchInputs<'a> = SmallVec<[Option<Input<'a>>; 4]>;

impl Staging {
    /// The inputs of a batch of `jobs`, which share a lane and have `rows` rows together.
    pub(super) fn gather<'a>(&'a mut self, jobs: &'a [Promise], rows: usize) -> BatchInputs<'a> {
        let Some(first) = jobs.first() else { return BatchInputs::new() };
        let inputs = &first.ticket().job.inputs;
        self.inputs.resize_with(inputs.len().max(self.inputs.len()), InputStaging::default);
        let mut gathered = BatchInputs::with_capacity(inputs.len());
        for (index, (input, staging)) in inputs.iter().zip(&mut self.inputs).enumerate() {
            gathered.push(input.as_ref().map(|input| {
                if jobs.len() == 1 {
                    staging.alone(input)
                } else {
                    staging.together(jobs, index, input, rows)
                }
            }));
        }
        gathered
    }

    /// Lets go of the jobs' memory. The staging memory itself is kept.
    pub(super) fn release(&mut self) {
        for staging in &mut self.inputs {
            staging.strings.clear();
        }
    }
}

impl InputStaging {
    fn alone<'a>(&'a mut self, input: &'a Tensor) -> Input<'a> {
        let data = input.data();
        let data = match input.dtype().element_size() {
            None => InputData::Strings(std::slice::from_ref(data)),
            Some(align) if data.as_ptr().addr().is_multiple_of(align) => InputData::Fixed(data),
            Some(_) => {
                self.fixed.clear();
                self.fixed.extend_from_slice(data);
                InputData::Fixed(self.fixed.as_slice())
            }
        };
        Input { dtype: input.dtype(), shape: input.shape(), data }
    }

    fn together<'a>(
        &'a mut self,
        jobs: &'a [Promise],
        index: usize,
        first: &Tensor,
        rows: usize,
    ) -> Input<'a> {
        self.shape = first.shape().with_rows(rows).expect("the rows of a batch were all received");
        let parts = jobs.iter().map(|job| {
            let part = job.ticket().job.inputs.get(index).and_then(Option::as_ref);
            part.expect("jobs of a lane have the same inputs")
        });
        let data = match first.dtype().element_size() {
            None => {
                self.strings.clear();
                self.strings.extend(parts.map(|part| part.data().clone()));
                InputData::Strings(&self.strings)
            }
            Some(size) => {
                let len = self.shape.element_count() * size;
                self.fixed.clear();
                self.fixed.reserve_total(len);
                for part in parts {
                    self.fixed.extend_from_slice(part.data());
                }
                assert_eq!(self.fixed.len(), len, "row ranges tile the batch");
                InputData::Fixed(self.fixed.as_slice())
            }
        };
        Input { dtype: first.dtype(), shape: &self.shape, data }
    }
}

/// Divides `outputs` of a batch of `rows` rows into jobs of `rows_of_jobs` rows. No job gets a byte of another's.
pub(super) fn scatter(
    outputs: &[Output],
    names: impl Fn(usize) -> String,
    rows_of_jobs: &[usize],
    rows: usize,
) -> Result<Vec<Vec<Output>>, SchedulerError> {
    assert_eq!(rows_of_jobs.iter().sum::<usize>(), rows, "row ranges tile the batch");
    let mut divided: Vec<Vec<Output>> =
        rows_of_jobs.iter().map(|_| Vec::with_capacity(outputs.len())).collect();
    for (index, output) in outputs.iter().enumerate() {
        check_rows(output, rows).map_err(|actual| SchedulerError::OutputRows {
            output: names(index),
            expected: rows,
            actual,
        })?;
        let strings = match output.dtype {
            DataType::Bytes => Some(string_rows(output, names(index), rows)?),
            _ => None,
        };
        let row_len = output.shape.row_element_count() * output.dtype.element_size().unwrap_or(0);
        let (mut row, mut start) = (0, 0);
        for (job_rows, job) in rows_of_jobs.iter().zip(&mut divided) {
            let len = match &strings {
                Some(lens) => lens[row..row + job_rows].iter().sum(),
                None => job_rows * row_len,
            };
            let shape = output.shape.with_rows(*job_rows).expect("fewer rows than the batch had");
            job.push(Output { dtype: output.dtype, shape, data: output.data.slice(start..start + len) });
            row += job_rows;
            start += len;
        }
        debug_assert_eq!(start, output.data.len(), "row ranges tile the output");
    }
    Ok(divided)
}

/// Whether `output` really has `rows` rows; otherwise how many.
pub(super) fn check_rows(output: &Output, rows: usize) -> Result<(), usize> {
    let actual = output.shape.rows().unwrap_or(0);
    if output.shape.rank() == 0 || actual != rows {
        return Err(actual);
    }
    match output.dtype.element_size() {
        Some(size) if output.data.len() != output.shape.element_count() * size => Err(actual),
        _ => Ok(()),
    }
}

fn string_rows(output: &Output, name: String, rows: usize) -> Result<Vec<usize>, SchedulerError> {
    let lens = strings_len_of_rows(&output.data, output.shape.row_element_count(), rows);
    lens.map_err(|_| SchedulerError::OutputRows { output: name, expected: rows, actual: 0 })
}
