//! `--wait`: looks at the replicas' leases until every live one that follows a deployment serves a revision.
//!
//! A replica that failed to carry the revision out ends the wait at once. No live replica is not success: it is waited
//! for, because one may be starting.

use std::time::Duration;

use chrono::Utc;
use clap::Args;
use serde::Serialize;
use tokio::time::Instant;

use super::common::duration;
use super::exit::Failure;
use crate::model::ModelName;
use crate::registry::ops::Change;
use crate::registry::ops::check::shown;
use crate::registry::{Lease, Registry, leases};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Whether to wait, and how long.
#[derive(Debug, Args)]
pub(in crate::app) struct WaitArgs {
    /// Return when every replica serves it, or say which one does not and why
    #[arg(long)]
    pub(in crate::app) wait: bool,
    /// How long to wait
    #[arg(long, default_value = "60s", value_parser = duration, requires = "wait")]
    timeout: Duration,
}

/// What waiting came to.
#[derive(Debug)]
pub(in crate::app) struct Waited {
    /// Whether every replica serves the revision, and there is at least one.
    pub(in crate::app) served: bool,
    /// Each replica.
    pub(in crate::app) replicas: Vec<ReplicaStand>,
}

/// How a replica stands to the revision.
#[derive(Debug, Serialize)]
pub(in crate::app) struct ReplicaStand {
    replica: String,
    url: String,
    deployment: String,
    /// `served`, `failed` or `waiting`.
    state: &'static str,
    /// Why, where there is something to say.
    reason: String,
}

impl WaitArgs {
    /// Waits until every replica that follows `deployment` (without one: any deployment that the model has) has carried
    /// the change out, one has failed to, or time is up.
    pub(super) async fn until_served(
        &self,
        registry: &Registry,
        model: &ModelName,
        made: &Change,
        deployment: Option<&str>,
    ) -> Result<Waited, Failure> {
        let end = Instant::now() + self.timeout;
        loop {
            let leases = leases::read_current(registry.store(), Utc::now()).await?;
            let concerned = leases.iter().filter(|lease| match deployment {
                Some(name) => lease.deployment == name,
                None => made.state.deployments.contains_key(&lease.deployment),
            });
            let replicas: Vec<ReplicaStand> = concerned.map(|lease| stand(lease, model, made)).collect();
            let served = !replicas.is_empty() && replicas.iter().all(|replica| replica.state == "served");
            let failed = replicas.iter().any(|replica| replica.state == "failed");
            if served || failed || Instant::now() >= end {
                return Ok(Waited { served, replicas });
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn stand(lease: &Lease, model: &ModelName, made: &Change) -> ReplicaStand {
    let known = lease.models.get(model);
    let is_deployed = made.state.exists() && made.state.deployments.contains_key(&lease.deployment);
    let (state, reason) = match known {
        None if !is_deployed => ("served", String::new()),
        None => ("waiting", "it has not seen the model yet".to_owned()),
        Some(known) => match known.outcome(made.rev) {
            Some(true) => ("served", String::new()),
            Some(false) => ("failed", known.error.clone().unwrap_or_else(|| known.reason.clone())),
            None if known.reason.is_empty() => ("waiting", format!("it is at revision {}", known.rev)),
            None => ("waiting", known.reason.clone()),
        },
    };
    ReplicaStand {
        replica: lease.replica.clone(),
        url: lease.url.clone(),
        deployment: lease.deployment.clone(),
        state,
        reason,
    }
}

impl Waited {
    /// For people.
    pub(super) fn to_text(&self) -> String {
        let count = self.replicas.len();
        if self.served {
            return format!("served by {count} replica{}\n", if count == 1 { "" } else { "s" });
        }
        if count == 0 {
            return "no live replica follows the deployment\n".to_owned();
        }
        let behind = self.replicas.iter().filter(|replica| replica.state != "served");
        behind
            .map(|replica| {
                let reason: Vec<String> = replica.reason.lines().map(shown).collect();
                let (name, url) = (shown(&replica.replica), shown(&replica.url));
                format!("replica {name} ({url}) {}: {}\n", replica.state, reason.join(" "))
            })
            .collect()
    }
}
