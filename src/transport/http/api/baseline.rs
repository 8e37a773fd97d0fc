//! The registered baseline of a version: a profile of the data that it was made for, as `weir profile-data` writes it.

use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiState;
use super::caller::{Body, Caller, json_reply, model_name, read_body};
use super::change::make;
use super::failure::{ApiError, ErrorBody};
use super::wire::{Changed, Reasoned};
use crate::access::Role;
use crate::control::monitoring::{BASELINE_BYTES_MAX, check_baseline};
use crate::error::Code;
use crate::registry::ops::{annotate, check};
use crate::registry::{RegistryError, blobs};

/// Most that is taken over HTTP; `weir baseline` takes more.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Why a baseline is set.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Why {
    /// Why, for the log.
    #[serde(default)]
    reason: String,
}

/// Read the registered baseline of a version
#[utoipa::path(get, path = "/api/v1/models/{model}/versions/{version}/baseline", tag = "monitoring",
    params(("model" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Object), (status = "4XX", body = ErrorBody)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, version)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    caller.read(&state, Some(&model))?;
    let registry = state.control.registry()?;
    let known = registry.state(&model_name(&model)?).await?;
    check::exists(&known)?;
    let number = known.resolve(&version)?;
    let missing = || ApiError::not_found("the version has no registered baseline");
    let file = known.live(number)?.baseline.as_ref().ok_or_else(missing)?;
    let bytes = blobs::read_small(registry.inner().store(), file, BASELINE_BYTES_MAX).await;
    Ok(json_reply(bytes.map_err(RegistryError::from)?))
}

/// Register the baseline of a version
///
/// The body is a profile as `weir profile-data` writes it. Servers compare the version's traffic with it within seconds.
#[utoipa::path(put, path = "/api/v1/models/{model}/versions/{version}/baseline", tag = "monitoring",
    params(("model" = String, Path), ("version" = String, Path), Why), request_body = Object,
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn set(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, version)): Path<(String, String)>,
    Query(why): Query<Why>,
    request: Request,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Publisher, &model, why.reason)?;
    let bytes = read_body(request, BODY_BYTES_MAX).await?;
    let refuse = |error: String| ApiError::new(Code::InvalidArgument, format!("the baseline: {error}"));
    check_baseline(bytes.clone()).await.map_err(refuse)?;
    // Refused before anything is stored.
    let registry = state.control.registry()?;
    registry.state(&model_name(&model)?).await?.resolve(&version)?;
    let stored = blobs::put_bytes(registry.inner().store(), "baseline", bytes).await;
    let profile = stored.map_err(RegistryError::from)?;
    make(&state, &model, &intent, |s| annotate::baseline(s, &version, Some(&profile))).await
}

/// Remove the registered baseline of a version
#[utoipa::path(delete, path = "/api/v1/models/{model}/versions/{version}/baseline", tag = "monitoring", request_body = Reasoned,
    params(("model" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn unset(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, version)): Path<(String, String)>,
    Body(body): Body<Reasoned>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Publisher, &model, body.reason)?;
    make(&state, &model, &intent, |s| annotate::baseline(s, &version, None)).await
}
