//! `weir drift --compat`: the numbers of another tool, from the same rows.
//!
//! Those tools look at raw values, so both columns of a feature are held at once; no more than [`VALUES_MAX`] of them.

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::app::registry::exit::Failure;
use crate::drift::presets::{Column, Preset, PresetMeasure};
use crate::drift::report::FeatureReport;
use crate::drift::table::{ColumnData, Table, number_of};

/// Most values of a column.
const VALUES_MAX: usize = 50_000_000;

/// A tool whose numbers are reproduced.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum CompatArg {
    Evidently,
    Azureml,
    Nannyml,
    Deequ,
}

impl CompatArg {
    fn preset(self) -> Preset {
        match self {
            CompatArg::Evidently => Preset::Evidently,
            CompatArg::Azureml => Preset::AzureMl,
            CompatArg::Nannyml => Preset::NannyMl,
            CompatArg::Deequ => Preset::Deequ,
        }
    }
}

/// One side's data: for each feature the position of its column.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) table: &'a Table,
    pub(super) columns: &'a [usize],
}

/// What the tool says about a feature.
pub(super) struct Told {
    name: String,
    measures: Vec<PresetMeasure>,
}

/// The tool's numbers for every feature.
pub(super) fn measure(
    tool: CompatArg,
    base: Side<'_>,
    current: Side<'_>,
    features: &[FeatureReport],
) -> Result<Vec<Told>, Failure> {
    let mut told = Vec::with_capacity(features.len());
    for (at, feature) in features.iter().enumerate() {
        let (Some(was), Some(is)) = (base.columns.get(at), current.columns.get(at)) else { continue };
        let measures = match feature.is_categorical {
            false => {
                let (was, is) = (numbers(base.table, *was)?, numbers(current.table, *is)?);
                tool.preset().measure(Column::Numbers(&was), Column::Numbers(&is))
            }
            true => {
                let (was, is) = (texts(base.table, *was)?, texts(current.table, *is)?);
                let was: Vec<&str> = was.iter().map(String::as_str).collect();
                let is: Vec<&str> = is.iter().map(String::as_str).collect();
                tool.preset().measure(Column::Categories(&was), Column::Categories(&is))
            }
        };
        told.push(Told { name: feature.name.clone(), measures });
    }
    Ok(told)
}

/// The values of a column; what is missing is left out, as those tools do.
fn read<T>(table: &Table, column: usize, take: impl Fn(&ColumnData, &mut Vec<T>)) -> Result<Vec<T>, Failure> {
    let mut values = Vec::new();
    let mut is_full = false;
    let read = table.read(&[column], &mut |batch| {
        is_full |= values.len() > VALUES_MAX;
        if !is_full {
            batch.columns.iter().for_each(|column| take(column, &mut values));
        }
    });
    read.map_err(|error| Failure::coded(&error))?;
    match is_full {
        true => Err(Failure::usage(format!("--compat: more than {VALUES_MAX} rows"))),
        false => Ok(values),
    }
}

fn numbers(table: &Table, column: usize) -> Result<Vec<f64>, Failure> {
    read(table, column, |column, values| match column {
        ColumnData::Numbers(more) => values.extend(more.iter().flatten()),
        ColumnData::Bools(more) => {
            values.extend(more.iter().flatten().map(|truth| f64::from(u8::from(*truth))))
        }
        ColumnData::Texts(more) => values.extend(more.iter().flatten().filter_map(|text| number_of(text))),
    })
}

fn texts(table: &Table, column: usize) -> Result<Vec<String>, Failure> {
    read(table, column, |column, values| match column {
        ColumnData::Numbers(more) => values.extend(more.iter().flatten().map(ToString::to_string)),
        ColumnData::Bools(more) => values.extend(more.iter().flatten().map(ToString::to_string)),
        ColumnData::Texts(more) => values.extend(more.iter().flatten().cloned()),
    })
}

/// For programs.
pub(super) fn json(tool: CompatArg, told: &[Told]) -> Value {
    let measure = |measure: &PresetMeasure| {
        json!({
            "name": measure.name, "value": measure.value, "threshold": measure.threshold,
            "is_drift": measure.is_drift, "is_default": measure.is_default,
        })
    };
    let features: Vec<Value> = told
        .iter()
        .map(|told| json!({ "name": told.name, "measures": told.measures.iter().map(measure).collect::<Vec<_>>() }))
        .collect();
    json!({ "tool": tool.preset().as_str(), "features": features })
}

/// For people.
pub(super) fn text(tool: CompatArg, told: &[Told]) -> String {
    let tool = tool.preset().as_str();
    let mut out = format!("\nas {tool} has it (* what {tool} chooses by itself)\n");
    for told in told {
        // A name cannot move the cursor.
        let name: String = told.name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        for measure in &told.measures {
            let mark = if measure.is_default { "*" } else { " " };
            let threshold =
                measure.threshold.map(|threshold| format!(" (threshold {threshold})")).unwrap_or_default();
            let verdict = if measure.is_drift { "  drift" } else { "" };
            out.push_str(&format!(
                "{mark} {name}  {}  {:.6}{threshold}{verdict}\n",
                measure.name, measure.value
            ));
        }
    }
    out
}
