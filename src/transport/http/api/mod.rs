//! `/api/v1`: the registry over HTTP, described by OpenAPI.
//!
//! Every route is a thin twin of a command: it finds out who asks, reads a small JSON body, and hands a plan of
//! `registry::ops` to the control plane. The document at `/api/v1/openapi.json` is made from the same handlers that
//! answer, so it cannot describe a route that is not there.
//!
//! Nothing here knows how a log is written or what a model is.

mod baseline;
mod caller;
mod change;
mod deployment;
pub(super) mod events;
mod failure;
mod feedback;
mod files;
mod find;
mod history;
mod keys;
mod monitoring;
mod package;
mod performance;
mod read;
mod register;
mod webhooks;
mod wire;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use tokio::sync::Semaphore;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::caller::{Caller, json_reply};
use self::failure::ApiError;
use crate::access::Access;
use crate::control::ControlPlane;

/// Where the API begins.
const ROOT: &str = "/api/";

/// Whether a request with this path is the router's. Streams of events are the door's own.
pub(super) fn is_for(path: &str) -> bool {
    path.starts_with(ROOT) && path != events::PATH
}

/// Largest JSON body of a request to the API, in bytes. Packages have limits of their own.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What the routes need.
#[derive(Debug, Clone)]
pub(super) struct ApiState {
    pub(super) control: Arc<ControlPlane>,
    pub(super) access: Arc<Access>,
    /// Room for files that are sent.
    downloads: Arc<Semaphore>,
}

impl ApiState {
    pub(super) fn new(control: Arc<ControlPlane>, access: Arc<Access>) -> ApiState {
        ApiState { control, access, downloads: Arc::new(Semaphore::new(files::DOWNLOADS_MAX)) }
    }
}

/// The parts of the document that belong to no route.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Weir's registry API",
        description = "Models, versions, aliases, deployments, history and events. Changes answer with the revision that they made; \
                       `If-Match: \"<revision>\"` refuses a change when the model has moved on. Errors are \
                       `{\"error\": text, \"code\": word}`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(events::describe, files::file),
    tags(
        (name = "models", description = "What is registered"),
        (name = "changes", description = "Tags, aliases, descriptions, deletion, approval"),
        (name = "deployments", description = "What is served"),
        (name = "history", description = "The log, and what follows from it"),
        (name = "monitoring", description = "What models were sent and answered, and what turned out to be true"),
        (name = "server", description = "This server and its registry"),
    )
)]
struct Base;

/// The routes and their description.
fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(read::registry))
        .routes(routes!(keys::list, keys::add))
        .routes(routes!(keys::accept))
        .routes(routes!(keys::revoke))
        .routes(routes!(read::replicas))
        .routes(routes!(read::refresh))
        .routes(routes!(history::anchors))
        .routes(routes!(history::verify))
        .routes(routes!(history::gc))
        .routes(routes!(find::search))
        .routes(routes!(find::models))
        .routes(routes!(read::model, change::describe_model, change::delete_model))
        .routes(routes!(read::revisions))
        .routes(routes!(history::audit))
        .routes(routes!(register::register))
        .routes(routes!(read::version, change::describe_version, change::delete_version))
        .routes(routes!(files::files))
        .routes(routes!(package::package))
        // Described in `Base`: the document has no word for a name with slashes.
        .route(files::FILE_PATH, get(files::file))
        .routes(routes!(history::lineage))
        .routes(routes!(change::undelete_model))
        .routes(routes!(change::undelete_version))
        .routes(routes!(change::tag_model))
        .routes(routes!(change::tag_version))
        .routes(routes!(change::set_alias, change::unset_alias))
        .routes(routes!(change::policy))
        .routes(routes!(change::approve, change::withdraw))
        .routes(routes!(deployment::show, deployment::deploy, deployment::undeploy))
        .routes(routes!(deployment::traffic))
        .routes(routes!(deployment::rollback))
        .routes(routes!(deployment::clone))
        .routes(routes!(deployment::diff))
        .routes(routes!(monitoring::drift))
        .routes(routes!(baseline::show, baseline::set, baseline::unset))
        .routes(routes!(monitoring::learn))
        .routes(routes!(monitoring::capture, monitoring::set_capture, monitoring::reset_capture))
        .routes(routes!(feedback::send))
        .routes(routes!(performance::show))
        .routes(routes!(webhooks::list))
        .routes(routes!(webhooks::set, webhooks::unset))
        .routes(routes!(webhooks::dead))
        .routes(routes!(webhooks::retry))
        .routes(routes!(openapi))
}

/// The OpenAPI document, as JSON text that ends with a line end.
pub fn document() -> String {
    let mut document: Document = routes().split_for_parts().1;
    document.info.version = "1".to_owned();
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// The router that answers below [`ROOT`].
pub(super) fn router(state: ApiState) -> Router {
    let (router, _) = routes().split_for_parts();
    router.fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(state)
}

async fn unknown() -> ApiError {
    ApiError::not_found("there is nothing at this address")
}

async fn wrong_method() -> ApiError {
    ApiError::method_not_allowed()
}

/// This document
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "server", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn openapi(State(state): State<ApiState>, caller: Caller) -> Result<Response, ApiError> {
    caller.read(&state, None)?;
    Ok(json_reply(document()))
}
