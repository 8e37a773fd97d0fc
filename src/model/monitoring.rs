//! How a version is watched: what is captured of its traffic, with which promise and how private, and whether drift is
//! computed. What the words mean; `capture` and `drift` do the work.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// How a version is watched.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MonitoringConfig {
    /// For each tensor (by its name in the graph), the names of a row's elements.
    pub feature_names: BTreeMap<String, Vec<String>>,
    /// What is written of its traffic.
    pub capture: CaptureConfig,
    /// Whether its traffic is profiled and compared with a baseline. `None` for the server's setting.
    pub drift: Option<bool>,
    /// Tensors (by their names in the graph) whose rows are compared as points.
    pub embeddings: Vec<String>,
}

/// What is written of a version's traffic. `None` stands for the server's setting.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CaptureConfig {
    /// The promise.
    pub mode: Option<CaptureMode>,
    /// The share of requests that is written, 0 to 1.
    pub rate: Option<f64>,
    /// Requests that took longer are always written.
    pub slow: Option<Duration>,
    /// Answers whose two best scores are closer than this are always written.
    pub low_margin: Option<f64>,
    /// So many requests after a load are always written.
    pub first: Option<u64>,
    /// What is done to a feature's values before they are written, by feature name (`in.age`, or a tensor's `in.x`).
    pub privacy: BTreeMap<String, Privacy>,
    /// Headers (of HTTP) or metadata entries (of gRPC) that are written beside a request's rows, in lower case.
    pub attributes: Vec<Arc<str>>,
}

impl CaptureConfig {
    /// What holds for a version that says `version` of itself while this is said of its model live. What this leaves out,
    /// and the attributes, are as the version says. The version's privacy stands: live it can be made stricter (`drop`,
    /// `hmac`), and columns that the version says nothing of can be given a policy.
    pub fn over(&self, version: &CaptureConfig) -> CaptureConfig {
        let mut privacy = version.privacy.clone();
        for (column, policy) in &self.privacy {
            if matches!(policy, Privacy::Drop | Privacy::Hmac) || !privacy.contains_key(column) {
                privacy.insert(column.clone(), policy.clone());
            }
        }
        CaptureConfig {
            mode: self.mode.or(version.mode),
            rate: self.rate.or(version.rate),
            slow: self.slow.or(version.slow),
            low_margin: self.low_margin.or(version.low_margin),
            first: self.first.or(version.first),
            privacy,
            attributes: version.attributes.clone(),
        }
    }
}

/// What capture promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum CaptureMode {
    /// Nothing is written.
    #[default]
    Off,
    /// Never waits: what there is no room for is dropped and counted; a crash loses at most the last second.
    BestEffort,
    /// An answer waits only while there is no room; a power cut loses at most the last 50 ms.
    Durable,
    /// An answer leaves after its row is on disk.
    Audit,
}

impl CaptureMode {
    /// The words of the configuration, in the order of [`CaptureMode::ALL`].
    pub const WORDS: [&str; 4] = ["off", "best_effort", "durable", "audit"];
    /// Every mode.
    pub const ALL: [CaptureMode; 4] =
        [CaptureMode::Off, CaptureMode::BestEffort, CaptureMode::Durable, CaptureMode::Audit];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            CaptureMode::Off => "off",
            CaptureMode::BestEffort => "best_effort",
            CaptureMode::Durable => "durable",
            CaptureMode::Audit => "audit",
        }
    }
}

/// What is done to a value before it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Privacy {
    /// Written as it is.
    Keep,
    /// Not written: the column is null.
    Drop,
    /// Text becomes a keyed hash, equal for equal values (the default for text).
    Hmac,
    /// Numbers become the lower bound of their interval of this width.
    Bucket(f64),
    /// Numbers are rounded to so many decimals.
    Round(u32),
    /// Text keeps so many characters.
    Truncate(usize),
    /// What the regular expression matches in text becomes `*`.
    Mask(String),
}

/// A privacy policy that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected keep, drop, hmac, bucket:WIDTH, round:DECIMALS, truncate:CHARACTERS or mask:REGEX, found \"{0}\""
)]
pub struct PrivacyError(String);

impl FromStr for Privacy {
    type Err = PrivacyError;

    fn from_str(text: &str) -> Result<Privacy, PrivacyError> {
        let wrong = || PrivacyError(text.chars().take(60).collect());
        let (word, argument) = text.split_once(':').unwrap_or((text, ""));
        let number = || argument.parse::<u32>().ok().filter(|number| *number <= 4096).ok_or_else(wrong);
        match word {
            "keep" | "drop" | "hmac" if !argument.is_empty() => Err(wrong()),
            "keep" => Ok(Privacy::Keep),
            "drop" => Ok(Privacy::Drop),
            "hmac" => Ok(Privacy::Hmac),
            "bucket" => {
                let width = argument.parse::<f64>().ok().filter(|width| width.is_finite() && *width > 0.0);
                width.map(Privacy::Bucket).ok_or_else(wrong)
            }
            "round" => number().ok().filter(|decimals| *decimals <= 15).map(Privacy::Round).ok_or_else(wrong),
            "truncate" => Ok(Privacy::Truncate(number()? as usize)),
            "mask" if !argument.is_empty() => Ok(Privacy::Mask(argument.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Privacy::Keep => f.write_str("keep"),
            Privacy::Drop => f.write_str("drop"),
            Privacy::Hmac => f.write_str("hmac"),
            Privacy::Bucket(width) => write!(f, "bucket:{width}"),
            Privacy::Round(decimals) => write!(f, "round:{decimals}"),
            Privacy::Truncate(characters) => write!(f, "truncate:{characters}"),
            Privacy::Mask(regex) => write!(f, "mask:{regex}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_live_stands_over_the_version_but_for_its_privacy() {
        let policies = |pairs: &[(&str, &str)]| -> BTreeMap<String, Privacy> {
            pairs.iter().map(|(column, policy)| ((*column).to_owned(), policy.parse().unwrap())).collect()
        };
        let version = CaptureConfig {
            mode: Some(CaptureMode::Audit),
            rate: Some(0.5),
            privacy: policies(&[("in.card", "drop"), ("in.age", "bucket:5"), ("in.name", "keep")]),
            attributes: vec!["x-tenant".into()],
            ..CaptureConfig::default()
        };
        let live = CaptureConfig {
            rate: Some(1.0),
            privacy: policies(&[
                ("in.card", "keep"),
                ("in.age", "hmac"),
                ("in.name", "drop"),
                ("in.zip", "keep"),
            ]),
            ..CaptureConfig::default()
        };
        let both = live.over(&version);
        assert_eq!((both.mode, both.rate), (Some(CaptureMode::Audit), Some(1.0)));
        assert_eq!(both.attributes, version.attributes);
        let expected = [("in.card", "drop"), ("in.age", "hmac"), ("in.name", "drop"), ("in.zip", "keep")];
        assert_eq!(both.privacy, policies(&expected));
    }

    #[test]
    fn policies_are_read_as_they_are_written() {
        for text in ["keep", "drop", "hmac", "bucket:2.5", "round:2", "truncate:8", "mask:[0-9]+"] {
            assert_eq!(text.parse::<Privacy>().unwrap().to_string(), text);
        }
        for text in
            ["", "keeps", "keep:1", "bucket", "bucket:0", "bucket:NaN", "round:16", "truncate:x", "mask:"]
        {
            assert!(text.parse::<Privacy>().is_err(), "{text}");
        }
    }
}
