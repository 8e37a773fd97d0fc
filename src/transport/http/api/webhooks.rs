//! Webhooks: who is sent events. Secrets are named, never sent: the server that delivers knows them.

use axum::extract::{Path, State};
use axum::response::Response;
use chrono::Utc;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::caller::{Body, Caller, json};
use super::failure::{ApiError, ErrorBody};
use crate::access::Role;
use crate::control::webhooks::admin::{self, Existing};
use crate::registry::webhook::{self, Filter, Subscription};

/// What a webhook wants.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookBody {
    /// Where events are posted.
    url: String,
    /// Which events: `types`, `subject`, `tags`; all without it.
    #[serde(default)]
    #[schema(value_type = Object)]
    filter: Filter,
    /// Names of the secrets that sign, two while one is changed.
    #[serde(default)]
    secrets: Vec<String>,
    /// Whether the receiver must first agree.
    #[serde(default)]
    handshake: bool,
    /// Whether a new webhook begins with the first events of all models.
    #[serde(default)]
    from_beginning: bool,
}

/// A webhook and the number of the change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookChanged {
    name: String,
    number: u64,
}

/// Which dead letters are sent again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    /// Only the event with this id.
    id: Option<String>,
}

/// How many events will be sent again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Requested {
    requested: usize,
}

/// List the webhooks and how each gets on
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "history",
    responses((status = 200, body = Vec<Object>), (status = "4XX", body = ErrorBody)))]
pub(super) async fn list(State(state): State<ApiState>, caller: Caller) -> Result<Response, ApiError> {
    caller.require(Role::Admin)?;
    Ok(json(&admin::overview(state.control.registry()?.inner()).await?))
}

/// Send events to a URL, or change what a webhook wants
///
/// A webhook that is there goes on where it was.
#[utoipa::path(put, path = "/api/v1/webhooks/{name}", tag = "history", params(("name" = String, Path)),
    request_body = WebhookBody, responses((status = 200, body = WebhookChanged), (status = "4XX", body = ErrorBody)))]
pub(super) async fn set(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
    Body(body): Body<WebhookBody>,
) -> Result<Response, ApiError> {
    caller.require(Role::Admin)?;
    let subscription = Subscription {
        format: webhook::FORMAT,
        name: name.clone(),
        url: body.url,
        filter: body.filter,
        secrets: body.secrets,
        handshake: body.handshake,
        actor: caller.actor(),
        time: Utc::now(),
        stopped: None,
        removed: false,
    };
    let registry = state.control.registry()?.inner();
    let number = admin::subscribe(registry, &subscription, Existing::Replace, body.from_beginning).await?;
    Ok(json(&WebhookChanged { name, number }))
}

/// Send no more events to a webhook
#[utoipa::path(delete, path = "/api/v1/webhooks/{name}", tag = "history", params(("name" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn unset(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    caller.require(Role::Admin)?;
    admin::unsubscribe(state.control.registry()?.inner(), &name, caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the events that were given up
#[utoipa::path(get, path = "/api/v1/webhooks/{name}/dead", tag = "history", params(("name" = String, Path)),
    responses((status = 200, body = Vec<Object>), (status = "4XX", body = ErrorBody)))]
pub(super) async fn dead(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    caller.require(Role::Admin)?;
    let letters = admin::dead_letters(state.control.registry()?.inner(), &name).await?;
    Ok(json(&letters.iter().map(|(_, letter)| letter).collect::<Vec<_>>()))
}

/// Have events that were given up sent again
#[utoipa::path(post, path = "/api/v1/webhooks/{name}/dead/retry", tag = "history", params(("name" = String, Path)),
    request_body = Retry, responses((status = 202, body = Requested), (status = "4XX", body = ErrorBody)))]
pub(super) async fn retry(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
    Body(body): Body<Retry>,
) -> Result<Response, ApiError> {
    caller.require(Role::Admin)?;
    let registry = state.control.registry()?.inner();
    let requested = admin::retry(registry, &name, body.id.as_deref()).await?;
    let mut response = json(&Requested { requested });
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}
