//! A report for programs. The shape is a promise: members may be added, none is removed, and [`VERSION`] counts what breaks.
//!
//! JSON has no NaN and no infinity: what is undefined, and the open ends of histograms, are `null`.

use serde_json::{Value, json as value};

use super::counts;
use crate::drift::report::{Bin, DriftReport, EmbeddingReport, FeatureReport, Measure, Summary, Trend};

/// The version of the shape.
const VERSION: u32 = 1;

/// The report as JSON; features in the order of the report.
pub fn json(report: &DriftReport) -> Value {
    let counts: serde_json::Map<String, Value> =
        counts(report).iter().map(|(state, count)| (state.as_str().to_owned(), value!(count))).collect();
    value!({
        "version": VERSION,
        "subject": report.subject,
        "baseline": report.baseline,
        "window": report.window,
        "from_us": report.from_us,
        "until_us": report.until_us,
        "baseline_rows": report.baseline_rows,
        "current_rows": report.current_rows,
        "state": report.state.as_str(),
        "counts": counts,
        "features": report.features.iter().map(feature).collect::<Vec<_>>(),
        "unwatched": report.unwatched,
        "embeddings": report.embeddings.iter().map(embedding).collect::<Vec<_>>(),
    })
}

fn feature(feature: &FeatureReport) -> Value {
    value!({
        "name": feature.name,
        "kind": if feature.is_categorical { "categorical" } else { "numeric" },
        "state": feature.state.as_str(),
        "reason": feature.reason,
        "measures": feature.measures.iter().map(measure).collect::<Vec<_>>(),
        "baseline": summary(&feature.baseline),
        "current": summary(&feature.current),
        "bins": feature.bins.iter().map(bin).collect::<Vec<_>>(),
        "history": feature.history,
        "trend": feature.trend.map(trend),
    })
}

fn embedding(embedding: &EmbeddingReport) -> Value {
    value!({
        "name": embedding.name,
        "width": embedding.width,
        "baseline_points": embedding.baseline_points,
        "current_points": embedding.current_points,
        "mmd2": embedding.mmd2,
        "p": embedding.p,
        "null_quantile": embedding.null_quantile,
        "alarm": embedding.alarm,
        "state": embedding.state.as_str(),
    })
}

fn trend(trend: Trend) -> Value {
    value!({
        "panes": trend.panes,
        "page_hinkley_us": trend.page_hinkley_us,
        "adwin_us": trend.adwin_us,
    })
}

fn measure(measure: &Measure) -> Value {
    value!({
        "name": measure.name,
        "value": measure.value,
        "effect": measure.effect,
        "warn": measure.warn,
        "alarm": measure.alarm,
        "null_quantile": measure.null_quantile,
        "p": measure.p,
        "state": measure.state.as_str(),
    })
}

fn summary(side: &Summary) -> Value {
    value!({
        "rows": side.rows,
        "missing": side.missing,
        "nan": side.nan,
        "infinite": side.infinite,
        "type_errors": side.type_errors,
        "mean": side.mean,
        "std": side.std,
        "min": side.min,
        "max": side.max,
        "distinct": side.distinct,
    })
}

fn bin(bin: &Bin) -> Value {
    value!({
        "label": bin.label,
        "low": bin.low,
        "high": bin.high,
        "baseline": bin.baseline,
        "current": bin.current,
    })
}
