//! What a check found, as text and as JSON.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use crate::backend::BackendError;
use crate::backend::onnx::precheck::ModelFacts;
use crate::model::TensorSpec;
use crate::model::config::Provider;
use crate::model::settings::Source;
use crate::model::settings::values::show_size;
use crate::serving::{IndexEntry, Servable};

/// How many nodes each provider runs, or why that is not known.
pub(super) type Coverage = Result<Vec<(String, usize)>, BackendError>;

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    good: Vec<Good>,
    bad: Vec<Bad>,
}

/// A version that can be served.
#[derive(Debug)]
struct Good {
    title: String,
    model: String,
    version: String,
    /// Labelled lines, in order.
    lines: Vec<(&'static str, String)>,
    warnings: Vec<String>,
    settings: Vec<(&'static str, String, Source)>,
}

/// A version that cannot.
#[derive(Debug)]
struct Bad {
    model: String,
    version: String,
    reason: String,
}

impl Report {
    /// Notes a version that loaded.
    pub(super) fn add(&mut self, servable: &Servable, file: &Path, facts: &ModelFacts, coverage: &Coverage) {
        let lines = vec![
            ("file", file_line(file, facts)),
            ("opsets", named(facts.opsets.iter())),
            ("inputs", tensors(&servable.signature.inputs)),
            ("outputs", tensors(&servable.signature.outputs)),
            ("operators", named(facts.operators.iter())),
            ("provider", provider_line(servable, coverage)),
            ("batching", batching_line(servable)),
            ("weights", format!("{} ({})", facts.initializer_count, show_about(facts.initializer_bytes))),
            ("memory", memory_line(servable)),
            ("loaded in", format!("{:.0} ms", servable.load_duration.as_secs_f64() * 1e3)),
        ];
        self.good.push(Good {
            title: format!("{} version {}: can be served", servable.name, servable.version_text),
            model: servable.name.to_string(),
            version: servable.version_text.to_string(),
            lines,
            warnings: servable.warnings.clone(),
            settings: servable.settings.rows(),
        });
    }

    /// Notes a version that did not load.
    pub(super) fn refuse(&mut self, entry: &IndexEntry) {
        self.bad.push(Bad {
            model: entry.name.to_string(),
            version: entry.version.map_or_else(String::new, |version| version.to_string()),
            reason: entry.reason.clone(),
        });
    }

    /// Whether there is something to serve, and nothing that cannot be.
    pub(super) fn is_good(&self) -> bool {
        self.bad.is_empty() && !self.good.is_empty()
    }

    /// The report for programs.
    pub(super) fn to_json(&self) -> Value {
        let good = self.good.iter().map(|good| {
            let facts: serde_json::Map<String, Value> =
                good.lines.iter().map(|(label, text)| (label.replace(' ', "_"), json!(text))).collect();
            let settings: serde_json::Map<String, Value> = good
                .settings
                .iter()
                .map(|(path, value, source)| {
                    ((*path).to_owned(), json!({ "value": value, "source": source.to_string() }))
                })
                .collect();
            json!({
                "model": good.model, "version": good.version, "ok": true, "facts": facts,
                "warnings": good.warnings, "settings": settings,
            })
        });
        let bad = self.bad.iter().map(
            |bad| json!({ "model": bad.model, "version": bad.version, "ok": false, "reason": bad.reason }),
        );
        json!({ "ok": self.is_good(), "versions": good.chain(bad).collect::<Vec<Value>>() })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for good in &self.good {
            writeln!(f, "{}", good.title)?;
            for (label, text) in &good.lines {
                writeln!(f, "  {label:<10} {text}")?;
            }
            for warning in &good.warnings {
                writeln!(f, "  warning    {warning}")?;
            }
            writeln!(f, "  settings")?;
            for (path, value, source) in &good.settings {
                let line = format!("{path} = {value}");
                writeln!(f, "    {line:<44} # {source}")?;
            }
            writeln!(f)?;
        }
        for bad in &self.bad {
            let version =
                if bad.version.is_empty() { String::new() } else { format!(" version {}", bad.version) };
            writeln!(f, "{}{version}: cannot be served: {}", bad.model, bad.reason)?;
        }
        if self.good.is_empty() && self.bad.is_empty() {
            writeln!(f, "there is no model here")?;
        }
        Ok(())
    }
}

fn file_line(file: &Path, facts: &ModelFacts) -> String {
    let mut line =
        format!("{}, {}, ONNX IR {}", file.display(), show_about(facts.file_bytes), facts.ir_version);
    if !facts.producer.is_empty() {
        line.push_str(&format!(", made by {}", facts.producer.escape_debug()));
    }
    if !facts.external_files.is_empty() {
        line.push_str(&format!(", weights in {} files beside it", facts.external_files.len()));
    }
    line
}

fn provider_line(servable: &Servable, coverage: &Coverage) -> String {
    let asked = match servable.config.runtime.provider {
        Provider::Cpu => "cpu".to_owned(),
        Provider::Cuda => format!("cuda, device {}", servable.config.instances.device),
    };
    match coverage {
        Ok(counts) => {
            let nodes: usize = counts.iter().map(|(_, count)| count).sum();
            let each: Vec<String> =
                counts.iter().map(|(name, count)| format!("{name}: {count} of {nodes} nodes")).collect();
            format!("{asked}; after optimization {}", each.join(", "))
        }
        Err(error) => {
            format!("{asked}, which the runtime accepted; which nodes it runs is not known: {error}")
        }
    }
}

fn batching_line(servable: &Servable) -> String {
    let why = match servable.settings.source("max_batch_size") {
        Source::Inferred(why) => why.clone(),
        source => format!("set by {source}"),
    };
    match servable.max_batch_size {
        0 => format!("off: {why}"),
        size => format!("up to {size} rows: {why}"),
    }
}

fn memory_line(servable: &Servable) -> String {
    match servable.memory_bytes {
        0 => "not measured (the probe is off)".to_owned(),
        bytes => format!("{} after load, as the probe measured it", show_about(bytes)),
    }
}

fn tensors(specs: &[TensorSpec]) -> String {
    let all: Vec<String> = specs
        .iter()
        .map(|spec| {
            format!(
                "{}{}",
                spec.to_string().replace(", ", ","),
                if spec.optional { " (optional)" } else { "" }
            )
        })
        .collect();
    all.join(", ")
}

fn named<'a, T: fmt::Display + 'a>(counts: impl Iterator<Item = (&'a String, &'a T)>) -> String {
    let all: Vec<String> = counts.map(|(name, count)| format!("{} {count}", name.escape_debug())).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// A size to be read, not to be computed with.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn show_about(bytes: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(factor, _)| bytes >= *factor) {
        Some((factor, unit)) => format!("{:.1} {unit}", bytes as f64 / factor as f64),
        None => show_size(bytes),
    }
}
