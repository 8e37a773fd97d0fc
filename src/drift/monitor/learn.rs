//! Learns a baseline from live rows: keeps the values of the first N and makes both passes over them.

use std::sync::Arc;

use super::values::Sink;
use crate::drift::baseline::{Baseline, BaselineEmbedding};
use crate::drift::builder::BaselineBuilder;
use crate::drift::profile::{BASELINE_POINTS, PointSample, Value};
use crate::model::embeddings::Embedding;
use crate::model::features::Feature;

/// One value, kept.
#[derive(Debug)]
enum Kept {
    Number(f64),
    Text(Box<[u8]>),
    Bool(bool),
    Missing,
}

impl Kept {
    fn value(&self) -> Value<'_> {
        match self {
            Kept::Number(number) => Value::Number(*number),
            Kept::Text(text) => Value::Text(text),
            Kept::Bool(truth) => Value::Bool(*truth),
            Kept::Missing => Value::Missing,
        }
    }
}

/// Rows that are collected.
#[derive(Debug)]
pub(super) struct Learning {
    wanted: usize,
    bytes_max: usize,
    rows: usize,
    bytes: usize,
    columns: Vec<Vec<Kept>>,
    /// Rows of the embeddings; none before the first rows.
    samples: Vec<PointSample>,
}

impl Learning {
    /// Collects `wanted` rows of at most `bytes_max` bytes.
    pub(super) fn new(wanted: usize, bytes_max: usize) -> Learning {
        Learning {
            wanted: wanted.max(1),
            bytes_max,
            rows: 0,
            bytes: 0,
            columns: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Samples of `embeddings`, to put rows into.
    pub(super) fn samples(&mut self, embeddings: &[Embedding]) -> &mut [PointSample] {
        if self.samples.len() != embeddings.len() {
            let new = |known: &Embedding| PointSample::new(known.width, BASELINE_POINTS, 0);
            self.samples = embeddings.iter().map(new).collect();
        }
        &mut self.samples
    }

    /// Says that `rows` rows have been handed over; whether they are enough, or all that there is memory for.
    pub(super) fn add_rows(&mut self, rows: usize) -> bool {
        self.rows += rows;
        self.rows >= self.wanted || self.bytes >= self.bytes_max
    }

    /// The baseline of the rows.
    pub(super) fn finish(self, features: &[Feature], embeddings: &[Embedding]) -> Arc<Baseline> {
        let mut first =
            BaselineBuilder::new(features.iter().map(|feature| (Arc::clone(&feature.name), feature.kind)));
        for (at, column) in self.columns.iter().enumerate() {
            column.iter().for_each(|kept| first.push(at, kept.value(), 1.0));
        }
        let mut second = first.second_pass();
        for (at, column) in self.columns.iter().enumerate() {
            column.iter().for_each(|kept| second.push(at, kept.value(), 1.0));
        }
        second.row(self.rows as f64);
        let embeddings = embeddings.iter().zip(self.samples);
        let embeddings =
            embeddings.map(|(known, sample)| BaselineEmbedding { name: Arc::clone(&known.name), sample });
        Arc::new(second.finish().with_embeddings(embeddings.collect()))
    }

    fn keep(&mut self, feature: usize, kept: Kept) {
        let text = if let Kept::Text(text) = &kept { text.len() } else { 0 };
        self.bytes += size_of::<Kept>() + text;
        if self.columns.len() <= feature {
            self.columns.resize_with(feature + 1, Vec::new);
        }
        self.columns[feature].push(kept);
    }
}

impl Sink for Learning {
    fn numbers(&mut self, feature: usize, numbers: &[f64]) {
        numbers.iter().for_each(|number| self.keep(feature, Kept::Number(*number)));
    }

    fn value(&mut self, feature: usize, value: Value<'_>) {
        let kept = match value {
            Value::Number(number) => Kept::Number(number),
            Value::Text(text) => Kept::Text(text.into()),
            Value::Bool(truth) => Kept::Bool(truth),
            Value::Missing | Value::WrongType => Kept::Missing,
        };
        self.keep(feature, kept);
    }
}
