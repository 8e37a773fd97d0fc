//! `dataset.json`: what a data set was made of, how, and what is in it. Its hash names the data set.
//!
//! It has no time of making and no name of a machine: the same query on the same files has the same manifest.

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::plan::Planned;
use super::query::{LabelNeed, Query};
use crate::capture::labels::{LabelTable, SourceFile, hex};

/// How many rows there were, and what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Of the versions and the time asked for.
    pub rows: u64,
    /// Left out: not answered, or made beside an answer.
    pub failed: u64,
    /// Left out: the same request and row again.
    pub repeated: u64,
    /// Have a label; of the rows that were not left out for the above.
    pub labelled: u64,
    /// Left out: equal inputs and label; the first of them has their weights.
    pub duplicates: u64,
    /// In the data set.
    pub kept: u64,
}

/// A day of captured rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Day {
    /// The day, in UTC.
    pub date: String,
    /// Answered rows, each once.
    pub rows: u64,
    /// Those that have a label.
    pub labelled: u64,
}

/// A file of the data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputFile {
    /// Its place, below that of `dataset.json`.
    pub path: String,
    /// `train` or `test`.
    pub split: &'static str,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// What a data set is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetManifest {
    format: &'static str,
    /// The model whose rows these are.
    pub model: String,
    query: Value,
    /// What became of the rows.
    pub counts: Counts,
    /// Rows and labels by day.
    pub days: Vec<Day>,
    /// What the labels are: `number`, `bool`, `text`, `numbers`, or `json` for several of these; null without any.
    pub label: Option<&'static str>,
    /// Where train ends, for a split by time.
    train_until: Option<String>,
    columns: Vec<Value>,
    /// The files.
    pub files: Vec<OutputFile>,
    /// The captured files that it was made of.
    pub captured: Vec<SourceFile>,
    /// The files of labels that it was made of.
    pub labels: Vec<SourceFile>,
}

impl DatasetManifest {
    pub(super) fn new(query: &Query, labels: &LabelTable, planned: Planned, files: Vec<OutputFile>) -> Self {
        let time = |us: i64| {
            DateTime::from_timestamp_micros(us).map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
        };
        let day = |(date, (rows, labelled)): (&chrono::NaiveDate, &(u64, u64))| Day {
            date: date.to_string(),
            rows: *rows,
            labelled: *labelled,
        };
        let column = |field: &arrow_schema::FieldRef| json!({ "name": field.name(), "type": field.data_type().to_string() });
        DatasetManifest {
            format: "weir.dataset/1",
            model: query.model.to_string(),
            query: json!({
                "versions": query.versions,
                "from": time(query.from_us),
                "to": time(query.to_us),
                "labels": match query.labels { LabelNeed::Required => "required", LabelNeed::Any => "any" },
                "split": query.split.as_text(),
                "duplicates": if query.keep_duplicates { "keep" } else { "merge" },
            }),
            counts: planned.counts,
            days: planned.days.iter().map(day).collect(),
            label: planned.label.map(super::plan::LabelKind::as_str),
            train_until: planned.train_until_us.and_then(time),
            columns: planned.features.iter().map(column).collect(),
            files,
            captured: planned.sources(),
            labels: labels.sources.clone(),
        }
    }

    /// What was asked for.
    pub fn query(&self) -> &Value {
        &self.query
    }

    /// As it is written.
    pub fn to_json(&self) -> String {
        // Serializing values that hold only texts and numbers cannot fail.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The hash of `dataset.json`, which names the files and with them every row.
    pub fn digest(&self) -> String {
        format!("sha256:{}", hex(&Sha256::digest(self.to_json())))
    }
}
