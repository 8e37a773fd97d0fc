//! Names of models and numbers of versions, safe to show, to log and to use as a metric label.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest model name, in bytes.
pub(super) const MODEL_NAME_LEN_MAX: usize = 128;

/// Why a text is not a model name or version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, or it contains `..`.
    #[error(
        "a model name is 1 to {MODEL_NAME_LEN_MAX} letters, digits, '.', '_' or '-', starts with a letter or digit and has no '..'"
    )]
    Name,
    /// Not a positive whole number.
    #[error("a version is a positive whole number")]
    Version,
}

/// A model's name: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}` without `..`, so it can never leave a folder or forge a log line.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(Arc<str>);

impl ModelName {
    /// The name as a shared string.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl FromStr for ModelName {
    type Err = IdError;

    fn from_str(name: &str) -> Result<Self, IdError> {
        let mut bytes = name.bytes();
        let ok = name.len() <= MODEL_NAME_LEN_MAX
            && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && !name.contains("..");
        ok.then(|| ModelName(name.into())).ok_or(IdError::Name)
    }
}

impl TryFrom<String> for ModelName {
    type Error = IdError;

    fn try_from(name: String) -> Result<Self, IdError> {
        name.parse()
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> String {
        name.0.as_ref().to_owned()
    }
}

impl Deref for ModelName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ModelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A model's version: a positive whole number, as in Triton's repository layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Version(NonZeroU64);

impl<'de> Deserialize<'de> for Version {
    /// From a number; from text too, because that is what a JSON object's key is.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
        struct NumberOrKey;

        impl serde::de::Visitor<'_> for NumberOrKey {
            type Value = Version;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version: a positive whole number")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Version, E> {
                Version::new(number)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Version, E> {
                text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(NumberOrKey)
    }
}

impl Version {
    /// The version with this number, or `None` for 0.
    pub fn new(number: u64) -> Option<Version> {
        NonZeroU64::new(number).map(Version)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl FromStr for Version {
    type Err = IdError;

    /// Digits only, without a sign or leading zeros.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(IdError::Version);
        }
        text.parse().map(Version).map_err(|_| IdError::Version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A model's name and version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId {
    /// The model.
    pub name: ModelName,
    /// Its version.
    pub version: Version,
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_numbers_and_keys() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "op")]
        enum Tagged {
            Shares { of: std::collections::BTreeMap<Version, u32> },
        }
        let shares = Tagged::Shares { of: [(Version::new(3).unwrap(), 100)].into() };
        let text = serde_json::to_string(&shares).unwrap();
        assert_eq!(text, r#"{"op":"Shares","of":{"3":100}}"#);
        assert_eq!(serde_json::from_str::<Tagged>(&text).unwrap(), shares);
        assert_eq!(serde_json::from_str::<Version>("3").unwrap(), Version::new(3).unwrap());
        for wrong in ["0", "-1", "1.5", "\"03\"", "\"x\"", "null"] {
            assert!(serde_json::from_str::<Version>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in ["", ".", "..", "a..b", "a/b", "a\\b", "-a", "%2e", "a\0", "a\n", "ä", &"a".repeat(129)]
        {
            assert_eq!(name.parse::<ModelName>(), Err(IdError::Name), "{name:?}");
        }
        for version in ["", "0", "01", "-1", "+1", "1.0", "18446744073709551616", "x"] {
            assert_eq!(version.parse::<Version>(), Err(IdError::Version), "{version:?}");
        }
    }

    proptest! {
        #[test]
        fn accepted_names_never_leave_a_folder(name in ".{0,140}") {
            if name.parse::<ModelName>().is_ok() {
                let path = std::path::Path::new("root").join(&name);
                prop_assert_eq!(path.components().count(), 2);
                prop_assert!(path.starts_with("root"));
            }
        }
    }
}
