//! Changes of what is registered: descriptions, tags, aliases, policy, approval, deletion.

use axum::extract::{Path, State};
use axum::response::Response;
use uuid::Uuid;

use super::ApiState;
use super::caller::{Body, Caller, json_at, model_name};
use super::failure::{ApiError, ErrorBody};
use super::wire::{Changed, DescribeModel, DescribeVersion, Policy, Reasoned, SetAlias, Tags};
use crate::access::Role;
use crate::error::Code;
use crate::model::Version;
use crate::registry::ops::{alias, annotate, approval, delete};
use crate::registry::{Intent, ModelState, Op, Refusal};

/// Makes a change of `model` and answers with it.
pub(super) async fn make<P>(
    state: &ApiState,
    model: &str,
    intent: &Intent,
    plan: P,
) -> Result<Response, ApiError>
where
    P: Fn(&ModelState) -> Result<Vec<Op>, Refusal> + Send + Sync,
{
    let name = model_name(model)?;
    let change = state.control.registry()?.change(&name, intent, plan).await?;
    Ok(json_at(change.rev, &Changed::new(model, &change)))
}

/// A number from the address: aliases move, so they name nothing that is to be deleted.
fn number(text: &str) -> Result<Version, ApiError> {
    text.parse().map_err(|_| ApiError::new(Code::InvalidArgument, "name the version by its number"))
}

/// Change a model's description
#[utoipa::path(patch, path = "/api/v1/models/{model}", tag = "changes", request_body = DescribeModel,
    params(("model" = String, Path)), responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn describe_model(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
    Body(body): Body<DescribeModel>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Publisher, &model, body.reason)?;
    let plan = |s: &ModelState| annotate::describe(s, "", Some(&body.description), &Default::default());
    make(&state, &model, &intent, plan).await
}

/// Add metrics and properties to a version, or change its description
#[utoipa::path(patch, path = "/api/v1/models/{model}/versions/{version}", tag = "changes",
    request_body = DescribeVersion, params(("model" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn describe_version(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, version)): Path<(String, String)>,
    Body(body): Body<DescribeVersion>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Publisher, &model, body.reason)?;
    let plan = |s: &ModelState| {
        let mut ops = annotate::describe(s, &version, body.description.as_deref(), &body.metrics)?;
        ops.extend(annotate::properties(s, &version, &body.properties)?);
        Ok(ops)
    };
    make(&state, &model, &intent, plan).await
}

/// Set and remove tags of a model
#[utoipa::path(post, path = "/api/v1/models/{model}/tags", tag = "changes", request_body = Tags,
    params(("model" = String, Path)), responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn tag_model(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
    Body(body): Body<Tags>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Publisher, &model, body.reason)?;
    make(&state, &model, &intent, |s| annotate::tag(s, "", &body.set, &body.unset)).await
}

/// Set and remove tags of a version
#[utoipa::path(post, path = "/api/v1/models/{model}/versions/{version}/tags", tag = "changes", request_body = Tags,
    params(("model" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn tag_version(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, version)): Path<(String, String)>,
    Body(body): Body<Tags>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Publisher, &model, body.reason)?;
    make(&state, &model, &intent, |s| annotate::tag(s, &version, &body.set, &body.unset)).await
}

/// Point an alias at a version
#[utoipa::path(put, path = "/api/v1/models/{model}/aliases/{alias}", tag = "changes", request_body = SetAlias,
    params(("model" = String, Path), ("alias" = String, Path)),
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn set_alias(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, name)): Path<(String, String)>,
    Body(body): Body<SetAlias>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Promoter, &model, body.reason)?;
    let version = body.version.into_text();
    make(&state, &model, &intent, |s| alias::set(s, &name, &version)).await
}

/// Remove an alias
#[utoipa::path(delete, path = "/api/v1/models/{model}/aliases/{alias}", tag = "changes", request_body = Reasoned,
    params(("model" = String, Path), ("alias" = String, Path)),
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn unset_alias(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, name)): Path<(String, String)>,
    Body(body): Body<Reasoned>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Promoter, &model, body.reason)?;
    make(&state, &model, &intent, |s| alias::unset(s, &name)).await
}

/// Ask for a second person, or no longer
#[utoipa::path(put, path = "/api/v1/models/{model}/policy", tag = "changes", request_body = Policy,
    params(("model" = String, Path)), responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn policy(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
    Body(body): Body<Policy>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Admin, &model, body.reason)?;
    make(&state, &model, &intent, |s| approval::policy(s, body.approvals)).await
}

/// Approve a proposal of another person and carry it out
#[utoipa::path(post, path = "/api/v1/models/{model}/proposals/{proposal}", tag = "changes", request_body = Reasoned,
    params(("model" = String, Path), ("proposal" = String, Path)),
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn approve(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, proposal)): Path<(String, String)>,
    Body(body): Body<Reasoned>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Promoter, &model, body.reason)?;
    let proposal = proposal_id(&proposal)?;
    let actor = intent.actor.clone();
    make(&state, &model, &intent, |s| approval::approve(s, &actor, proposal)).await
}

/// Withdraw a proposal
#[utoipa::path(delete, path = "/api/v1/models/{model}/proposals/{proposal}", tag = "changes", request_body = Reasoned,
    params(("model" = String, Path), ("proposal" = String, Path)),
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn withdraw(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, proposal)): Path<(String, String)>,
    Body(body): Body<Reasoned>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Promoter, &model, body.reason)?;
    let proposal = proposal_id(&proposal)?;
    make(&state, &model, &intent, |s| approval::withdraw(s, proposal)).await
}

fn proposal_id(text: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|_| ApiError::not_found("there is no such proposal"))
}

/// Delete a model that nobody uses
#[utoipa::path(delete, path = "/api/v1/models/{model}", tag = "changes", request_body = Reasoned,
    params(("model" = String, Path)), responses((status = 200, body = Changed),
    (status = 409, description = "it is in use; `holders` says by whom", body = ErrorBody)))]
pub(super) async fn delete_model(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
    Body(body): Body<Reasoned>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Admin, &model, body.reason)?;
    make(&state, &model, &intent, delete::model).await
}

/// Delete a version that nobody uses
#[utoipa::path(delete, path = "/api/v1/models/{model}/versions/{version}", tag = "changes", request_body = Reasoned,
    params(("model" = String, Path), ("version" = u64, Path)), responses((status = 200, body = Changed),
    (status = 409, description = "it is in use; `holders` says by whom", body = ErrorBody)))]
pub(super) async fn delete_version(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, version)): Path<(String, String)>,
    Body(body): Body<Reasoned>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Admin, &model, body.reason)?;
    let version = number(&version)?;
    make(&state, &model, &intent, |s| delete::version(s, version)).await
}

/// Take the deletion of a model back
#[utoipa::path(post, path = "/api/v1/models/{model}/undelete", tag = "changes", request_body = Reasoned,
    params(("model" = String, Path)), responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn undelete_model(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
    Body(body): Body<Reasoned>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Admin, &model, body.reason)?;
    make(&state, &model, &intent, delete::undelete_model).await
}

/// Take the deletion of a version back
#[utoipa::path(post, path = "/api/v1/models/{model}/versions/{version}/undelete", tag = "changes",
    request_body = Reasoned, params(("model" = String, Path), ("version" = u64, Path)),
    responses((status = 200, body = Changed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn undelete_version(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, version)): Path<(String, String)>,
    Body(body): Body<Reasoned>,
) -> Result<Response, ApiError> {
    let intent = caller.intent(Role::Admin, &model, body.reason)?;
    let version = number(&version)?;
    make(&state, &model, &intent, |s| delete::undelete_version(s, version)).await
}
