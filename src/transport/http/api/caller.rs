//! Who asks and what they send: identity, `If-Match`, the request's id, and a JSON body of bounded size with no unknown
//! members. And the JSON of answers.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::ApiError;
use super::{ApiState, BODY_BYTES_MAX};
use crate::access::{Identity, Peer, Role};
use crate::error::Code;
use crate::model::ModelName;
use crate::registry::{Actor, Intent};

/// Longest request id that is kept.
const REQUEST_ID_LEN_MAX: usize = 128;

/// Who sent a request, as its headers and peer tell.
#[derive(Debug)]
pub(super) struct Caller {
    who: Identity,
    request_id: String,
    if_match: Result<Option<u64>, ApiError>,
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Caller, ApiError> {
        let peer = parts.extensions.get::<Arc<Peer>>().cloned();
        let peer = peer.ok_or_else(|| ApiError::new(Code::Internal, "internal error"))?;
        let who = state.access.authenticate(&parts.headers, &peer)?;
        let request_id =
            parts.headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let request_id = match request_id.len() {
            0..=REQUEST_ID_LEN_MAX => request_id.to_owned(),
            _ => String::new(),
        };
        Ok(Caller { who, request_id, if_match: if_match(&parts.headers) })
    }
}

/// `If-Match: "<revision>"`, or `*`, which is no condition here: a model without revisions has nothing to change.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let refuse =
        || ApiError::new(Code::InvalidArgument, "If-Match must be a revision, as in If-Match: \"12\"");
    digits.parse().map(Some).map_err(|_| refuse())
}

impl Caller {
    /// Whether reading `model` (`None`: something about no model) is allowed.
    pub(super) fn read(&self, state: &ApiState, model: Option<&str>) -> Result<(), ApiError> {
        if state.access.asks_all() {
            self.who.require(Role::Reader, model)?;
        }
        Ok(())
    }

    /// Whether `model` may be shown in a list.
    pub(super) fn sees(&self, state: &ApiState, model: &str) -> bool {
        !state.access.asks_all() || self.who.allows(Role::Reader, Some(model))
    }

    /// Who changes `model` as `role`, why and on what condition.
    pub(super) fn intent(self, role: Role, model: &str, reason: String) -> Result<Intent, ApiError> {
        self.who.require(role, Some(model))?;
        Ok(Intent { actor: self.actor(), reason, request_id: self.request_id, if_match: self.if_match? })
    }

    /// Who changes something of the whole registry as `role`, and why.
    pub(super) fn intent_for_all(self, role: Role, reason: String) -> Result<Intent, ApiError> {
        self.require(role)?;
        Ok(Intent { actor: self.actor(), reason, request_id: self.request_id, if_match: None })
    }

    /// Whether this server may be told by the caller how to treat `model`.
    pub(super) fn require_for(&self, role: Role, model: &str) -> Result<(), ApiError> {
        Ok(self.who.require(role, Some(model))?)
    }

    /// Who it is, as logs have it.
    pub(super) fn actor(&self) -> Actor {
        Actor { sub: self.who.subject().to_owned(), method: self.who.method().as_str().to_owned() }
    }

    /// Who it is, for the log.
    pub(super) fn subject(&self) -> &str {
        self.who.subject()
    }

    /// Who registers a version of `model`, which was made from versions of `parents`. What it is made from must be known to
    /// the caller, and an alias takes what an alias takes.
    pub(super) fn registers<'a>(
        self,
        model: &str,
        sets_alias: bool,
        parents: impl Iterator<Item = &'a str>,
        reason: String,
    ) -> Result<Intent, ApiError> {
        for parent in parents {
            self.who.require(Role::Reader, Some(parent))?;
        }
        let role = if sets_alias { Role::Promoter } else { Role::Publisher };
        self.intent(role, model, reason)
    }

    /// Who asks, for operations that decide by themselves who may.
    pub(super) fn who(&self) -> &Identity {
        &self.who
    }

    /// Who asks something of the server itself.
    pub(super) fn require(&self, role: Role) -> Result<(), ApiError> {
        Ok(self.who.require(role, None)?)
    }
}

/// A model's name from the address.
pub(super) fn model_name(text: &str) -> Result<ModelName, ApiError> {
    let shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    text.parse().map_err(|_| ApiError::not_found(&format!("there is no model '{shown}'")))
}

/// All of a body that has at most `max` bytes.
pub(super) async fn read_body(request: Request, max: usize) -> Result<Bytes, ApiError> {
    match Limited::new(request.into_body(), max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(ApiError::new(Code::TooLarge, format!("the body is larger than {max} bytes")))
        }
        Err(_) => Err(ApiError::new(Code::Cancelled, "the body did not arrive")),
    }
}

/// A JSON body. An empty one is `{}`.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<ApiState> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &ApiState) -> Result<Body<T>, ApiError> {
        let bytes = read_body(request, BODY_BYTES_MAX).await?;
        let text: &[u8] = if bytes.trim_ascii().is_empty() { b"{}" } else { &bytes };
        let invalid =
            |error: serde_json::Error| ApiError::new(Code::InvalidArgument, format!("the body: {error}"));
        serde_json::from_slice(text).map(Body).map_err(invalid)
    }
}

/// An answer of JSON text.
pub(super) fn json_reply(text: impl IntoResponse) -> Response {
    let mut response = text.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer of `value`.
pub(super) fn json<T: Serialize>(value: &T) -> Response {
    json_reply(serde_json::to_vec(value).unwrap_or_default())
}

/// An answer about a model at `revision`, which is its entity tag.
pub(super) fn json_at<T: Serialize>(revision: u64, value: &T) -> Response {
    let mut response = json(value);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
