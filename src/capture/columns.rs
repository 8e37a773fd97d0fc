//! From observations to Arrow record batches, a column at a time.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, ListArray, RecordBatch};
use arrow_array::{Float64Array, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array};
use arrow_buffer::{NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, Field};

use super::large::{LargeValues, joined};
use super::privacy::{Hasher, Policy};
use super::schema::{ColumnPlan, FIXED, Form, Plan, VALUE_BYTES_MAX};
use super::values::Values;
use crate::infer::Observation;
use crate::model::features::Side;
use crate::tensor::{DataType, StringsIter, Tensor};

/// What is written of a request beside what was observed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labels<'a> {
    pub(super) id: &'a str,
    pub(super) ts_us: i64,
    pub(super) weight: f64,
}

/// Rows that are not in the WAL yet.
#[derive(Debug)]
pub(super) struct Rows {
    plan: Arc<Plan>,
    hasher: Hasher,
    fixed: FixedColumns,
    /// Of each header the values, one for each request.
    attributes: Vec<Vec<Option<String>>>,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
    first_ts_us: i64,
    last_ts_us: i64,
}

impl Rows {
    pub(super) fn new(plan: Arc<Plan>, hasher: Hasher) -> Rows {
        let columns = plan.columns.iter().map(Column::new).collect();
        let attributes = vec![Vec::new(); plan.attributes.len()];
        Rows {
            plan,
            hasher,
            fixed: FixedColumns::default(),
            attributes,
            columns,
            rows: 0,
            bytes: 0,
            first_ts_us: i64::MAX,
            last_ts_us: i64::MIN,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// About how much memory they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first and the last of them was answered.
    pub(super) fn span_us(&self) -> (i64, i64) {
        (self.first_ts_us, self.last_ts_us)
    }

    /// Appends the rows of an observation. Returns how many values were too large to be written.
    pub(super) fn append(&mut self, observation: &Observation, labels: Labels<'_>) -> u64 {
        let rows = observation.rows;
        self.fixed.append(observation, labels, &self.hasher, self.plan.id.version.get());
        let sent = observation.attributes.as_deref().unwrap_or_default();
        for (values, (header, policy)) in self.attributes.iter_mut().zip(&self.plan.attributes) {
            let value = sent.iter().find(|(name, _)| name == header);
            values.push(value.and_then(|(_, value)| policy.text(value.as_bytes())).map(Cow::into_owned));
        }
        let mut oversize = 0;
        for (column, plan) in self.columns.iter_mut().zip(&self.plan.columns) {
            let tensor = match plan.side {
                Side::Input => observation.inputs.get(plan.tensor).and_then(Option::as_ref),
                Side::Output => observation.outputs.get(plan.tensor),
            };
            // A tensor that is small has no large row.
            let tensor =
                tensor.filter(|tensor| plan.form != Form::Overflow || tensor.data().len() > VALUE_BYTES_MAX);
            match tensor.and_then(|tensor| View::new(tensor, plan, rows)) {
                Some(view) => oversize += column.append(plan, &view, rows),
                None => (0..rows).for_each(|_| column.append_null(plan)),
            }
        }
        self.rows += rows;
        self.bytes += observation.bytes() + rows * 160;
        self.first_ts_us = self.first_ts_us.min(labels.ts_us);
        self.last_ts_us = self.last_ts_us.max(labels.ts_us);
        oversize
    }

    /// The rows as a batch; none are left.
    ///
    /// # Errors
    /// When columns and schema disagree: a defect of this program. The rows are gone all the same.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let requests = std::mem::take(&mut self.fixed.rows);
        let mut arrays = self.fixed.finish(&requests);
        debug_assert_eq!(arrays.len(), FIXED);
        for values in &mut self.attributes {
            let values = std::mem::take(values);
            arrays.push(Arc::new(StringArray::from_iter(spread(&values, &requests).map(Option::as_deref))));
        }
        arrays.extend(
            self.columns.iter_mut().zip(&self.plan.columns).map(|(column, plan)| column.finish(plan)),
        );
        (self.rows, self.bytes, self.first_ts_us, self.last_ts_us) = (0, 0, i64::MAX, i64::MIN);
        RecordBatch::try_new(Arc::clone(&self.plan.schema), arrays)
    }
}

/// The columns that every file has.
#[derive(Debug, Default)]
struct FixedColumns {
    request_id: Vec<Box<str>>,
    /// Rows of each request, for the columns that are the same for all of them.
    rows: Vec<usize>,
    ts_us: Vec<i64>,
    version: Vec<u64>,
    alias_rev: Vec<Option<u64>>,
    route: Vec<&'static str>,
    protocol: Vec<&'static str>,
    status: Vec<&'static str>,
    latency_us: Vec<u64>,
    queue_us: Vec<u64>,
    batch_size: Vec<u32>,
    weight: Vec<f64>,
    key_hash: Vec<Option<String>>,
}

impl FixedColumns {
    /// Remembers a request: once, however many rows it has.
    fn append(&mut self, observation: &Observation, labels: Labels<'_>, hasher: &Hasher, version: u64) {
        let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.request_id.push(labels.id.into());
        self.rows.push(observation.rows);
        self.ts_us.push(labels.ts_us);
        self.version.push(version);
        let revision = observation.choice.revision;
        self.alias_rev.push((revision > 0).then_some(revision));
        self.route.push(observation.choice.route.as_str());
        self.protocol.push(observation.protocol.as_str());
        self.status.push(observation.failure.map_or("ok", crate::error::Code::as_str));
        self.latency_us.push(micros(observation.latency));
        self.queue_us.push(micros(observation.timing.queue));
        self.batch_size.push(u32::try_from(observation.timing.batch_rows).unwrap_or(u32::MAX));
        self.weight.push(labels.weight);
        let key = &*observation.key;
        self.key_hash.push((!key.is_empty()).then(|| hasher.hash(key.as_bytes())));
    }

    /// The columns, with each request's values once for each of its `rows`.
    fn finish(&mut self, rows: &[usize]) -> Vec<ArrayRef> {
        let FixedColumns {
            request_id,
            rows: _,
            ts_us,
            version,
            alias_rev,
            route,
            protocol,
            status,
            latency_us,
            queue_us,
            batch_size,
            weight,
            key_hash,
        } = std::mem::take(self);
        let row = rows.iter().flat_map(|rows| (0u32..).take(*rows));
        vec![
            Arc::new(StringArray::from_iter_values(spread(&request_id, rows))),
            Arc::new(UInt32Array::from_iter_values(row)),
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(spread(&ts_us, rows).copied())
                    .with_timezone("UTC"),
            ),
            Arc::new(UInt64Array::from_iter_values(spread(&version, rows).copied())),
            Arc::new(UInt64Array::from_iter(spread(&alias_rev, rows).copied())),
            Arc::new(StringArray::from_iter_values(spread(&route, rows))),
            Arc::new(StringArray::from_iter_values(spread(&protocol, rows))),
            Arc::new(StringArray::from_iter_values(spread(&status, rows))),
            Arc::new(UInt64Array::from_iter_values(spread(&latency_us, rows).copied())),
            Arc::new(UInt64Array::from_iter_values(spread(&queue_us, rows).copied())),
            Arc::new(UInt32Array::from_iter_values(spread(&batch_size, rows).copied())),
            Arc::new(Float64Array::from_iter_values(spread(&weight, rows).copied())),
            Arc::new(StringArray::from_iter(spread(&key_hash, rows).map(Option::as_deref))),
        ]
    }
}

/// Each request's value once for each of its rows.
fn spread<'a, T>(values: &'a [T], rows: &'a [usize]) -> impl Iterator<Item = &'a T> {
    values.iter().zip(rows).flat_map(|(value, rows)| std::iter::repeat_n(value, *rows))
}

/// A tensor by rows.
struct View<'a> {
    data: &'a [u8],
    /// The elements of text; empty for numbers.
    texts: Vec<&'a [u8]>,
    per_row: usize,
    size: usize,
}

impl<'a> View<'a> {
    /// `None` for a tensor that is not what the plan was made for.
    fn new(tensor: &'a Tensor, plan: &ColumnPlan, rows: usize) -> Option<View<'a>> {
        let count = tensor.shape().element_count();
        let per_row = count.checked_div(rows)?;
        let fits = tensor.dtype() == plan.dtype
            && per_row * rows == count
            && plan.elements.is_none_or(|elements| elements == per_row);
        if !fits {
            return None;
        }
        let texts = match plan.dtype {
            DataType::Bytes => StringsIter::new(tensor.data()).collect::<Result<Vec<_>, _>>().ok()?,
            _ => Vec::new(),
        };
        Some(View { data: tensor.data(), texts, per_row, size: plan.dtype.element_size().unwrap_or(0) })
    }

    fn bytes(&self, elements: Range<usize>) -> usize {
        match self.size {
            0 => self.texts.get(elements).unwrap_or_default().iter().map(|text| text.len()).sum(),
            size => elements.len() * size,
        }
    }

    /// The elements as the protocol sends them; one text as it is.
    fn raw(&self, elements: Range<usize>) -> Cow<'a, [u8]> {
        match self.size {
            0 => joined(self.texts.get(elements).unwrap_or_default()),
            _ => Cow::Borrowed(self.numbers(elements)),
        }
    }

    fn numbers(&self, elements: Range<usize>) -> &'a [u8] {
        self.data.get(elements.start * self.size..elements.end * self.size).unwrap_or_default()
    }
}

/// One column of a tensor.
#[derive(Debug)]
struct Column {
    values: Values,
    /// Instead of values, where they are large.
    large: Option<LargeValues>,
    /// Of a list: where each row ends.
    ends: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Column {
    fn new(plan: &ColumnPlan) -> Column {
        Column {
            values: Values::new(plan.dtype, &plan.policy),
            large: plan.form.is_large().then(LargeValues::new),
            ends: vec![0],
            nulls: NullBufferBuilder::new(0),
        }
    }

    fn append(&mut self, plan: &ColumnPlan, view: &View<'_>, rows: usize) -> u64 {
        if matches!(plan.policy, Policy::Drop) {
            (0..rows).for_each(|_| self.append_null(plan));
            return 0;
        }
        let is_number = plan.dtype != DataType::Bytes && !plan.policy.makes_text();
        match plan.form {
            // The whole column at once.
            Form::Scalar(0) if is_number && view.per_row == 1 => {
                self.values.extend(plan.dtype, view.numbers(0..rows), &plan.policy);
                self.nulls.append_n_non_nulls(rows);
                0
            }
            Form::Fixed(_) if is_number => {
                self.values.extend(plan.dtype, view.numbers(0..rows * view.per_row), &plan.policy);
                self.nulls.append_n_non_nulls(rows);
                0
            }
            _ => (0..rows).map(|row| self.append_row(plan, view, row)).sum(),
        }
    }

    /// Returns 1 when the row's value is too large to be written.
    fn append_row(&mut self, plan: &ColumnPlan, view: &View<'_>, row: usize) -> u64 {
        let begin = row * view.per_row;
        let elements = match plan.form {
            Form::Scalar(at) => begin + at..begin + at + 1,
            _ => begin..begin + view.per_row,
        };
        let is_large = view.bytes(elements.clone()) > VALUE_BYTES_MAX;
        if let Some(large) = &mut self.large {
            if plan.form == Form::Overflow && !is_large {
                self.append_null(plan);
            } else {
                large.push(&view.raw(elements), &plan.policy);
                self.nulls.append_non_null();
            }
            return 0;
        }
        if is_large {
            self.append_null(plan);
            return u64::from(!plan.overflows);
        }
        let mut is_null = false;
        if plan.dtype == DataType::Bytes {
            for text in view.texts.get(elements).unwrap_or_default() {
                let text = plan.policy.text(text);
                is_null |= text.is_none();
                self.values.push_text(text.as_deref().unwrap_or_default());
            }
        } else {
            self.values.extend(plan.dtype, view.numbers(elements), &plan.policy);
        }
        self.end_row();
        // An element without a value makes its row null: elements themselves never are.
        self.nulls.append(!is_null);
        0
    }

    fn append_null(&mut self, plan: &ColumnPlan) {
        match plan.form {
            Form::Scalar(_) => self.values.pad(1),
            Form::Fixed(count) => self.values.pad(count),
            Form::List => {}
            Form::Reference | Form::Overflow => {
                if let Some(large) = &mut self.large {
                    large.pad();
                }
            }
        }
        self.end_row();
        self.nulls.append_null();
    }

    fn end_row(&mut self) {
        self.ends.push(i32::try_from(self.values.len()).unwrap_or(i32::MAX));
    }

    fn finish(&mut self, plan: &ColumnPlan) -> ArrayRef {
        let nulls: Option<NullBuffer> = self.nulls.finish();
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        let item = |values: &ArrayRef| Arc::new(Field::new("item", values.data_type().clone(), false));
        match plan.form {
            Form::Scalar(_) => self.values.finish(nulls),
            Form::Fixed(count) => {
                let values = self.values.finish(None);
                let count = i32::try_from(count).unwrap_or(i32::MAX);
                Arc::new(FixedSizeListArray::new(item(&values), count, values, nulls))
            }
            Form::List => {
                let values = self.values.finish(None);
                Arc::new(ListArray::new(
                    item(&values),
                    OffsetBuffer::new(ScalarBuffer::from(ends)),
                    values,
                    nulls,
                ))
            }
            Form::Reference | Form::Overflow => self.large.get_or_insert_with(LargeValues::new).finish(nulls),
        }
    }
}
