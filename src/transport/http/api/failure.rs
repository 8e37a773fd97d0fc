//! Failures of the API as clients see them: `{"error": text, "code": word}`, with who holds what is in use and the
//! revision that a stale caller has missed.

use axum::extract::rejection::QueryRejection;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::AuthError;
use crate::control::ControlError;
use crate::control::images::ImageError;
use crate::control::intake::IntakeError;
use crate::control::register::RegisterError;
use crate::error::{Code, Coded};
use crate::protocol::status::{Failure, http_status};
use crate::registry::{Refusal, RegistryError};

/// What is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// In words.
    error: String,
    /// In one word, for programs: `not_found`, `conflict`, `stale`, …
    code: &'static str,
    /// Who uses what was to be deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    holders: Vec<String>,
    /// The model's revision, when the caller had seen an older one; the one that says why a model is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
}

/// A failure on its way to the client.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    retry_after: Option<u64>,
    body: ErrorBody,
}

impl ApiError {
    pub(super) fn new(code: Code, message: impl Into<String>) -> ApiError {
        ApiError::from(Failure::new(code, message))
    }

    pub(super) fn not_found(message: &str) -> ApiError {
        ApiError::new(Code::NotFound, message)
    }

    /// A query string that cannot be read.
    pub(super) fn of_query(rejection: QueryRejection) -> ApiError {
        ApiError::new(Code::InvalidArgument, rejection.body_text())
    }

    pub(super) fn method_not_allowed() -> ApiError {
        let failure = ApiError::new(Code::Unimplemented, "this address does not take this method");
        ApiError { status: StatusCode::METHOD_NOT_ALLOWED, ..failure }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> ApiError {
        ApiError {
            status: http_status(failure.code),
            retry_after: failure.retry_after_seconds(),
            body: ErrorBody {
                code: failure.code.as_str(),
                error: failure.message,
                holders: Vec::new(),
                revision: None,
            },
        }
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> ApiError {
        if let RegistryError::Store(source) = &error {
            tracing::warn!(error = %source, "the registry's store failed");
        }
        let mut failure = ApiError::from(Failure::from(&error));
        match error {
            RegistryError::Refused(Refusal::InUse { holders, .. }) => failure.body.holders = holders,
            RegistryError::Refused(Refusal::Stale { current, .. }) => failure.body.revision = Some(current),
            _ => {}
        }
        failure
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> ApiError {
        match error {
            IntakeError::Register(RegisterError::Registry(error)) => error.into(),
            IntakeError::Register(RegisterError::Rejected { reason, rev }) => {
                let mut failure =
                    ApiError::new(Code::InvalidArgument, format!("the model is refused: {reason}"));
                failure.body.code = "rejected";
                failure.body.revision = rev;
                failure
            }
            error => {
                if error.code() == Code::Internal {
                    tracing::warn!(%error, "a package was not registered");
                }
                ApiError::from(Failure::from(&error))
            }
        }
    }
}

impl From<ImageError> for ApiError {
    fn from(error: ImageError) -> ApiError {
        if error.code() == Code::Internal {
            tracing::warn!(%error, "a package was not sent");
        }
        ApiError::from(Failure::from(&error))
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> ApiError {
        ApiError::from(Failure::from(&error))
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        ApiError::from(RegistryError::from(refusal))
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> ApiError {
        ApiError::from(Failure::from(&error))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let text = serde_json::to_vec(&self.body).unwrap_or_default();
        let mut response = (self.status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
