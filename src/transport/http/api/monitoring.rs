//! What is known of traffic: drift against the baseline, and how it is captured.

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::caller::{Body, Caller, json};
use super::failure::{ApiError, ErrorBody};
use crate::access::Role;
use crate::control::monitoring::{MonitoringError, ReportQuery, render};
use crate::error::Code;
use crate::model::monitoring::{CaptureConfig, CaptureMode, Privacy};
use crate::protocol::status::Failure;

/// Most rows that a baseline is learned from.
const LEARN_ROWS_MAX: usize = 10_000_000;

impl From<MonitoringError> for ApiError {
    fn from(error: MonitoringError) -> ApiError {
        ApiError::from(Failure::from(&error))
    }
}

/// Which report.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct DriftQuery {
    /// A version or an alias; the one that most requests go to when it is absent.
    #[serde(default)]
    version: String,
    /// `pane`, `1h`, `24h` or `deploy`; the longest of at most a day when it is absent.
    #[serde(default)]
    window: String,
    /// Whether the requests that a traffic split sent to a canary are meant.
    #[serde(default)]
    canary: bool,
    /// `json`, `text` or `html`; `json` when it is absent.
    #[serde(default)]
    format: String,
}

/// Compare what a version is sent and answers with its baseline
///
/// Every feature with all measures, both histograms and the verdict. The same shape as `weir drift --json`.
#[utoipa::path(get, path = "/api/v1/models/{model}/drift", tag = "monitoring", params(("model" = String, Path), DriftQuery),
    responses((status = 200, body = Object), (status = "4XX", body = ErrorBody)))]
pub(super) async fn drift(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
    Query(query): Query<DriftQuery>,
) -> Result<Response, ApiError> {
    caller.read(&state, Some(&model))?;
    let id = state.control.served(&model, &query.version)?;
    let asked = ReportQuery { window: &query.window, is_canary: query.canary };
    let report = state.control.monitoring()?.drift(&id, asked)?;
    let (content_type, text) = match &*query.format {
        "" | "json" => return Ok(json(&render::json(&report))),
        "text" => ("text/plain; charset=utf-8", render::text(&report)),
        "html" => ("text/html; charset=utf-8", render::html(&report)),
        _ => return Err(ApiError::new(Code::InvalidArgument, "'format' must be json, text or html")),
    };
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A page holds values that clients sent: it may show itself and do nothing.
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// How many rows to learn from.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Learn {
    /// Rows of traffic that become the baseline.
    rows: usize,
}

/// Make a version's baseline of its next rows
///
/// For versions whose training data is not at hand. Until the rows have come the version has no baseline. The baseline is kept
/// by this server.
#[utoipa::path(post, path = "/api/v1/models/{model}/versions/{version}/baseline/learn", tag = "monitoring",
    params(("model" = String, Path), ("version" = String, Path)), request_body = Learn,
    responses((status = 202), (status = "4XX", body = ErrorBody)))]
pub(super) async fn learn(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, version)): Path<(String, String)>,
    Body(learn): Body<Learn>,
) -> Result<StatusCode, ApiError> {
    caller.require_for(Role::Publisher, &model)?;
    if !(1..=LEARN_ROWS_MAX).contains(&learn.rows) {
        let reason = format!("\"rows\" is 1 to {LEARN_ROWS_MAX}");
        return Err(ApiError::new(Code::InvalidArgument, reason));
    }
    let id = state.control.served(&model, &version)?;
    state.control.monitoring()?.learn(&id, learn.rows)?;
    Ok(StatusCode::ACCEPTED)
}

/// How a model is captured.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CaptureView {
    /// The promise, by version: `off`, `best_effort`, `durable` or `audit`.
    #[schema(value_type = Object)]
    modes: std::collections::BTreeMap<String, &'static str>,
    /// Rows that were to be written.
    accepted: u64,
    /// Rows that were.
    written: u64,
    /// Rows that were not, by reason.
    #[schema(value_type = Object)]
    dropped: std::collections::BTreeMap<String, u64>,
    /// Requests of all models that wait to be written.
    queue: usize,
    /// Age in seconds of the oldest row, of all models, that is not in the store yet.
    lag_s: f64,
    /// What went wrong last, of all models.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

/// Show how a model is captured, and what became of its rows
#[utoipa::path(get, path = "/api/v1/models/{model}/capture", tag = "monitoring", params(("model" = String, Path)),
    responses((status = 200, body = CaptureView), (status = "4XX", body = ErrorBody)))]
pub(super) async fn capture(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
) -> Result<Response, ApiError> {
    caller.read(&state, Some(&model))?;
    let mut status = state.control.monitoring()?.captured();
    let found = status.models.remove(&model).unwrap_or_default();
    Ok(json(&CaptureView {
        modes: found.modes.iter().map(|(version, mode)| (version.to_string(), mode.as_str())).collect(),
        accepted: found.accepted,
        written: found.written,
        dropped: found.dropped,
        queue: status.queue,
        lag_s: status.lag.as_secs_f64(),
        last_error: status.last_error,
    }))
}

/// How a model is to be captured. What is absent is as the version has it, else as the server has it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CaptureChange {
    /// `off`, `best_effort`, `durable` or `audit`.
    #[serde(default)]
    mode: Option<String>,
    /// The share of requests, 0 to 1.
    #[serde(default)]
    rate: Option<f64>,
    /// Requests that took longer, in milliseconds, are always written.
    #[serde(default)]
    slow_ms: Option<u64>,
    /// Answers whose two best scores are closer are always written.
    #[serde(default)]
    low_margin: Option<f64>,
    /// So many requests after a load are always written.
    #[serde(default)]
    first: Option<u64>,
    /// What is done to a feature's values first: `keep`, `drop`, `hmac`, `bucket:5`, ... What the version itself says of a
    /// feature can only be made stricter: `drop` or `hmac`.
    #[serde(default)]
    #[schema(value_type = Object)]
    privacy: std::collections::BTreeMap<String, String>,
}

impl CaptureChange {
    fn config(self) -> Result<CaptureConfig, ApiError> {
        let wrong = |reason: String| ApiError::new(Code::InvalidArgument, reason);
        let mode = self.mode.map(|word| {
            let at = CaptureMode::WORDS.iter().position(|known| *known == word);
            at.and_then(|at| CaptureMode::ALL.get(at)).copied()
        });
        if mode == Some(None) {
            return Err(wrong(format!("\"mode\" is one of {}", CaptureMode::WORDS.join(", "))));
        }
        if self.low_margin.is_some_and(|margin| !margin.is_finite() || margin < 0.0) {
            return Err(wrong("\"low_margin\" is a number of at least 0".to_owned()));
        }
        let policy = |(feature, text): (String, String)| {
            let policy = text.parse::<Privacy>().map_err(|error| wrong(format!("\"{feature}\": {error}")))?;
            Ok((feature, policy))
        };
        Ok(CaptureConfig {
            mode: mode.flatten(),
            rate: self.rate,
            slow: self.slow_ms.map(Duration::from_millis),
            low_margin: self.low_margin,
            first: self.first,
            privacy: self.privacy.into_iter().map(policy).collect::<Result<_, ApiError>>()?,
            attributes: Vec::new(),
        })
    }
}

/// Capture a model in another way, from now on, on this server
///
/// Holds until the server ends or it is changed again; what should last belongs into `model.toml`.
#[utoipa::path(put, path = "/api/v1/models/{model}/capture", tag = "monitoring", params(("model" = String, Path)),
    request_body = CaptureChange, responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn set_capture(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
    Body(change): Body<CaptureChange>,
) -> Result<StatusCode, ApiError> {
    caller.require_for(Role::Promoter, &model)?;
    let model = state.control.served(&model, "")?.name;
    tracing::info!(model = %model, by = caller.subject(), change = ?change, "captured in another way from now on");
    state.control.monitoring()?.configure(&model, Some(change.config()?))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Capture a model as its files and the server's settings say
#[utoipa::path(delete, path = "/api/v1/models/{model}/capture", tag = "monitoring", params(("model" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn reset_capture(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
) -> Result<StatusCode, ApiError> {
    caller.require_for(Role::Promoter, &model)?;
    let model = state.control.served(&model, "")?.name;
    tracing::info!(model = %model, by = caller.subject(), "captured as configured from now on");
    state.control.monitoring()?.configure(&model, None)?;
    Ok(StatusCode::NO_CONTENT)
}
