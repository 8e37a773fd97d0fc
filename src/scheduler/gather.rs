//! Rows of several jobs into one batch, and the batch's outputs back into rows: pure moves of bytes.
//!
//! Fixed-size inputs are copied into reused aligned buffers, unless a job is alone and its bytes are aligned as they
//! came; strings stay where they are and are read as runs. A batch can be filled up with copies of its first row, whose
//! outputs are left out. Outputs are divided as slices of shared memory.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::SchedulerError;
use super::ticket::Promise;
use crate::backend::{Input, InputData, Output};
use crate::tensor::{AlignedBuffer, DataType, Shape, StagingMemory, Tensor, strings_len_of_rows};

/// Memory that a worker gathers inputs into, kept from batch to batch.
#[derive(Default)]
pub(super) struct Staging {
    inputs: Vec<InputStaging>,
    memory: Option<Arc<dyn StagingMemory>>,
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
    /// Staging memory from `memory`, or of the process's own.
    pub(super) fn within(memory: Option<Arc<dyn StagingMemory>>) -> Staging {
        Staging { inputs: Vec::new(), memory }
    }

    /// The inputs of a batch of `jobs`, which share a lane, as `rows` rows: those that the jobs have, and copies of the
    /// first one where that is fewer.
    pub(super) fn gather<'a>(&'a mut self, jobs: &'a [Promise], rows: usize) -> BatchInputs<'a> {
        let Some(first) = jobs.first() else { return BatchInputs::new() };
        let inputs = &first.ticket().job.inputs;
        let memory = &self.memory;
        let staging =
            || InputStaging { fixed: AlignedBuffer::within(memory.clone()), ..InputStaging::default() };
        self.inputs.resize_with(inputs.len().max(self.inputs.len()), staging);
        let is_alone = jobs.len() == 1 && first.ticket().job.rows >= rows;
        let mut gathered = BatchInputs::with_capacity(inputs.len());
        for (index, (input, staging)) in inputs.iter().zip(&mut self.inputs).enumerate() {
            gathered.push(input.as_ref().map(|input| {
                if is_alone { staging.alone(input) } else { staging.together(jobs, index, input, rows) }
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
                self.fixed.reserve_total(data.len().max(1));
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
        self.shape = first.shape().with_rows(rows).expect("a batch's rows fit memory");
        let parts = jobs.iter().map(|job| {
            let part = job.ticket().job.inputs.get(index).and_then(Option::as_ref);
            part.expect("jobs of a lane have the same inputs")
        });
        let missing = rows - jobs.iter().map(|job| job.ticket().job.rows).sum::<usize>();
        let first_row = || {
            let part = parts.clone().find(|part| part.shape().rows() != Some(0));
            part.map_or_else(Bytes::new, row_of)
        };
        let data = match first.dtype().element_size() {
            None => {
                self.strings.clear();
                self.strings.extend(parts.clone().map(|part| part.data().clone()));
                if missing > 0 {
                    self.strings.extend(std::iter::repeat_n(first_row(), missing));
                }
                InputData::Strings(&self.strings)
            }
            Some(size) => {
                let len = self.shape.element_count() * size;
                self.fixed.clear();
                // Even no bytes need an aligned address.
                self.fixed.reserve_total(len.max(1));
                for part in parts.clone() {
                    self.fixed.extend_from_slice(part.data());
                }
                if missing > 0 {
                    let row = first_row();
                    (0..missing).for_each(|_| self.fixed.extend_from_slice(&row));
                }
                assert_eq!(self.fixed.len(), len, "row ranges tile the batch");
                InputData::Fixed(self.fixed.as_slice())
            }
        };
        Input { dtype: first.dtype(), shape: &self.shape, data }
    }
}

/// The first row of a tensor that has one.
fn row_of(tensor: &Tensor) -> Bytes {
    let elements = tensor.shape().row_element_count();
    let len = match tensor.dtype().element_size() {
        Some(size) => elements * size,
        None => strings_len_of_rows(tensor.data(), elements, 1).map_or(0, |lens| lens.iter().sum()),
    };
    tensor.data().slice(..len)
}

/// Divides `outputs` of a batch of `rows` rows into jobs of `rows_of_jobs` rows; the rows that are left over belong to
/// nobody. No job gets a byte of another's.
pub(super) fn scatter(
    outputs: &[Output],
    names: impl Fn(usize) -> String,
    rows_of_jobs: &[usize],
    rows: usize,
) -> Result<Vec<Vec<Output>>, SchedulerError> {
    assert!(rows_of_jobs.iter().sum::<usize>() <= rows, "row ranges fit the batch");
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
        debug_assert!(start <= output.data.len(), "row ranges fit the output");
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;
    use smallvec::smallvec;

    use super::*;
    use crate::scheduler::Job;
    use crate::scheduler::ticket::Ticket;
    use crate::tensor::{StringsWriter, count_strings};

    const WIDTH: usize = 2;

    fn strings(rows: &[Vec<u8>]) -> Bytes {
        let mut writer = StringsWriter::new();
        for row in rows {
            for _ in 0..WIDTH {
                writer.push(row).unwrap();
            }
        }
        writer.finish()
    }

    /// A job of rows; each has two bytes in one input and two strings in another. `offset` spoils the alignment.
    fn promise(rows: &[Vec<u8>], offset: usize) -> Promise {
        let fixed: Vec<u8> = std::iter::repeat_n(0, offset)
            .chain(rows.iter().flat_map(|row| [u8::try_from(row.len()).unwrap(); 2 * WIDTH]))
            .collect();
        let shape = Shape::new(&[rows.len(), WIDTH]).unwrap();
        let fixed = Bytes::from(fixed).slice(offset..);
        let fixed = Tensor::new("f".into(), DataType::Int16, shape.clone(), fixed).unwrap();
        let strings = Tensor::new("s".into(), DataType::Bytes, shape, strings(rows)).unwrap();
        let inputs = smallvec![Some(fixed), Some(strings)];
        let job = Job { inputs, rows: rows.len(), priority: 0, deadline: None };
        Promise::new(Ticket::new(job, Instant::now(), false))
    }

    proptest! {
        #[test]
        fn what_is_gathered_is_scattered(
            jobs in proptest::collection::vec(
                (proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..5), 0usize..4), 1..8),
            padding in 0usize..4,
        ) {
            let promises: Vec<Promise> = jobs.iter().map(|(rows, offset)| promise(rows, *offset)).collect();
            let rows_of_jobs: Vec<usize> = jobs.iter().map(|(rows, _)| rows.len()).collect();
            let given: usize = rows_of_jobs.iter().sum();
            let rows = if given > 0 { given + padding } else { 0 };
            let mut staging = Staging::default();
            let inputs = staging.gather(&promises, rows);
            let outputs: Vec<Output> = inputs.iter().flatten().map(|input| {
                let data = match input.data {
                    InputData::Fixed(data) => {
                        assert!(data.as_ptr().addr().is_multiple_of(2));
                        Bytes::copy_from_slice(data)
                    }
                    InputData::Strings(runs) => Bytes::from(runs.concat()),
                };
                Output { dtype: input.dtype, shape: input.shape.clone(), data }
            }).collect();
            let divided = scatter(&outputs, |_| String::new(), &rows_of_jobs, rows).unwrap();
            for (outputs, promise) in divided.iter().zip(&promises) {
                for (output, input) in outputs.iter().zip(&promise.ticket().job.inputs) {
                    let input = input.as_ref().unwrap();
                    prop_assert_eq!(&output.data, input.data());
                    prop_assert_eq!(&output.shape, input.shape());
                }
                prop_assert_eq!(count_strings(&outputs[1].data).unwrap(), outputs[1].shape.element_count());
            }
        }
    }

    fn check(dtype: DataType, dims: &[usize], len: usize, rows_of_jobs: &[usize], ok: bool) {
        let output = Output { dtype, shape: Shape::new(dims).unwrap(), data: Bytes::from(vec![0; len]) };
        let rows = rows_of_jobs.iter().sum();
        let divided = scatter(&[output], |_| "y".to_owned(), rows_of_jobs, rows);
        assert_eq!(divided.is_ok(), ok, "{dtype} {dims:?} {len}: {divided:?}");
    }

    #[test]
    fn outputs_are_divided_by_their_real_rows() {
        check(DataType::Fp32, &[3, 2], 24, &[1, 2], true);
        check(DataType::Fp32, &[2, 3], 24, &[1, 2], false);
        check(DataType::Fp32, &[6], 24, &[1, 2], false);
        check(DataType::Fp32, &[], 4, &[1], false);
        check(DataType::Fp32, &[3, 2], 20, &[1, 2], false);
        check(DataType::Fp32, &[3, 0], 0, &[1, 2], true);
        check(DataType::Bytes, &[3], 12, &[1, 2], true);
        check(DataType::Bytes, &[3], 8, &[1, 2], false);
    }
}
