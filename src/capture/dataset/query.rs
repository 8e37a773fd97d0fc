//! What is asked for: which rows, whether they need a label, and how they are split. Pure.

use super::error::DatasetError;
use crate::capture::labels::LABELS_MAX;
use crate::model::ModelName;

/// Whether rows without a label are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelNeed {
    /// No.
    Required,
    /// Yes; their label is null.
    Any,
}

/// How rows are divided into train and test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Split {
    /// All are train.
    None,
    /// The oldest rows are train, of which this share.
    Time(f64),
    /// By a hash of the key (of the request id where there is none), so that one key's rows stay together; about this
    /// share is train.
    Hash(f64),
}

impl Split {
    /// `none`, `time:0.8` or `hash:0.8`.
    pub fn as_text(self) -> String {
        match self {
            Split::None => "none".to_owned(),
            Split::Time(share) => format!("time:{share}"),
            Split::Hash(share) => format!("hash:{share}"),
        }
    }
}

impl std::str::FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Split, String> {
        let (word, share) = text.split_once(':').unwrap_or((text, ""));
        let share = || share.parse().ok().filter(|share: &f64| *share > 0.0 && *share < 1.0);
        let split = match word {
            "none" if text == word => Some(Split::None),
            "time" => share().map(Split::Time),
            "hash" => share().map(Split::Hash),
            _ => None,
        };
        split.ok_or_else(|| "expected none, time:SHARE or hash:SHARE with a share between 0 and 1".to_owned())
    }
}

/// Which rows, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The model.
    pub model: ModelName,
    /// Its versions; none for all.
    pub versions: Vec<u64>,
    /// Rows that were answered at this time or later, in microseconds since 1970.
    pub from_us: i64,
    /// And before this.
    pub to_us: i64,
    /// Whether they need a label.
    pub labels: LabelNeed,
    /// How they are divided.
    pub split: Split,
    /// Whether rows of equal inputs and label are kept apart. Otherwise the first stands for all, with their weights.
    pub keep_duplicates: bool,
    /// Most rows that are looked at.
    pub rows_max: usize,
    /// Most labels that are held.
    pub labels_max: usize,
}

impl Query {
    /// Most rows that are looked at, unless told otherwise.
    pub const ROWS_MAX: usize = 20_000_000;

    /// Everything of `model` from `from_us` to `to_us`.
    pub fn new(model: ModelName, from_us: i64, to_us: i64) -> Query {
        Query {
            model,
            versions: Vec::new(),
            from_us,
            to_us,
            labels: LabelNeed::Required,
            split: Split::None,
            keep_duplicates: false,
            rows_max: Query::ROWS_MAX,
            labels_max: LABELS_MAX,
        }
    }

    pub(super) fn check(&self) -> Result<(), DatasetError> {
        match self.from_us < self.to_us {
            true => Ok(()),
            false => Err(DatasetError::Invalid("the time ends before it begins".to_owned())),
        }
    }

    /// Whether a row of `version` that was answered at `ts_us` is meant.
    pub fn is_meant(&self, version: u64, ts_us: i64) -> bool {
        (self.from_us..self.to_us).contains(&ts_us)
            && (self.versions.is_empty() || self.versions.contains(&version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_read_as_they_are_written() {
        for text in ["none", "time:0.8", "hash:0.75"] {
            assert_eq!(text.parse::<Split>().unwrap().as_text(), text);
        }
        for text in ["", "time", "time:", "time:0", "hash:1", "hash:NaN", "none:0.5", "random:0.5"] {
            assert!(text.parse::<Split>().is_err(), "{text}");
        }
    }
}
