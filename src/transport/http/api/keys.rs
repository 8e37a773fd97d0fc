//! Whose signatures count: `weir keys` over HTTP.
//!
//! A change is signed with this server's `registry.signing_key`, which must count itself, but for the first key; so a
//! server without such a key can list keys and change none.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::ApiState;
use super::caller::{Body, Caller, json, model_name};
use super::failure::{ApiError, ErrorBody};
use super::history::busy;
use super::wire::Reasoned;
use crate::access::Role;
use crate::error::Code;
use crate::model::ModelName;
use crate::registry::keys::{KeyChange, KeyRing};
use crate::registry::sign::check_public;

/// Whose signatures count.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeysView {
    /// Changes of the keys so far.
    records: u64,
    /// Whether revisions must be signed.
    required: bool,
    /// By id: the public key in base64, when, by whom and why it was added, and whether it was revoked.
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Value>,
}

/// A key whose signatures are to count.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddKey {
    /// The public key, in base64; that of this server without it.
    #[serde(default)]
    ed25519: Option<String>,
    /// Why. Needed.
    #[serde(default)]
    reason: String,
}

/// Revisions that are taken as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Accept {
    /// The model.
    model: String,
    /// The last revision that is taken as it is.
    up_to: u64,
    /// Why. Needed.
    #[serde(default)]
    reason: String,
}

/// List the keys whose signatures count
#[utoipa::path(get, path = "/api/v1/registry/keys", tag = "history",
    responses((status = 200, body = KeysView), (status = "4XX", body = ErrorBody)))]
pub(super) async fn list(State(state): State<ApiState>, caller: Caller) -> Result<Response, ApiError> {
    caller.read(&state, None)?;
    let mut ring = KeyRing::default();
    ring.refresh(state.control.registry()?.inner().store()).await?;
    Ok(view(&ring))
}

/// Let a key's signatures count
///
/// From the first key on, revisions must be signed. For admins. The change is signed with this server's
/// `registry.signing_key`, which must count already, but for the first key.
#[utoipa::path(post, path = "/api/v1/registry/keys", tag = "history", request_body = AddKey,
    responses((status = 200, body = KeysView), (status = "4XX", body = ErrorBody)))]
pub(super) async fn add(
    State(state): State<ApiState>,
    caller: Caller,
    Body(body): Body<AddKey>,
) -> Result<Response, ApiError> {
    caller.require(Role::Admin)?;
    let own = || state.control.registry().ok().and_then(|door| door.public_key());
    let missing = || ApiError::new(Code::InvalidArgument, "name the public key: this server has none");
    let ed25519 = body.ed25519.map(|key| key.trim().to_owned()).or_else(own).ok_or_else(missing)?;
    let wrong = |error| ApiError::new(Code::InvalidArgument, format!("'ed25519': {error}"));
    let key = check_public(&ed25519).map_err(wrong)?;
    change(&state, caller, body.reason, KeyChange::Add { key, ed25519 }, None).await
}

/// Let a key's signatures count no more, but for what there is
///
/// For admins; signed as an addition is. The last key cannot go.
#[utoipa::path(delete, path = "/api/v1/registry/keys/{key}", tag = "history", request_body = Reasoned,
    params(("key" = String, Path)), responses((status = 200, body = KeysView), (status = "4XX", body = ErrorBody)))]
pub(super) async fn revoke(
    State(state): State<ApiState>,
    caller: Caller,
    Path(key): Path<String>,
    Body(body): Body<Reasoned>,
) -> Result<Response, ApiError> {
    change(&state, caller, body.reason, KeyChange::Revoke { key }, None).await
}

/// Take revisions of a model as they are, signed or not
///
/// For admins; signed as an addition is.
#[utoipa::path(post, path = "/api/v1/registry/keys/accept", tag = "history", request_body = Accept,
    responses((status = 200, body = KeysView), (status = "4XX", body = ErrorBody)))]
pub(super) async fn accept(
    State(state): State<ApiState>,
    caller: Caller,
    Body(body): Body<Accept>,
) -> Result<Response, ApiError> {
    let up_to = Some((model_name(&body.model)?, body.up_to));
    change(&state, caller, body.reason, KeyChange::Accept {}, up_to).await
}

async fn change(
    state: &ApiState,
    caller: Caller,
    reason: String,
    change: KeyChange,
    up_to: Option<(ModelName, u64)>,
) -> Result<Response, ApiError> {
    let intent = caller.intent_for_all(Role::Admin, reason)?;
    let walk = state.control.registry()?.walk().ok_or_else(busy)?;
    Ok(view(&walk.change_keys(&intent, change, up_to).await?))
}

fn view(ring: &KeyRing) -> Response {
    json(&KeysView { records: ring.number, required: ring.is_required(), keys: ring.shown() })
}
