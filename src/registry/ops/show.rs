//! Operations and specifications in words, a line each, for people: the command line, logs and messages.

use std::collections::BTreeMap;

use super::check::shown;
use crate::model::Version;
use crate::model::settings::values::show_duration;
use crate::registry::op::Op;
use crate::registry::record::{DeploymentSpec, StickyKey};

/// What an operation does, in a line.
pub fn op(op: &Op) -> String {
    match op {
        Op::CreateModel { .. } => "created the model".to_owned(),
        Op::SetPolicy { approvals } => format!("set the policy: {approvals} approvals"),
        Op::CreateVersion { version, record } => {
            let bytes: u64 = record.files.iter().map(|file| file.size).sum();
            format!("registered version {version} ({bytes} bytes, {})", shown(&record.source))
        }
        Op::RejectVersion { source, reason, .. } => {
            format!("refused a version from {}: {}", shown(source), shown(reason))
        }
        Op::SetTag { version, key, value } => format!("tagged {}: {key} = {}", of(*version), shown(value)),
        Op::UnsetTag { version, key } => format!("removed tag {key} of {}", of(*version)),
        Op::SetProperty { version, key, value } => {
            format!("set property of version {version}: {key} = {}", shown(value))
        }
        Op::Annotate { version, metrics, description } => {
            let numbers = metrics.iter().map(|(name, value)| format!("{name} = {value}"));
            let described = description.iter().map(|text| format!("description \"{}\"", shown(text)));
            format!("described {}: {}", of(*version), numbers.chain(described).collect::<Vec<_>>().join(", "))
        }
        Op::SetAlias { alias, version } => format!("alias {alias} -> version {version}"),
        Op::UnsetAlias { alias } => format!("removed alias {alias}"),
        Op::SetBaseline { version, profile: Some(_) } => format!("set the baseline of version {version}"),
        Op::SetBaseline { version, profile: None } => format!("removed the baseline of version {version}"),
        Op::Deploy { deployment, spec, rollback_to: None } => {
            format!("deployment {deployment} serves {}", traffic(spec))
        }
        Op::Deploy { deployment, spec, rollback_to: Some(rev) } => {
            format!("deployment {deployment} rolled back to revision {rev}: serves {}", traffic(spec))
        }
        Op::SetTraffic { deployment, traffic, .. } => {
            format!("deployment {deployment} serves {}", shares(traffic))
        }
        Op::Undeploy { deployment } => format!("ended deployment {deployment}"),
        Op::Propose { proposal, ops } => {
            format!("proposed {proposal}: {}", ops.iter().map(self::op).collect::<Vec<_>>().join("; "))
        }
        Op::Approve { proposal } => format!("approved {proposal}"),
        Op::Withdraw { proposal } => format!("withdrew {proposal}"),
        Op::Hold { version, holder } => format!("version {version} is held by {}", shown(holder)),
        Op::Release { version, holder } => {
            format!("version {version} is no longer held by {}", shown(holder))
        }
        Op::Tombstone { version } => format!("deleted {}", of(*version)),
        Op::Undelete { version } => format!("undeleted {}", of(*version)),
    }
}

fn of(version: Option<Version>) -> String {
    version.map_or("the model".to_owned(), |version| format!("version {version}"))
}

/// The versions of a specification and their shares.
pub fn traffic(spec: &DeploymentSpec) -> String {
    shares(&spec.traffic)
}

/// Versions and their shares.
pub fn shares(traffic: &BTreeMap<Version, u32>) -> String {
    let sum: u64 = traffic.values().map(|weight| u64::from(*weight)).sum();
    let shares = traffic.iter().map(|(version, weight)| {
        // Thousandths, rounded: weights are whole numbers.
        let thousandths = (u64::from(*weight) * 1000 + sum / 2) / sum.max(1);
        match thousandths % 10 {
            0 => format!("version {version} {}%", thousandths / 10),
            rest => format!("version {version} {}.{rest}%", thousandths / 10),
        }
    });
    shares.collect::<Vec<_>>().join(", ")
}

/// A sticky key as it is typed.
pub fn sticky(sticky: &StickyKey) -> String {
    match sticky {
        StickyKey::RequestId => "request_id".to_owned(),
        StickyKey::Header(name) => format!("header:{name}"),
    }
}

/// A rollback window as it is typed.
pub fn window(seconds: u64) -> String {
    show_duration(std::time::Duration::from_secs(seconds))
}
