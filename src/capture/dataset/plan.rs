//! The first pass: which rows go into the data set, with which weight, and what their columns and labels are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef, Schema};
use chrono::NaiveDate;
use object_store::ObjectStore;

use super::error::DatasetError;
use super::hash;
use super::manifest::Counts;
use super::query::{LabelNeed, Query, Split};
use super::source::{self, CapturedRows, day};
use crate::capture::CapturedFile;
use crate::capture::labels::{LabelTable, LabelValue, SourceFile};

/// Columns of captured rows that are not written into a data set: they describe the serving, not the row.
const FIXED: [&str; 12] = [
    "request_id",
    "row",
    "ts_us",
    "model_version",
    "route",
    "protocol",
    "status",
    "latency_us",
    "queue_us",
    "batch_size",
    "sample_weight",
    "key_hash",
];

/// What all labels of a data set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LabelKind {
    Number,
    Bool,
    Text,
    Numbers,
    /// Several of these: each is written as JSON.
    Json,
}

impl LabelKind {
    fn of(value: &LabelValue) -> LabelKind {
        match value {
            LabelValue::Number(_) => LabelKind::Number,
            LabelValue::Bool(_) => LabelKind::Bool,
            LabelValue::Text(_) => LabelKind::Text,
            LabelValue::List(items) if items.iter().all(|item| matches!(item, LabelValue::Number(_))) => {
                LabelKind::Numbers
            }
            LabelValue::List(_) => LabelKind::Json,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            LabelKind::Number => "number",
            LabelKind::Bool => "bool",
            LabelKind::Text => "text",
            LabelKind::Numbers => "numbers",
            LabelKind::Json => "json",
        }
    }
}

/// A file and which of its rows are wanted.
#[derive(Debug)]
pub(super) struct PlannedFile {
    pub(super) source: CapturedFile,
    pub(super) sha256: String,
    /// For each row, whether it goes in.
    pub(super) keep: Vec<bool>,
}

/// What the second pass writes.
#[derive(Debug, Default)]
pub(super) struct Planned {
    pub(super) files: Vec<PlannedFile>,
    /// Weights of the rows that stand for others of their hash; empty when duplicates are kept.
    pub(super) weights: HashMap<u128, f64>,
    /// The input and output columns of all files, in the order in which they are first seen.
    pub(super) features: Vec<FieldRef>,
    pub(super) label: Option<LabelKind>,
    /// Rows answered no later than this are train; only for [`Split::Time`].
    pub(super) train_until_us: Option<i64>,
    pub(super) counts: Counts,
    /// Rows of a day, and those that have a label.
    pub(super) days: BTreeMap<NaiveDate, (u64, u64)>,
    /// When the rows were answered; only for [`Split::Time`].
    times: Vec<i64>,
    requests: HashSet<u128>,
    seen: usize,
}

/// Looks at all rows of `query`.
pub(super) async fn plan(
    store: &Arc<dyn ObjectStore>,
    query: &Query,
    labels: &LabelTable,
) -> Result<Planned, DatasetError> {
    let mut planned = Planned::default();
    for source in source::files(store, query).await? {
        let (bytes, sha256) = source::fetch(store, &source.key).await?;
        let mut keep = Vec::new();
        for batch in source::open(&source.key, bytes)? {
            let batch = batch.map_err(|error| DatasetError::damaged(&source.key, error))?;
            planned.add_features(batch.schema_ref())?;
            planned.add(query, labels, &source.key, &batch, &mut keep)?;
        }
        planned.files.push(PlannedFile { source, sha256, keep });
    }
    planned.requests = HashSet::new();
    if let Split::Time(share) = query.split {
        planned.train_until_us = quantile(&mut planned.times, share);
    }
    planned.times = Vec::new();
    Ok(planned)
}

impl Planned {
    /// The files, as the manifest names them.
    pub(super) fn sources(&self) -> Vec<SourceFile> {
        let described =
            |file: &PlannedFile| source::described(&file.source, &file.sha256, file.keep.len() as u64);
        self.files.iter().map(described).collect()
    }

    fn add_features(&mut self, schema: &Schema) -> Result<(), DatasetError> {
        for field in schema.fields().iter().filter(|field| !FIXED.contains(&field.name().as_str())) {
            match self.features.iter().find(|known| known.name() == field.name()) {
                None => self.features.push(plain(field)),
                Some(known) if known.data_type() == field.data_type() => {}
                Some(known) => {
                    let (name, one, other) = (field.name(), known.data_type(), field.data_type());
                    let reason = format!(
                        "column {name} is {one} in some files and {other} in others: choose versions"
                    );
                    return Err(DatasetError::Invalid(reason));
                }
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        query: &Query,
        labels: &LabelTable,
        key: &str,
        batch: &RecordBatch,
        keep: &mut Vec<bool>,
    ) -> Result<(), DatasetError> {
        let rows = CapturedRows::new(key, batch)?;
        let inputs = inputs(batch);
        self.seen += batch.num_rows();
        if self.seen > query.rows_max {
            return Err(DatasetError::TooMany { max: query.rows_max });
        }
        for at in 0..batch.num_rows() {
            keep.push(self.wants(query, labels, batch, &rows, &inputs, at));
        }
        Ok(())
    }

    /// Whether a row goes in. Counts why not.
    fn wants(
        &mut self,
        query: &Query,
        labels: &LabelTable,
        batch: &RecordBatch,
        rows: &CapturedRows<'_>,
        inputs: &[usize],
        at: usize,
    ) -> bool {
        let (id, ts_us) = (rows.request_id(at), rows.ts_us(at));
        if !query.is_meant(rows.version(at), ts_us) {
            return false;
        }
        self.counts.rows += 1;
        if !rows.is_answer(at) {
            self.counts.failed += 1;
            return false;
        }
        // A request that was sent again under its id was answered again: the first answer stays.
        if !id.is_empty() && !self.requests.insert(hash::request(id, rows.row(at))) {
            self.counts.repeated += 1;
            return false;
        }
        let label = labels.get(id, rows.row(at)).map(|(label, _)| label).filter(|_| !id.is_empty());
        let of_day = self.days.entry(day(ts_us)).or_default();
        of_day.0 += 1;
        match label {
            Some(label) => {
                of_day.1 += 1;
                self.counts.labelled += 1;
                let kind = LabelKind::of(&label.value);
                self.label =
                    Some(self.label.filter(|known| *known != kind).map_or(kind, |_| LabelKind::Json));
            }
            None if query.labels == LabelNeed::Required => return false,
            None => {}
        }
        if !query.keep_duplicates {
            let text = label.map(|label| label.value.to_json()).unwrap_or_default();
            let weight = self.weights.entry(hash::row(batch, inputs, at, &text));
            let is_first = matches!(weight, std::collections::hash_map::Entry::Vacant(_));
            *weight.or_default() += rows.weight(at);
            if !is_first {
                self.counts.duplicates += 1;
                return false;
            }
        }
        self.counts.kept += 1;
        if matches!(query.split, Split::Time(_)) {
            self.times.push(ts_us);
        }
        true
    }
}

/// The positions of the input columns.
pub(super) fn inputs(batch: &RecordBatch) -> Vec<usize> {
    let fields = batch.schema_ref().fields().iter().enumerate();
    fields.filter(|(_, field)| field.name().starts_with("in.")).map(|(index, _)| index).collect()
}

/// A field that may be null, without metadata: files of other versions may not have it.
fn plain(field: &Field) -> FieldRef {
    let kind: DataType = field.data_type().clone();
    Arc::new(Field::new(field.name(), kind, true))
}

/// The smallest time that at least `share` of `times` do not pass.
fn quantile(times: &mut [i64], share: f64) -> Option<i64> {
    times.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    let count = (times.len() as f64 * share).ceil() as usize;
    times.get(count.saturating_sub(1)).copied()
}
