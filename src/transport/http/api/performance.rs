//! Realised performance over HTTP.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::Utc;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiState;
use super::caller::{Caller, json, model_name};
use super::failure::{ApiError, ErrorBody};
use crate::control::performance::{Asked, time};
use crate::error::Code;

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    /// From when: `2026-01-31`, `2026-01-31T12:00:00Z`, or `-30d`, which it is when absent.
    #[serde(default)]
    from: Option<String>,
    /// Until when; now when absent.
    #[serde(default)]
    to: Option<String>,
    /// A version by its number; all when absent.
    #[serde(default)]
    version: Option<u64>,
    /// The output that is the prediction; found when absent.
    #[serde(default)]
    prediction: Option<String>,
}

/// Show how good the answers were, by version and day
///
/// Joins captured rows with the labels that came since. Accuracy has a 95 % interval; what cannot be told is absent.
#[utoipa::path(get, path = "/api/v1/models/{model}/performance", tag = "monitoring",
    params(("model" = String, Path), Window), responses((status = 200, body = Object), (status = "4XX", body = ErrorBody)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
    Query(window): Query<Window>,
) -> Result<Response, ApiError> {
    caller.read(&state, Some(&model))?;
    let now = Utc::now();
    let read = |text: Option<&str>, default: &str, what: &str| match text {
        None if default.is_empty() => Ok(now.timestamp_micros()),
        text => time(text.unwrap_or(default), now)
            .map_err(|reason| ApiError::new(Code::InvalidArgument, format!("{what}: {reason}"))),
    };
    let from_us = read(window.from.as_deref(), "-30d", "from")?;
    let to_us = read(window.to.as_deref(), "", "to")?;
    let mut asked = Asked::new(model_name(&model)?, from_us, to_us);
    asked.query.versions.extend(window.version);
    asked.prediction = window.prediction;
    Ok(json(&state.control.performance(asked).await?))
}
