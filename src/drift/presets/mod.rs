//! The numbers of other tools, so that who moves here can reconcile them: from two raw columns, with that tool's bins,
//! logarithms, zero rules, thresholds and choice of test. What Weir itself says of a column stands in
//! [`super::distance`]; these are not used for states.
//!
//! Numbers that are not finite are missing values, and dropped. Columns whose type is an integer in the other tool may
//! be binned otherwise there (numpy makes such bins at least 1 wide).

pub mod bins;
mod evidently;
mod azureml;
mod nannyml;
mod deequ;

/// A tool to be reproduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Evidently 0.7.23 (`evidently.legacy`).
    Evidently,
    /// Azure Machine Learning's model monitoring, version 2.
    AzureMl,
    /// NannyML 0.13.1, univariate drift.
    NannyMl,
    /// deequ, as Amazon SageMaker Model Monitor uses it.
    Deequ,
}

/// The values of a column, in the order of its rows.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    /// Numbers.
    Numbers(&'a [f64]),
    /// Categories.
    Categories(&'a [&'a str]),
}

/// One number of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct PresetMeasure {
    /// The tool's own name for it.
    pub name: &'static str,
    /// The value; NaN where the tool would fail.
    pub value: f64,
    /// The tool's default threshold; `None` where it has none, or none for this value alone.
    pub threshold: Option<f64>,
    /// Whether the tool would raise an alarm with that threshold.
    pub is_drift: bool,
    /// Whether the tool would choose this measure for such a column on its own accord.
    pub is_default: bool,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Preset; 4] = [Preset::Evidently, Preset::AzureMl, Preset::NannyMl, Preset::Deequ];

    /// Its name in configuration and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Preset::Evidently => "evidently",
            Preset::AzureMl => "azureml",
            Preset::NannyMl => "nannyml",
            Preset::Deequ => "deequ",
        }
    }

    /// The preset called `name`.
    pub fn parse(name: &str) -> Option<Preset> {
        Preset::ALL.into_iter().find(|preset| preset.as_str() == name)
    }

    /// The tool's numbers; none when a side is empty or the columns are of different kinds.
    pub fn measure(self, reference: Column<'_>, current: Column<'_>) -> Vec<PresetMeasure> {
        match (reference, current) {
            (Column::Numbers(reference), Column::Numbers(current)) => {
                let numbers = bins::Numbers::of(reference, current);
                if numbers.reference.is_empty() || numbers.current.is_empty() {
                    return Vec::new();
                }
                match self {
                    Preset::Evidently => evidently::numbers(&numbers),
                    Preset::AzureMl => azureml::numbers(&numbers),
                    Preset::NannyMl => nannyml::numbers(reference, &numbers),
                    Preset::Deequ => deequ::numbers(&numbers),
                }
            }
            (Column::Categories(reference), Column::Categories(current)) => {
                if reference.is_empty() || current.is_empty() {
                    return Vec::new();
                }
                let counts = bins::Counts::of_categories(reference, current);
                match self {
                    Preset::Evidently => evidently::categories(&counts),
                    Preset::AzureMl => azureml::categories(&counts),
                    Preset::NannyMl => nannyml::categories(reference, current),
                    Preset::Deequ => deequ::categories(&counts),
                }
            }
            _ => Vec::new(),
        }
    }
}

/// When a tool raises an alarm.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// Never by default.
    None,
    /// A distance above.
    Above(f64),
    /// A distance of so much or more.
    AtLeast(f64),
    /// A p-value below.
    Below(f64),
    /// A p-value of so much or less.
    AtMost(f64),
}

impl PresetMeasure {
    fn new(name: &'static str, value: f64, rule: Rule) -> PresetMeasure {
        let (threshold, is_drift) = match rule {
            Rule::None => (None, false),
            Rule::Above(threshold) => (Some(threshold), value > threshold),
            Rule::AtLeast(threshold) => (Some(threshold), value >= threshold),
            Rule::Below(threshold) => (Some(threshold), value < threshold),
            Rule::AtMost(threshold) => (Some(threshold), value <= threshold),
        };
        PresetMeasure { name, value, threshold, is_drift, is_default: false }
    }

    fn by_default(mut self, is_default: bool) -> PresetMeasure {
        self.is_default = is_default;
        self
    }
}

#[cfg(test)]
mod tests;
