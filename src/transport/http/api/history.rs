//! What served when and why, where versions come from, and whether the logs are whole.

use std::collections::BTreeMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::caller::{Body, Caller, json, json_at, model_name};
use super::failure::{ApiError, ErrorBody};
use crate::access::Role;
use crate::error::Code;
use crate::registry::audit::{Timeline, parse_age, parse_time, timeline};
use crate::registry::gc::{GRACE, GcOptions};
use crate::registry::lineage::{Graph, build, dot, svg, text};
use crate::registry::ops::check;
use crate::registry::record::ModelRef;
use crate::registry::verify::{Anchor, Blobs, VerifyOptions, VerifyReport, anchors as read_anchors};
use crate::registry::{RegistryError, history};

/// Which part of the audit.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Only what counted then: `2026-01-31T12:00:00Z`, `now`, or that long ago like `-2h`.
    #[serde(default)]
    at: Option<String>,
    /// Only this deployment.
    #[serde(default)]
    deployment: Option<String>,
}

/// What served, who put it there, why, and on what evidence.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Audit {
    /// The time that was asked about.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<DateTime<Utc>>,
    /// The model, its newest revision and what changed.
    #[schema(value_type = Object)]
    audit: Timeline,
}

/// Tell what served when, who put it there and why
#[utoipa::path(get, path = "/api/v1/models/{model}/audit", tag = "history",
    params(("model" = String, Path), AuditQuery),
    responses((status = 200, body = Audit), (status = "4XX", body = ErrorBody)))]
pub(super) async fn audit(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    caller.read(&state, Some(&model))?;
    let Query(query) = query.map_err(ApiError::of_query)?;
    let now = Utc::now();
    let at = query.at.as_deref().map(|text| parse_time(text, now)).transpose();
    let at = at.map_err(|problem| ApiError::new(Code::InvalidArgument, format!("'at': {problem}")))?;
    let name = model_name(&model)?;
    let (known, entries) = history::read(state.control.registry()?.inner(), &name).await?;
    if known.created.is_none() {
        check::exists(&known)?;
    }
    // Folds the whole log once more.
    let told = tokio::task::spawn_blocking(move || {
        let told = timeline(&name, &entries);
        told.map(|told| told.narrowed(at, query.deployment.as_deref()))
    });
    let told = told.await.map_err(|_| ApiError::new(Code::Internal, "internal error"))?;
    let broken = |source| RegistryError::Log { model: model.clone(), rev: known.rev, source };
    Ok(json_at(known.rev, &Audit { at, audit: told.map_err(broken)? }))
}

/// The form of a lineage.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Form {
    /// `json`, `text`, `dot` or `svg`; `json` when it is absent.
    #[serde(default)]
    format: Option<String>,
}

/// Show where a version comes from and what became of it
///
/// Models that the caller may not read are known by name only.
#[utoipa::path(get, path = "/api/v1/models/{model}/versions/{version}/lineage", tag = "history",
    params(("model" = String, Path), ("version" = String, Path), Form),
    responses((status = 200, description = "nodes and edges, or a drawing of them", content(
        (Object = "application/json"), (String = "text/plain"), (String = "text/vnd.graphviz"), (String = "image/svg+xml"))),
        (status = "4XX", body = ErrorBody)))]
pub(super) async fn lineage(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, version)): Path<(String, String)>,
    form: Result<Query<Form>, QueryRejection>,
) -> Result<Response, ApiError> {
    caller.read(&state, Some(&model))?;
    let Query(form) = form.map_err(ApiError::of_query)?;
    let registry = state.control.registry()?.inner();
    let known = registry.state(&model_name(&model)?).await?;
    check::exists(&known)?;
    let version = match version.parse() {
        // Deleted ones, too.
        Ok(version) => version,
        Err(_) => known.resolve(&version)?,
    };
    let views = registry.all().await?.into_iter().filter(|view| caller.sees(&state, &view.state.model));
    let mut states: BTreeMap<_, _> = views.map(|view| (view.state.model.clone(), view.state)).collect();
    states.insert(known.model.clone(), std::sync::Arc::clone(&known));
    let graph = build(&ModelRef { model: known.model.clone(), version }, &states)?;
    drawn(&graph, form.format.as_deref().unwrap_or("json"))
}

fn drawn(graph: &Graph, format: &str) -> Result<Response, ApiError> {
    let (content_type, text) = match format {
        "json" => return Ok(json(graph)),
        "text" => ("text/plain; charset=utf-8", text(graph)),
        "dot" => ("text/vnd.graphviz; charset=utf-8", dot(graph)),
        "svg" => ("image/svg+xml", svg(graph)),
        _ => {
            let message = "'format' must be json, text, dot or svg";
            return Err(ApiError::new(Code::InvalidArgument, message));
        }
    };
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A drawing holds names that others chose: opened by itself in a browser it may do nothing.
    let policy = HeaderValue::from_static("default-src 'none'; sandbox");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// The ends of all logs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Anchors {
    /// One for each log.
    #[schema(value_type = Vec<Object>)]
    anchors: Vec<Anchor>,
}

/// Read the ends of all logs, to be kept where nobody can change them
///
/// Each is a line of a file for `weir audit verify --anchor`.
#[utoipa::path(get, path = "/api/v1/registry/anchors", tag = "history",
    responses((status = 200, body = Anchors), (status = "4XX", body = ErrorBody)))]
pub(super) async fn anchors(State(state): State<ApiState>, caller: Caller) -> Result<Response, ApiError> {
    caller.read(&state, None)?;
    let mut anchors = read_anchors(state.control.registry()?.inner()).await?;
    anchors.retain(|anchor| anchor.model.as_ref().is_none_or(|model| caller.sees(&state, model)));
    Ok(json(&Anchors { anchors }))
}

/// What is to be proved.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    /// Only this model.
    #[serde(default)]
    model: Option<String>,
    /// What `/api/v1/registry/anchors` said before.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    anchors: Vec<Anchor>,
    /// Whether files of versions are looked at: `no`, `sizes` or `content`.
    #[serde(default)]
    blobs: Option<String>,
    /// Whether holds are compared with what holds.
    #[serde(default)]
    holds: bool,
}

/// What was proved, and what is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Verified {
    /// Whether nothing is wrong.
    ok: bool,
    /// Counts of what is right, and `findings`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    report: VerifyReport,
}

/// Prove chains, signatures and snapshots of all logs
///
/// It changes nothing. What reads the whole registry is for admins and one at a time; anyone who may read a model may have
/// its log proved. `blobs` and `holds` do what `weir fsck` does.
#[utoipa::path(post, path = "/api/v1/registry/verify", tag = "history", request_body = Verify,
    responses((status = 200, body = Verified), (status = 429, description = "another one goes on", body = ErrorBody),
    (status = "4XX", body = ErrorBody)))]
pub(super) async fn verify(
    State(state): State<ApiState>,
    caller: Caller,
    Body(body): Body<Verify>,
) -> Result<Response, ApiError> {
    let blobs = match body.blobs.as_deref() {
        None | Some("no") => Blobs::No,
        Some("sizes") => Blobs::Sizes,
        Some("content") => Blobs::Content,
        Some(_) => {
            return Err(ApiError::new(Code::InvalidArgument, "'blobs' must be no, sizes or content"));
        }
    };
    match &body.model {
        Some(model) if blobs == Blobs::No && !body.holds => caller.read(&state, Some(model))?,
        _ => caller.require(Role::Admin)?,
    }
    let model = body.model.as_deref().map(model_name).transpose()?;
    let options = VerifyOptions { model, anchors: body.anchors, blobs, holds: body.holds };
    let walk = state.control.registry()?.walk().ok_or_else(busy)?;
    let report = walk.verify(&options).await?;
    Ok(json(&Verified { ok: report.findings.is_empty(), report }))
}

pub(super) fn busy() -> ApiError {
    let message = "a verification, collection or change of keys goes on already: try again later";
    ApiError::new(Code::ResourceExhausted, message)
}

/// What may go.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Collect {
    /// Keep what is younger, and files of versions that were deleted more recently; `7d` when it is absent.
    #[serde(default)]
    grace: Option<String>,
    /// Only say what would go.
    #[serde(default)]
    dry_run: bool,
}

/// A file that is gone.
#[derive(Debug, Serialize, ToSchema)]
struct Freed {
    sha256: String,
    size: u64,
}

/// What went.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Collected {
    /// Whether it would only go.
    dry_run: bool,
    /// Files that are gone.
    freed: Vec<Freed>,
    /// Their bytes.
    freed_bytes: u64,
    /// Files that something names.
    live: u64,
    /// Files that nothing names, and which are too young to go.
    young: u64,
    /// Files that were about to go when something named them after all.
    rescued: u64,
    /// Notes of collections that died, which were removed.
    stale_intents: u64,
    /// Files that were never finished, which were removed.
    staging: u64,
}

/// Delete files that nobody needs any more
#[utoipa::path(post, path = "/api/v1/registry/gc", tag = "server", request_body = Collect,
    responses((status = 200, body = Collected), (status = 429, description = "another one goes on", body = ErrorBody),
    (status = "4XX", body = ErrorBody)))]
pub(super) async fn gc(
    State(state): State<ApiState>,
    caller: Caller,
    Body(body): Body<Collect>,
) -> Result<Response, ApiError> {
    caller.require(Role::Admin)?;
    let grace = body.grace.as_deref().map_or(Ok(GRACE), parse_age);
    let grace =
        grace.map_err(|problem| ApiError::new(Code::InvalidArgument, format!("'grace': {problem}")))?;
    let options = GcOptions { grace, dry_run: body.dry_run };
    let report = state.control.registry()?.walk().ok_or_else(busy)?.collect(&options).await?;
    Ok(json(&Collected {
        dry_run: options.dry_run,
        freed_bytes: report.freed_bytes(),
        freed: report.freed.into_iter().map(|(sha256, size)| Freed { sha256, size }).collect(),
        live: report.live,
        young: report.young,
        rescued: report.rescued,
        stale_intents: report.stale_intents,
        staging: report.staging,
    }))
}
