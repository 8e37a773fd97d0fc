//! Why a request is not let in. The texts are for clients: they tell nothing that the client did not bring.

use std::time::Duration;

use super::identity::Role;
use crate::error::{Code, Coded};

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Credentials are needed and none were shown.
    #[error("this needs credentials: send an API key or a token in the header 'authorization: Bearer ...'")]
    Missing,
    /// The headers hold no credentials in a known form.
    #[error("the credentials cannot be read: {0}")]
    Malformed(&'static str),
    /// No such key, or a token that is not good.
    #[error("the credentials are not valid")]
    Invalid,
    /// They were good once.
    #[error("the credentials have expired")]
    Expired,
    /// Too many bad ones came from this address.
    #[error("too many requests with bad credentials came from this address")]
    Limited {
        /// When to try again.
        retry_after: Duration,
    },
    /// Nothing is configured that could be shown, and the request does not come from this host directly.
    #[error(
        "changes are taken only from this host, directly, and only while no other host can reach the server, \
         unless credentials are configured"
    )]
    NotLocal,
    /// Whoever asks may not do this.
    #[error("'{subject}' may not do this: it needs the role {role} {scope}")]
    Denied {
        /// Who asks.
        subject: String,
        /// The least role that may.
        role: Role,
        /// For which model, in words.
        scope: String,
    },
}

impl AuthError {
    /// The metric label.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            AuthError::Missing => "missing",
            AuthError::Malformed(_) => "malformed",
            AuthError::Invalid => "invalid",
            AuthError::Expired => "expired",
            AuthError::Limited { .. } => "limited",
            AuthError::NotLocal => "not_local",
            AuthError::Denied { .. } => "denied",
        }
    }
}

impl Coded for AuthError {
    fn code(&self) -> Code {
        match self {
            AuthError::Missing | AuthError::Malformed(_) | AuthError::Invalid | AuthError::Expired => {
                Code::Unauthenticated
            }
            AuthError::Limited { .. } => Code::ResourceExhausted,
            AuthError::NotLocal | AuthError::Denied { .. } => Code::PermissionDenied,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            AuthError::Limited { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}
