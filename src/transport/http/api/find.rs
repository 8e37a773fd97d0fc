//! Search: versions and models by what is said of them.

use axum::extract::{Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::caller::{Caller, json};
use super::failure::{ApiError, ErrorBody};
use crate::error::Code;
use crate::registry::Refusal;
use crate::registry::search::{LIMIT, Order, Page, QUERY_LEN_MAX, Search, What, parse};
use crate::registry::view::{ModelSummary, VersionView};

/// What is asked.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// For example `tags.area = 'qna' AND metric.auc >= 0.9`; everything without it.
    #[serde(default)]
    q: String,
    /// `versions`, or `models` for each model of which a version fits.
    #[serde(default)]
    what: Option<String>,
    /// `name`, `version`, `created`, `updated`, `opset` or `metric.NAME`, with ` desc` for descending.
    #[serde(default)]
    order_by: Option<String>,
    /// Results of a page; at most 1000, and 50 when it is absent.
    #[serde(default)]
    limit: Option<usize>,
    /// `next_page_token` of the page before.
    #[serde(default)]
    page_token: Option<String>,
}

/// Versions that fit.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Found {
    /// In the order that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    versions: Option<Vec<VersionView>>,
    /// Instead of versions, where models were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    models: Option<Vec<ModelSummary>>,
    /// Names the next page; null at the end.
    next_page_token: Option<String>,
}

/// Find versions, or models, by names, tags, metrics, aliases, times and lineage
#[utoipa::path(get, path = "/api/v1/search", tag = "models", params(Asked),
    responses((status = 200, body = Found), (status = "4XX", body = ErrorBody)))]
pub(super) async fn search(
    State(state): State<ApiState>,
    caller: Caller,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(asked) = asked.map_err(ApiError::of_query)?;
    if asked.q.len() > QUERY_LEN_MAX {
        return Err(ApiError::new(Code::InvalidArgument, "the query is too long"));
    }
    let what = match asked.what.as_deref() {
        None | Some("versions") => What::Versions,
        Some("models") => What::Models,
        Some(_) => return Err(ApiError::new(Code::InvalidArgument, "'what' must be versions or models")),
    };
    list(&state, &caller, &asked, what).await
}

/// List the models
#[utoipa::path(get, path = "/api/v1/models", tag = "models", params(Listed),
    responses((status = 200, body = Found), (status = "4XX", body = ErrorBody)))]
pub(super) async fn models(
    State(state): State<ApiState>,
    caller: Caller,
    listed: Result<Query<Listed>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(Listed { limit, page_token }) = listed.map_err(ApiError::of_query)?;
    let asked = Asked { q: String::new(), what: None, order_by: None, limit, page_token };
    list(&state, &caller, &asked, What::Models).await
}

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listed {
    /// Results of a page; at most 1000, and 50 when it is absent.
    #[serde(default)]
    limit: Option<usize>,
    /// `next_page_token` of the page before.
    #[serde(default)]
    page_token: Option<String>,
}

async fn list(state: &ApiState, caller: &Caller, asked: &Asked, what: What) -> Result<Response, ApiError> {
    let query = parse(&asked.q).map_err(Refusal::from)?;
    let order: Order = asked.order_by.as_deref().unwrap_or("name").parse()?;
    caller.read(state, None)?;
    let sees = |model: &crate::model::ModelName| caller.sees(state, model);
    let search = Search {
        query: &query,
        what,
        order: &order,
        limit: asked.limit.unwrap_or(LIMIT),
        token: asked.page_token.as_deref(),
        sees: &sees,
    };
    let (page, states) = state.control.registry()?.search(&search).await?;
    Ok(json(&found(&page, &states, what)))
}

fn found(page: &Page, states: &[std::sync::Arc<crate::registry::ModelState>], what: What) -> Found {
    let both = || page.found.iter().zip(states);
    let next_page_token = page.next.clone();
    match what {
        What::Models => {
            let models = both().map(|(_, state)| ModelSummary::new(state)).collect();
            Found { models: Some(models), next_page_token, ..Found::default() }
        }
        What::Versions => {
            let version = |(key, state): (&crate::registry::search::Key, &std::sync::Arc<_>)| {
                VersionView::find(state, key.version?)
            };
            let versions = both().filter_map(version).collect();
            Found { versions: Some(versions), next_page_token, ..Found::default() }
        }
    }
}
