//! From captured rows and labels to what is judged of each: the class that was named, the scores, the truth.
//!
//! | outputs | prediction | scores |
//! |---|---|---|
//! | a whole number, text or bool | it | a list of floats, or else a float, when there is one |
//! | a list of floats | the position of the largest | the list |
//! | a float | it: a score when all labels are 0 or 1 and all values within 0 and 1, else a number | |
//!
//! The first of each in the order of the outputs, unless the prediction is named.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, RecordBatch, downcast_integer_array};
use arrow_schema::{DataType, Schema};
use chrono::NaiveDate;
use object_store::ObjectStore;

use super::Asked;
use crate::capture::dataset::{CapturedRows, DatasetError, day, fetch, files, open_some, request_hash};
use crate::capture::labels::{LabelTable, LabelValue};

/// Most classes that are told apart; more are no classes.
const CLASSES_MAX: usize = 10_000;

/// A class by its place in [`Collected::classes`].
pub(super) type Class = u32;

/// One answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    pub(super) version: u64,
    pub(super) date: NaiveDate,
    pub(super) weight: f64,
    /// The class that an output names.
    pub(super) named: Option<Class>,
    /// The float that is the only score, or the number.
    pub(super) number: f64,
    /// Of a list of scores the position of the largest.
    pub(super) top: Option<u32>,
    /// And the largest.
    pub(super) top_score: f64,
    /// Of two scores the second; NaN without.
    pub(super) second: f64,
    /// The score at the place that the label names.
    pub(super) truth_score: f64,
    /// Whether all scores make a distribution.
    pub(super) is_distribution: bool,
    /// The truth.
    pub(super) truth: Option<Truth>,
}

/// A label.
#[derive(Debug, Clone, Copy)]
pub(super) struct Truth {
    pub(super) class: Class,
    /// NaN for text.
    pub(super) number: f64,
    pub(super) delay_s: f64,
}

/// All answers.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) rows: Vec<Judged>,
    pub(super) classes: Vec<String>,
    by_name: HashMap<String, Class>,
    pub(super) class_column: Option<String>,
    pub(super) score_column: Option<String>,
    /// How many scores a row has; 1 for a float.
    pub(super) scores_len: usize,
    pub(super) notes: Vec<String>,
}

/// Reads what `asked` is about.
pub(super) async fn collect(
    store: &Arc<dyn ObjectStore>,
    asked: &Asked,
    labels: &LabelTable,
) -> Result<Collected, DatasetError> {
    let mut collected = Collected::default();
    let mut requests = HashSet::new();
    for file in files(store, &asked.query).await? {
        let (bytes, _) = fetch(store, &file.key).await?;
        for batch in open_some(&file.key, bytes, |name| !name.starts_with("in."))? {
            let batch = batch.map_err(|error| DatasetError::Damaged {
                key: file.key.clone(),
                reason: error.to_string(),
            })?;
            collected.find_columns(asked, batch.schema_ref())?;
            let rows = CapturedRows::new(&file.key, &batch)?;
            collected.add(asked, labels, &batch, &rows, &mut requests)?;
        }
    }
    collected.note_hashes();
    Ok(collected)
}

impl Collected {
    /// Finds the columns that are judged in the first file that has outputs.
    fn find_columns(&mut self, asked: &Asked, schema: &Schema) -> Result<(), DatasetError> {
        if self.class_column.is_some() || self.score_column.is_some() {
            return Ok(());
        }
        let outputs: Vec<_> =
            schema.fields().iter().filter(|field| field.name().starts_with("out.")).collect();
        let first = |is: fn(&DataType) -> bool| {
            outputs.iter().find(|field| is(field.data_type())).map(|field| field.name().clone())
        };
        if let Some(name) = &asked.prediction {
            let of = |field: &&&Arc<arrow_schema::Field>| {
                field.name() == name || field.name().strip_prefix("out.") == Some(name)
            };
            let field = outputs.iter().find(of).ok_or_else(|| {
                let names: Vec<_> = outputs.iter().map(|field| field.name().as_str()).collect();
                DatasetError::Invalid(format!("there is no output '{name}', only {}", names.join(", ")))
            })?;
            match is_class(field.data_type()) {
                true => self.class_column = Some(field.name().clone()),
                false => self.score_column = Some(field.name().clone()),
            }
        }
        if self.score_column.is_none() {
            self.class_column = self.class_column.take().or_else(|| first(is_class));
            let is_alone = self.class_column.is_none();
            let scores = first(is_scores).or_else(|| first(is_float));
            self.score_column = scores.filter(|_| is_alone || asked.prediction.is_none());
        }
        Ok(())
    }

    fn add(
        &mut self,
        asked: &Asked,
        labels: &LabelTable,
        batch: &RecordBatch,
        rows: &CapturedRows<'_>,
        requests: &mut HashSet<u128>,
    ) -> Result<(), DatasetError> {
        let column = |name: &Option<String>| batch.column_by_name(name.as_deref()?).cloned();
        let (classes, scores) = (column(&self.class_column), column(&self.score_column));
        for at in 0..batch.num_rows() {
            let (id, row, ts_us) = (rows.request_id(at), rows.row(at), rows.ts_us(at));
            let is_meant = asked.query.is_meant(rows.version(at), ts_us) && rows.is_answer(at);
            if !is_meant || (!id.is_empty() && !requests.insert(request_hash(id, row))) {
                continue;
            }
            if self.rows.len() == asked.query.rows_max {
                return Err(DatasetError::TooMany { max: asked.query.rows_max });
            }
            let label = if id.is_empty() { None } else { labels.get(id, row) };
            let named = classes.as_deref().and_then(|column| class_name(column, at));
            let named = named.map(|name| self.class(name));
            let truth = label.and_then(|(label, received_us)| {
                let class = self.class(truth_name(&label.value)?);
                let delay_s = received_us.saturating_sub(ts_us) as f64 / 1e6;
                Some(Truth { class, number: label.value.as_number().unwrap_or(f64::NAN), delay_s })
            });
            let mut judged = Judged {
                version: rows.version(at),
                date: day(ts_us),
                weight: rows.weight(at),
                named,
                number: f64::NAN,
                top: None,
                top_score: f64::NAN,
                second: f64::NAN,
                truth_score: f64::NAN,
                is_distribution: false,
                truth,
            };
            if let Some(column) = &scores {
                self.scores_len = self.scores_len.max(judged.read_scores(&floats(column, at)));
            }
            self.rows.push(judged);
        }
        Ok(())
    }

    /// The number of a class; [`Class::MAX`] beyond [`CLASSES_MAX`].
    fn class(&mut self, name: String) -> Class {
        if let Some(class) = self.by_name.get(&name) {
            return *class;
        }
        // Labels of a regression are no classes: only the first of them are kept, and none is needed.
        let class = u32::try_from(self.classes.len()).ok().filter(|_| self.classes.len() < CLASSES_MAX);
        let Some(class) = class else { return Class::MAX };
        self.classes.push(name.clone());
        self.by_name.insert(name, class);
        class
    }

    /// Text is hashed when it is captured, unless its policy is to keep it: then no label equals it.
    fn note_hashes(&mut self) {
        let is_hash = |name: &String| name.len() >= 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut named = self.rows.iter().filter_map(|row| self.classes.get(row.named? as usize));
        let Some(column) = self.class_column.as_ref().filter(|_| named.any(is_hash)) else { return };
        self.notes
            .push(format!("{column} is captured as a hash, which no label equals: set its privacy to keep"));
    }
}

impl Judged {
    /// Takes the scores of a row. Returns how many there are.
    fn read_scores(&mut self, scores: &[f64]) -> usize {
        if let [number] = scores {
            self.number = *number;
            return 1;
        }
        let largest = scores.iter().enumerate().filter(|(_, score)| !score.is_nan());
        let largest = largest.max_by(|one, other| one.1.total_cmp(other.1).then(other.0.cmp(&one.0)));
        if let Some((at, score)) = largest {
            (self.top, self.top_score) = (u32::try_from(at).ok(), *score);
        }
        if let [_, second] = scores {
            self.second = *second;
        }
        let sum: f64 = scores.iter().sum();
        let is_share = |score: &f64| (-1e-6..=1.0 + 1e-6).contains(score);
        self.is_distribution = !scores.is_empty() && (sum - 1.0).abs() < 1e-3 && scores.iter().all(is_share);
        if let Some(truth) = self.truth {
            let place = (0..scores.len()).find(|place| *place as f64 == truth.number);
            self.truth_score = place.and_then(|place| scores.get(place)).copied().unwrap_or(f64::NAN);
        }
        scores.len()
    }
}

fn is_class(kind: &DataType) -> bool {
    kind.is_integer() || matches!(kind, DataType::Utf8 | DataType::Binary | DataType::Boolean)
}

fn is_float(kind: &DataType) -> bool {
    kind.is_floating()
}

fn is_scores(kind: &DataType) -> bool {
    matches!(kind, DataType::FixedSizeList(item, _) | DataType::List(item) if is_float(item.data_type()))
}

/// The class that a column names; numbers and yes and no as labels write them.
fn class_name(column: &dyn Array, at: usize) -> Option<String> {
    if column.is_null(at) {
        return None;
    }
    fn number<T: ArrowPrimitiveType>(column: &arrow_array::PrimitiveArray<T>, at: usize) -> Option<String>
    where
        T::Native: std::fmt::Display,
    {
        Some(column.value(at).to_string())
    }
    downcast_integer_array!(
        column => number(column, at),
        DataType::Boolean => Some(u8::from(column.as_boolean().value(at)).to_string()),
        DataType::Utf8 => Some(column.as_string::<i32>().value(at).to_owned()),
        DataType::Binary => Some(String::from_utf8_lossy(column.as_binary::<i32>().value(at)).into_owned()),
        _ => None
    )
}

fn truth_name(value: &LabelValue) -> Option<String> {
    match value {
        LabelValue::Text(text) => Some(text.clone()),
        LabelValue::Number(_) => Some(value.to_json()),
        LabelValue::Bool(yes) => Some(u8::from(*yes).to_string()),
        LabelValue::List(_) => None,
    }
}

/// The floats of a row: one, or those of a list.
fn floats(column: &dyn Array, at: usize) -> Vec<f64> {
    if column.is_null(at) {
        return Vec::new();
    }
    match column.data_type() {
        DataType::FixedSizeList(_, _) => all(&column.as_fixed_size_list().value(at)),
        DataType::List(_) => all(&column.as_list::<i32>().value(at)),
        _ => all(&column.slice(at, 1)),
    }
}

fn all(column: &dyn Array) -> Vec<f64> {
    match column.data_type() {
        DataType::Float64 => column.as_primitive::<Float64Type>().values().to_vec(),
        DataType::Float32 => {
            column.as_primitive::<Float32Type>().values().iter().map(|v| f64::from(*v)).collect()
        }
        DataType::Float16 => {
            column.as_primitive::<Float16Type>().values().iter().map(|v| v.to_f64()).collect()
        }
        _ => Vec::new(),
    }
}
