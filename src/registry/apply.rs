//! What each operation does to a state. Refuses only what cannot have happened; what *should* not happen (deleting a
//! version in use, say) is refused before it is written, by the plans of `ops`.

use uuid::Uuid;

use super::blobs;
use super::error::FoldError;
use super::op::Op;
use super::record::DeploymentSpec;
use super::state::{AliasState, DeploymentState, HISTORY_MAX, ModelState, Moment, Proposal, VersionState};
use crate::model::Version;

impl ModelState {
    pub(super) fn apply_op(&mut self, op: &Op, moment: &Moment, commit_id: Uuid) -> Result<(), FoldError> {
        let impossible = |reason: &str| FoldError::Impossible { op: op.name(), reason: reason.to_owned() };
        if self.created.is_none() != matches!(op, Op::CreateModel { .. }) {
            return Err(impossible("a log begins with create_model, once"));
        }
        match op {
            Op::CreateModel { description } => {
                self.created = Some(moment.clone());
                self.description.clone_from(description);
            }
            Op::SetPolicy { approvals } => self.approvals = *approvals,
            Op::CreateVersion { version, record } => {
                if self.next_version() != Some(*version) {
                    return Err(impossible("the version's number is not the next one"));
                }
                // Its files will be written to folders by their names.
                blobs::check_files(&record.files).map_err(|error| impossible(&error.to_string()))?;
                let state = VersionState {
                    record: (**record).clone(),
                    created: moment.clone(),
                    updated: moment.time,
                    commit_id,
                    description: String::new(),
                    tags: Default::default(),
                    properties: Default::default(),
                    metrics: Default::default(),
                    baseline: None,
                    holders: Default::default(),
                    deleted: None,
                };
                self.versions.insert(*version, state);
            }
            Op::RejectVersion { .. } => {}
            Op::Tombstone { version: None } => self.deleted = Some(moment.clone()),
            Op::Undelete { version: None } => self.deleted = None,
            Op::Propose { proposal, ops } => {
                let entry = Proposal { proposed: moment.clone(), ops: ops.clone() };
                self.proposals.insert(*proposal, entry);
            }
            Op::Approve { proposal } | Op::Withdraw { proposal } => {
                let known = self.proposals.remove(proposal);
                known.ok_or_else(|| impossible("there is no such proposal"))?;
            }
            Op::SetTag { version: None, key, value } => {
                self.tags.insert(key.clone(), value.clone());
            }
            Op::UnsetTag { version: None, key } => {
                self.tags.remove(key);
            }
            Op::Annotate { version: None, description, .. } => {
                self.description = description.clone().unwrap_or_else(|| self.description.clone());
            }
            Op::SetAlias { .. } | Op::UnsetAlias { .. } => self.apply_alias(op, moment)?,
            Op::Deploy { .. } | Op::SetTraffic { .. } | Op::Undeploy { .. } => {
                self.apply_deployment(op, moment)?;
            }
            _ => self.apply_to_version(op, moment)?,
        }
        if let Some(state) = op.about().and_then(|version| self.versions.get_mut(&version)) {
            state.updated = moment.time;
        }
        Ok(())
    }

    fn apply_alias(&mut self, op: &Op, moment: &Moment) -> Result<(), FoldError> {
        match op {
            Op::SetAlias { alias, version } => {
                self.live_version(op, *version)?;
                let entry = AliasState { version: *version, since: moment.clone() };
                self.aliases.insert(alias.clone(), entry);
            }
            Op::UnsetAlias { alias } => {
                self.aliases.remove(alias);
            }
            _ => {}
        }
        Ok(())
    }

    fn apply_deployment(&mut self, op: &Op, moment: &Moment) -> Result<(), FoldError> {
        match op {
            Op::Deploy { deployment, spec, .. } => {
                self.check_traffic(op, spec)?;
                self.replace_deployment(deployment, spec.clone(), moment);
            }
            Op::SetTraffic { deployment, traffic, sticky } => {
                let current = self.deployments.get(deployment).map(|deployment| deployment.spec.clone());
                let mut spec = current.ok_or_else(|| FoldError::Impossible {
                    op: op.name(),
                    reason: "there is no such deployment".to_owned(),
                })?;
                spec.traffic.clone_from(traffic);
                spec.sticky = sticky.clone().unwrap_or(spec.sticky);
                self.check_traffic(op, &spec)?;
                self.replace_deployment(deployment, spec, moment);
            }
            Op::Undeploy { deployment } => {
                self.deployments.remove(deployment);
            }
            _ => {}
        }
        Ok(())
    }

    fn check_traffic(&mut self, op: &Op, spec: &DeploymentSpec) -> Result<(), FoldError> {
        spec.traffic.keys().try_for_each(|version| self.live_version(op, *version).map(drop))
    }

    fn replace_deployment(&mut self, name: &str, spec: DeploymentSpec, moment: &Moment) {
        let old = self.deployments.remove(name);
        let mut history = Vec::new();
        if let Some(old) = old {
            history = old.history;
            history.push((old.since, old.spec));
            history.drain(..history.len().saturating_sub(HISTORY_MAX));
        }
        let state = DeploymentState { spec, since: moment.clone(), history };
        self.deployments.insert(name.to_owned(), state);
    }

    fn apply_to_version(&mut self, op: &Op, moment: &Moment) -> Result<(), FoldError> {
        let impossible = |reason: &str| FoldError::Impossible { op: op.name(), reason: reason.to_owned() };
        match op {
            Op::SetTag { version: Some(version), key, value } => {
                self.live_version(op, *version)?.tags.insert(key.clone(), value.clone());
            }
            Op::UnsetTag { version: Some(version), key } => {
                self.live_version(op, *version)?.tags.remove(key);
            }
            Op::SetProperty { version, key, value } => {
                let properties = &mut self.live_version(op, *version)?.properties;
                if properties.insert(key.clone(), value.clone()).is_some() {
                    return Err(impossible("the property was set before"));
                }
            }
            Op::Annotate { version: Some(version), metrics, description } => {
                let state = self.live_version(op, *version)?;
                state.metrics.extend(metrics.iter().map(|(name, value)| (name.clone(), *value)));
                state.description = description.clone().unwrap_or_else(|| state.description.clone());
            }
            Op::SetBaseline { version, profile } => {
                self.live_version(op, *version)?.baseline.clone_from(profile);
            }
            Op::Hold { version, holder } => {
                self.live_version(op, *version)?.holders.insert(holder.clone());
            }
            Op::Release { version, holder } => {
                let state = self.versions.get_mut(version);
                state.ok_or_else(|| impossible("there is no such version"))?.holders.remove(holder);
            }
            Op::Tombstone { version: Some(version) } => {
                self.live_version(op, *version)?.deleted = Some(moment.clone());
            }
            Op::Undelete { version: Some(version) } => {
                let state = self.versions.get_mut(version);
                state.ok_or_else(|| impossible("there is no such version"))?.deleted = None;
            }
            _ => {}
        }
        Ok(())
    }

    fn live_version(&mut self, op: &Op, version: Version) -> Result<&mut VersionState, FoldError> {
        let missing = || FoldError::Impossible {
            op: op.name(),
            reason: format!("version {version} does not exist or is deleted"),
        };
        self.versions.get_mut(&version).filter(|state| state.deleted.is_none()).ok_or_else(missing)
    }
}
