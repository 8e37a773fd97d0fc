//! What is registered and what is going on: models, versions, the log, the registry and its replicas.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::Utc;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::ApiState;
use super::caller::{Caller, json, json_at, model_name};
use super::failure::{ApiError, ErrorBody};
use crate::access::Role;
use crate::model::Version;
use crate::registry::leases::Lease;
use crate::registry::ops::check;
use crate::registry::{Revision, VersionState};

/// Most revisions in one answer.
const REVISIONS_MAX: u64 = 500;

/// The registry that this server uses.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RegistryView {
    /// Names the registry in events.
    #[schema(value_type = String, format = "uuid")]
    registry_id: Uuid,
    /// The format of its files.
    format: u32,
    /// The deployment that this server follows; null when it follows none.
    deployment: Option<String>,
    /// Seconds since the store last answered; null before the first answer.
    staleness_s: Option<f64>,
}

/// Show the registry that this server uses
#[utoipa::path(get, path = "/api/v1/registry", tag = "server",
    responses((status = 200, body = RegistryView), (status = "4XX", body = ErrorBody)))]
pub(super) async fn registry(State(state): State<ApiState>, caller: Caller) -> Result<Response, ApiError> {
    caller.read(&state, None)?;
    let door = state.control.registry()?;
    let info = door.info();
    Ok(json(&RegistryView {
        registry_id: info.registry_id,
        format: info.format,
        deployment: door.deployment().map(str::to_owned),
        staleness_s: door.staleness().map(|age| age.as_secs_f64()),
    }))
}

/// Servers that follow the registry.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replicas {
    /// Those that told of themselves lately, by name.
    #[schema(value_type = Vec<Object>)]
    replicas: Vec<Lease>,
}

/// List the servers that follow the registry, and what each has loaded
#[utoipa::path(get, path = "/api/v1/replicas", tag = "server",
    responses((status = 200, body = Replicas), (status = "4XX", body = ErrorBody)))]
pub(super) async fn replicas(State(state): State<ApiState>, caller: Caller) -> Result<Response, ApiError> {
    caller.read(&state, None)?;
    let mut replicas = state.control.registry()?.leases().await?;
    let now = Utc::now();
    replicas.retain(|lease| lease.is_current(now));
    for lease in &mut replicas {
        lease.models.retain(|name, _| caller.sees(&state, name));
    }
    Ok(json(&Replicas { replicas }))
}

/// Look at the registry now
///
/// Returns when this server has carried out what it found, or has failed to.
#[utoipa::path(post, path = "/api/v1/registry/refresh", tag = "server",
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn refresh(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<http::StatusCode, ApiError> {
    caller.require(Role::Publisher)?;
    state.control.registry()?.refresh().await?;
    Ok(http::StatusCode::NO_CONTENT)
}

/// Show a model: versions, aliases, deployments, proposals
#[utoipa::path(get, path = "/api/v1/models/{model}", tag = "models", params(("model" = String, Path)),
    responses((status = 200, body = Object), (status = "4XX", body = ErrorBody)))]
pub(super) async fn model(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
) -> Result<Response, ApiError> {
    caller.read(&state, Some(&model))?;
    let known = state.control.registry()?.state(&model_name(&model)?).await?;
    if known.created.is_none() {
        check::exists(&known)?;
    }
    Ok(json_at(known.rev, &*known))
}

/// A version.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VersionView<'a> {
    /// The model.
    model: &'a str,
    /// The version's number.
    #[schema(value_type = u64)]
    version: Version,
    /// Aliases that point at it.
    aliases: Vec<&'a str>,
    /// Who would be harmed if it went; empty when it can be deleted.
    in_use_by: Vec<String>,
    /// What is known of it.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    state: &'a VersionState,
}

/// Show a version, by number or alias
#[utoipa::path(get, path = "/api/v1/models/{model}/versions/{version}", tag = "models",
    params(("model" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = VersionView), (status = "4XX", body = ErrorBody)))]
pub(super) async fn version(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, version)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    caller.read(&state, Some(&model))?;
    let known = state.control.registry()?.state(&model_name(&model)?).await?;
    check::exists(&known)?;
    let number = known.resolve(&version)?;
    let points_here = known.aliases.iter().filter(|(_, alias)| alias.version == number);
    Ok(json_at(
        known.rev,
        &VersionView {
            model: &model,
            version: number,
            aliases: points_here.map(|(name, _)| name.as_str()).collect(),
            in_use_by: known.holders(number),
            state: known.live(number)?,
        },
    ))
}

/// Which part of the log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// The first revision; 1 when it is absent.
    #[serde(default)]
    from: Option<u64>,
    /// How many; at most 500, and 100 when it is absent.
    #[serde(default)]
    limit: Option<u64>,
}

/// Part of a model's log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revisions {
    /// The revisions, ascending.
    #[schema(value_type = Vec<Object>)]
    revisions: Vec<Revision>,
    /// Where the next part begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// Read a model's log
#[utoipa::path(get, path = "/api/v1/models/{model}/revisions", tag = "history",
    params(("model" = String, Path), Part), responses((status = 200, body = Revisions), (status = "4XX", body = ErrorBody)))]
pub(super) async fn revisions(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
    part: Result<Query<Part>, QueryRejection>,
) -> Result<Response, ApiError> {
    caller.read(&state, Some(&model))?;
    let Query(part) = part.map_err(ApiError::of_query)?;
    let door = state.control.registry()?;
    let name = model_name(&model)?;
    let known = door.state(&name).await?;
    if known.created.is_none() {
        check::exists(&known)?;
    }
    let from = part.from.unwrap_or(1).max(1);
    let limit = part.limit.unwrap_or(100).clamp(1, REVISIONS_MAX);
    let end = from.saturating_add(limit).min(known.rev + 1);
    let revisions = door.revisions(&name, from..end).await?;
    let next = (end <= known.rev).then_some(end);
    Ok(json_at(known.rev, &Revisions { revisions, next }))
}
