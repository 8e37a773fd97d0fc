//! What may be done to a model: pure plans from its state to the operations of one revision, and the rules that refuse.
//!
//! ```text
//!  plan(&ModelState, what is wanted) ──► operations ──► approval::guard ──► Registry::commit
//!        empty: it is so already         (a second person, where the model's policy asks for one)
//! ```
//!
//! A plan is run again on every newer state, so it decides everything from the state it is given and nothing else.
//! [`change`] is how the command line and the API make a change. Nothing here reads files or prints.

pub mod alias;
pub mod annotate;
pub mod approval;
pub mod check;
pub mod delete;
pub mod deploy;
pub mod diff;
pub mod settings;
pub mod show;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use super::client::Registry;
use super::error::{Refusal, RegistryError};
use super::op::Op;
use super::revision::Intent;
use super::state::ModelState;
use crate::model::ModelName;

/// What a change came to.
#[derive(Debug, Clone)]
pub struct Change {
    /// The model's revision after it.
    pub rev: u64,
    /// What was written; empty when nothing had to be.
    pub ops: Vec<Op>,
    /// The state after it.
    pub state: Arc<ModelState>,
}

impl Change {
    /// Whether a revision was made.
    pub fn is_made(&self) -> bool {
        !self.ops.is_empty()
    }

    /// The proposal that it became, because the model's policy asks for a second person.
    pub fn proposal(&self) -> Option<Uuid> {
        self.ops.iter().find_map(|op| match op {
            Op::Propose { proposal, .. } => Some(*proposal),
            _ => None,
        })
    }
}

/// Changes `model` as `plan` wants, or proposes it where the model's policy asks for a second person.
///
/// # Errors
/// [`RegistryError`]; after [`RegistryError::Store`] the change may have been made all the same.
pub async fn change<P>(
    registry: &Registry,
    model: &ModelName,
    intent: &Intent,
    plan: P,
) -> Result<Change, RegistryError>
where
    P: Fn(&ModelState) -> Result<Vec<Op>, Refusal>,
{
    check::intent(intent)?;
    let proposal = Uuid::now_v7();
    let planned = Mutex::new(Vec::new());
    let guarded = |state: &ModelState| {
        let ops = approval::guard(state, proposal, plan(state)?)?;
        planned.lock().clone_from(&ops);
        Ok(ops)
    };
    let commit = registry.commit(model, intent, guarded).await?;
    Ok(Change { rev: commit.rev, ops: planned.into_inner(), state: commit.state })
}
