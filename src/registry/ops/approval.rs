//! A second person for what changes traffic: the policy, proposals, and their approval.
//!
//! Where a model's policy asks for it, operations of one actor that change what is served become a proposal. Another
//! actor's approval carries them out in its own revision, after the rules were checked against the newest state.
//! Rollbacks go through at once: they bring back only what was served before.

use uuid::Uuid;

use super::{check, deploy};
use crate::registry::error::Refusal;
use crate::registry::op::Op;
use crate::registry::revision::Actor;
use crate::registry::state::{ModelState, Proposal};

/// The most approvals that a policy can ask for.
pub const APPROVALS_MAX: u32 = 1;

/// Sets how many others must approve.
///
/// # Errors
/// [`Refusal`].
pub fn policy(state: &ModelState, approvals: u32) -> Result<Vec<Op>, Refusal> {
    check::exists(state)?;
    if approvals > APPROVALS_MAX {
        return Err(Refusal::Invalid(format!("approvals: expected 0 to {APPROVALS_MAX}, found {approvals}")));
    }
    match state.approvals == approvals {
        true => Ok(Vec::new()),
        false => Ok(vec![Op::SetPolicy { approvals }]),
    }
}

/// The operations themselves, or a proposal of them where the policy asks for a second person.
///
/// # Errors
/// [`Refusal::Invalid`] when too many proposals wait.
pub fn guard(state: &ModelState, proposal: Uuid, ops: Vec<Op>) -> Result<Vec<Op>, Refusal> {
    let is_approval = ops.iter().any(|op| matches!(op, Op::Approve { .. }));
    if state.approvals == 0 || is_approval || !ops.iter().any(needs_approval) {
        return Ok(ops);
    }
    check::count("proposals that wait", state.proposals.len() + 1, check::PROPOSALS_MAX)?;
    Ok(vec![Op::Propose { proposal, ops }])
}

fn needs_approval(op: &Op) -> bool {
    match op {
        Op::Deploy { rollback_to, .. } => rollback_to.is_none(),
        Op::SetTraffic { .. } | Op::Undeploy { .. } | Op::SetAlias { .. } | Op::UnsetAlias { .. } => true,
        // Otherwise one person could first end the policy.
        Op::SetPolicy { .. } => true,
        _ => false,
    }
}

/// Approves a proposal and carries it out.
///
/// # Errors
/// [`Refusal::Forbidden`] for the one who proposed it; [`Refusal`] when the rules no longer allow it.
pub fn approve(state: &ModelState, actor: &Actor, proposal: Uuid) -> Result<Vec<Op>, Refusal> {
    let known = find(state, proposal)?;
    if known.proposed.actor.sub == actor.sub {
        return Err(Refusal::Forbidden(format!("{} proposed it; another person approves", actor.sub)));
    }
    known.ops.iter().try_for_each(|op| recheck(state, op))?;
    let mut ops = vec![Op::Approve { proposal }];
    ops.extend(known.ops.iter().cloned());
    Ok(ops)
}

/// Drops a proposal.
///
/// # Errors
/// [`Refusal`].
pub fn withdraw(state: &ModelState, proposal: Uuid) -> Result<Vec<Op>, Refusal> {
    find(state, proposal)?;
    Ok(vec![Op::Withdraw { proposal }])
}

fn find(state: &ModelState, proposal: Uuid) -> Result<&Proposal, Refusal> {
    check::exists(state)?;
    let missing = || Refusal::NotFound(format!("model '{}' has no proposal {proposal}", state.model));
    state.proposals.get(&proposal).ok_or_else(missing)
}

/// Whether an operation is still right: much may have happened since it was proposed.
fn recheck(state: &ModelState, op: &Op) -> Result<(), Refusal> {
    match op {
        Op::SetAlias { version, alias } => {
            if !state.aliases.contains_key(alias) {
                check::count("aliases", state.aliases.len() + 1, check::ALIASES_MAX)?;
            }
            state.live(*version).map(drop)
        }
        Op::Deploy { spec, deployment, .. } => {
            if !state.deployments.contains_key(deployment) {
                check::count("deployments", state.deployments.len() + 1, check::DEPLOYMENTS_MAX)?;
            }
            deploy::check_spec(state, spec)
        }
        Op::SetTraffic { deployment, traffic, sticky } => {
            let mut spec = deploy::find(state, deployment)?.spec.clone();
            spec.traffic.clone_from(traffic);
            spec.sticky = sticky.clone().unwrap_or(spec.sticky);
            deploy::check_spec(state, &spec)
        }
        Op::Undeploy { deployment } => deploy::find(state, deployment).map(drop),
        _ => Ok(()),
    }
}
