//! What a failure means, in one word that every layer shares.
//!
//! Each module has its own error enum of meanings and implements [`Coded`] for it. Only `protocol::status` turns a
//! [`Code`] into a gRPC status or an HTTP status; nothing else in the crate knows those numbers.

use std::time::Duration;

/// The meaning of a failure, after the codes of gRPC (`google.rpc.Code`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The request is malformed or does not fit the model; a retry cannot help.
    InvalidArgument,
    /// The model, version or tensor does not exist.
    NotFound,
    /// The thing to be created exists already.
    AlreadyExists,
    /// A limit was reached (queue full, body too large); a later retry may help.
    ResourceExhausted,
    /// A body or message is larger than the configured limit; a retry cannot help.
    TooLarge,
    /// The system is not in the state that the operation needs.
    FailedPrecondition,
    /// What exists contradicts the change: it is in use, or someone else was first.
    Conflict,
    /// The caller made its change for a state that is no more.
    Stale,
    /// The model is not ready or the server is shutting down; an immediate retry elsewhere is right.
    Unavailable,
    /// The deadline passed, or cannot be met.
    DeadlineExceeded,
    /// The caller went away.
    Cancelled,
    /// The operation exists in the protocol, but not in this server.
    Unimplemented,
    /// The caller has shown no credentials.
    Unauthenticated,
    /// The caller's credentials do not allow the operation.
    PermissionDenied,
    /// A defect of the server or the model.
    Internal,
}

impl Code {
    /// The code's name as a metric label and in logs, for example `resource_exhausted`.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::InvalidArgument => "invalid_argument",
            Code::NotFound => "not_found",
            Code::AlreadyExists => "already_exists",
            Code::ResourceExhausted => "resource_exhausted",
            Code::TooLarge => "too_large",
            Code::FailedPrecondition => "failed_precondition",
            Code::Conflict => "conflict",
            Code::Stale => "stale",
            Code::Unavailable => "unavailable",
            Code::DeadlineExceeded => "deadline_exceeded",
            Code::Cancelled => "cancelled",
            Code::Unimplemented => "unimplemented",
            Code::Unauthenticated => "unauthenticated",
            Code::PermissionDenied => "permission_denied",
            Code::Internal => "internal",
        }
    }
}

/// An error that knows what it means to the caller.
///
/// `Display` of the error is the log's message. [`Coded::public_message`] is the client's: it names tensors, models
/// and limits, and never a path, an address or a source file.
pub trait Coded: std::error::Error {
    /// What the failure means.
    fn code(&self) -> Code;

    /// The text a client may see.
    fn public_message(&self) -> String {
        self.to_string()
    }

    /// When a retry is worth trying, for shed requests.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}
