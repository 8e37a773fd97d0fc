//! What is served: deployments, their traffic, and the way back.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::caller::{Body, Caller, json_at, model_name};
use super::change::make;
use super::failure::{ApiError, ErrorBody};
use super::wire::{Changed, CloneFrom, Deploy, Reasoned, Rollback, Traffic};
use crate::access::Role;
use crate::registry::ops::{deploy as plan, diff as difference};
use crate::registry::{ModelState, StickyKey};

/// Show what a deployment serves, and what it served before
#[utoipa::path(get, path = "/api/v1/models/{model}/deployments/{deployment}", tag = "deployments",
    params(("model" = String, Path), ("deployment" = String, Path)),
    responses((status = 200, body = Object), (status = "4XX", body = ErrorBody)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, deployment)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    caller.read(&state, Some(&model))?;
    let known = state.control.registry()?.state(&model_name(&model)?).await?;
    Ok(json_at(known.rev, plan::find(&known, &deployment)?))
}

/// Send all traffic of a deployment to one version
#[utoipa::path(put, path = "/api/v1/models/{model}/deployments/{deployment}", tag = "deployments",
    request_body = Deploy, params(("model" = String, Path), ("deployment" = String, Path)),
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn deploy(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, deployment)): Path<(String, String)>,
    Body(body): Body<Deploy>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Promoter, &model, body.reason)?;
    let version = body.version.into_text();
    let change = plan::SpecChange {
        settings: body.settings,
        sticky: sticky(body.sticky)?,
        rollback_window_s: body.rollback_window_s,
    };
    make(&state, &model, &intent, |s| plan::deploy(s, &deployment, &version, &change)).await
}

/// End a deployment
#[utoipa::path(delete, path = "/api/v1/models/{model}/deployments/{deployment}", tag = "deployments",
    request_body = Reasoned, params(("model" = String, Path), ("deployment" = String, Path)),
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn undeploy(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, deployment)): Path<(String, String)>,
    Body(body): Body<Reasoned>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Promoter, &model, body.reason)?;
    make(&state, &model, &intent, |s| plan::undeploy(s, &deployment)).await
}

/// Split a deployment's traffic among versions
#[utoipa::path(put, path = "/api/v1/models/{model}/deployments/{deployment}/traffic", tag = "deployments",
    request_body = Traffic, params(("model" = String, Path), ("deployment" = String, Path)),
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn traffic(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, deployment)): Path<(String, String)>,
    Body(body): Body<Traffic>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Promoter, &model, body.reason)?;
    let sticky = sticky(body.sticky)?;
    let weights: Vec<(String, u32)> = body.weights.into_iter().collect();
    make(&state, &model, &intent, |s| plan::traffic(s, &deployment, &weights, sticky.as_ref())).await
}

/// Go back to what a deployment served before
#[utoipa::path(post, path = "/api/v1/models/{model}/deployments/{deployment}/rollback", tag = "deployments",
    request_body = Rollback, params(("model" = String, Path), ("deployment" = String, Path)),
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn rollback(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, deployment)): Path<(String, String)>,
    Body(body): Body<Rollback>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Promoter, &model, body.reason)?;
    make(&state, &model, &intent, |s| plan::rollback(s, &deployment, body.to)).await
}

/// Make a deployment serve what another one serves
#[utoipa::path(post, path = "/api/v1/models/{model}/deployments/{deployment}/clone", tag = "deployments",
    request_body = CloneFrom, params(("model" = String, Path), ("deployment" = String, Path)),
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn clone(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, deployment)): Path<(String, String)>,
    Body(body): Body<CloneFrom>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Promoter, &model, body.reason)?;
    make(&state, &model, &intent, |s: &ModelState| plan::clone(s, &body.from, &deployment)).await
}

/// What to compare with.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Against {
    /// `NAME`, or `NAME@REVISION` for what it served then.
    against: String,
}

/// What differs, field by field.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Differences {
    /// Field, before and after.
    #[schema(value_type = Vec<Object>)]
    differences: Vec<difference::Difference>,
}

/// Compare two deployments, or one with what it served at a revision
#[utoipa::path(get, path = "/api/v1/models/{model}/deployments/{deployment}/diff", tag = "deployments",
    params(("model" = String, Path), ("deployment" = String, Path), Against),
    responses((status = 200, body = Differences), (status = "4XX", body = ErrorBody)))]
pub(super) async fn diff(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, deployment)): Path<(String, String)>,
    Query(query): Query<Against>,
) -> Result<Response, ApiError> {
    caller.read(&state, Some(&model))?;
    let known = state.control.registry()?.state(&model_name(&model)?).await?;
    let left = difference::select(&known, &query.against)?;
    let right = difference::select(&known, &deployment)?;
    let differences = difference::specs(left, right);
    Ok(json_at(known.rev, &Differences { differences }))
}

fn sticky(text: Option<String>) -> Result<Option<StickyKey>, ApiError> {
    Ok(text.map(|text| plan::parse_sticky(&text)).transpose()?)
}
