//! Which events a subscription or a reader wants. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::registry::cloudevent::{CloudEvent, TYPE_PREFIX};
use crate::registry::error::Refusal;

/// Most patterns, and most tags, of a filter.
const PARTS_MAX: usize = 32;
/// Longest of them, in bytes.
const PART_LEN_MAX: usize = 512;

/// Wants an event when each part that is given does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Types, any of which will do; `*` stands for any text. `io.weir.` may be left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// The subject, or the beginning of it up to a `/`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Tags that the version, or else its model, must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Filter {
    /// Whether `event` is wanted.
    pub fn wants(&self, event: &CloudEvent) -> bool {
        let kind = event.kind.as_str();
        let short = kind.strip_prefix(TYPE_PREFIX).unwrap_or(kind);
        let is_type = |pattern: &String| matches_glob(pattern, kind) || matches_glob(pattern, short);
        (self.types.is_empty() || self.types.iter().any(is_type))
            && begins_with(&event.subject, &self.subject)
            && self.tags.iter().all(|(key, value)| event.tag(key) == Some(value))
    }

    /// The only model whose events can be wanted; `None` when there may be several.
    pub fn model(&self) -> Option<&str> {
        self.subject.strip_prefix("models/")?.split('/').next().filter(|name| !name.is_empty())
    }

    /// Checks that its parts are few and short.
    ///
    /// # Errors
    /// [`Refusal::Invalid`].
    pub fn check(&self) -> Result<(), Refusal> {
        let few = self.types.len() <= PARTS_MAX && self.tags.len() <= PARTS_MAX;
        let tags = self.tags.iter().flat_map(|(key, value)| [key, value]);
        let short =
            self.types.iter().chain([&self.subject]).chain(tags).all(|part| part.len() <= PART_LEN_MAX);
        (few && short).then_some(()).ok_or_else(|| {
            let reason =
                format!("a filter has at most {PARTS_MAX} types and tags, each of {PART_LEN_MAX} bytes");
            Refusal::Invalid(reason)
        })
    }
}

/// Whether `subject` is `prefix` or below it: `models/iris` is no beginning of `models/iris2`.
fn begins_with(subject: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    prefix.is_empty()
        || subject.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether all of `text` is `pattern`, where `*` stands for any text. Linear in the product of their lengths.
fn matches_glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(matches_glob(pattern, text), expected, "{pattern} {text}");
        };
        check("", "", true);
        check("", "a", false);
        check("*", "", true);
        check("*", "a.b", true);
        check("a.b", "a.b", true);
        check("a.b", "a.bc", false);
        check("a.*", "a.b.c", true);
        check("a.*", "ab", false);
        check("*.failed", "deployment.failed", true);
        check("*.failed", "deployment.failed.x", false);
        check("a*b*c", "aXbXc", true);
        check("a*b*c", "abc", true);
        check("a*b*c", "acb", false);
        check("ab*ba", "aba", false);
        check("**", "x", true);
    }

    #[test]
    fn subjects_end_at_slashes() {
        let check = |subject: &str, prefix: &str, expected: bool| {
            assert_eq!(begins_with(subject, prefix), expected, "{subject} {prefix}");
        };
        check("models/iris", "", true);
        check("models/iris", "models/iris", true);
        check("models/iris", "models/iris/", true);
        check("models/iris/versions/1", "models/iris", true);
        check("models/iris2", "models/iris", false);
        check("models/iris/versions/10", "models/iris/versions/1", false);
        check("models", "models/iris", false);
    }

    #[test]
    fn every_given_part_must_agree() {
        let mut event = CloudEvent {
            specversion: "1.0".to_owned(),
            id: "iris/1/0".to_owned(),
            source: "s".to_owned(),
            kind: "io.weir.deployment.failed".to_owned(),
            subject: "models/iris/deployments/default".to_owned(),
            time: String::new(),
            datacontenttype: String::new(),
            sequence: String::new(),
            data: Default::default(),
        };
        event.data.insert("tags".to_owned(), serde_json::json!({ "area": "qna" }));
        let check = |types: &[&str], subject: &str, tag: Option<(&str, &str)>, expected: bool| {
            let filter = Filter {
                types: types.iter().map(|kind| (*kind).to_owned()).collect(),
                subject: subject.to_owned(),
                tags: tag.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            };
            assert_eq!(filter.wants(&event), expected, "{filter:?}");
        };
        check(&[], "", None, true);
        check(&["deployment.*"], "models/iris", Some(("area", "qna")), true);
        check(&["io.weir.deployment.failed"], "", None, true);
        check(&["version.*", "*.failed"], "", None, true);
        check(&["version.*"], "", None, false);
        check(&[], "models/other", None, false);
        check(&[], "", Some(("area", "other")), false);
        check(&[], "", Some(("none", "")), false);
    }

    #[test]
    fn a_subject_names_its_model() {
        let model = |subject: &str| {
            Filter { subject: subject.to_owned(), ..Filter::default() }.model().map(str::to_owned)
        };
        assert_eq!(model("models/iris/versions"), Some("iris".to_owned()));
        assert_eq!(model("models/iris"), Some("iris".to_owned()));
        assert_eq!(model("models/"), None);
        assert_eq!(model("models"), None);
        assert_eq!(model(""), None);
    }
}
