//! What differs between two specifications of deployments.

use serde::Serialize;
use serde_json::Value;

use super::check;
use super::deploy::{find, spec_at};
use super::show;
use crate::registry::error::Refusal;
use crate::registry::record::DeploymentSpec;
use crate::registry::state::ModelState;

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// What differs, for example `traffic.2` or `settings.queue.delay`.
    pub field: String,
    /// On the left; absent when it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// On the right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// The differences from `left` to `right`, ascending by field in each group.
pub fn specs(left: &DeploymentSpec, right: &DeploymentSpec) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut add = |field: String, before: Option<Value>, after: Option<Value>| {
        if before != after {
            found.push(Difference { field, before, after });
        }
    };
    let versions = left.traffic.keys().chain(right.traffic.keys());
    let versions: std::collections::BTreeSet<_> = versions.collect();
    for version in versions {
        let weight = |spec: &DeploymentSpec| spec.traffic.get(version).map(|weight| Value::from(*weight));
        add(format!("traffic.{version}"), weight(left), weight(right));
    }
    let sticky = |spec: &DeploymentSpec| Some(Value::from(show::sticky(&spec.sticky)));
    add("sticky".to_owned(), sticky(left), sticky(right));
    let keys: std::collections::BTreeSet<_> = left.settings.keys().chain(right.settings.keys()).collect();
    for key in keys {
        add(format!("settings.{key}"), left.settings.get(key).cloned(), right.settings.get(key).cloned());
    }
    let window = |spec: &DeploymentSpec| Some(Value::from(spec.rollback_window_s));
    add("rollback_window_s".to_owned(), window(left), window(right));
    found
}

/// The specification that `text` names: a deployment, `NAME`, or what it served at a revision of the model, `NAME@REV`.
///
/// # Errors
/// [`Refusal`].
pub fn select<'a>(state: &'a ModelState, text: &str) -> Result<&'a DeploymentSpec, Refusal> {
    let Some((name, rev)) = text.split_once('@') else { return find(state, text).map(|found| &found.spec) };
    let shown = check::shown(text);
    let rev: u64 = rev
        .parse()
        .map_err(|_| Refusal::Invalid(format!("'{shown}': expected DEPLOYMENT or DEPLOYMENT@REVISION")))?;
    let missing = || {
        Refusal::NotFound(format!("deployment '{name}' remembers nothing that it served at revision {rev}"))
    };
    spec_at(find(state, name)?, rev).map(|(_, spec)| spec).ok_or_else(missing)
}
