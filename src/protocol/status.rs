//! One table from the meaning of a failure to the numbers of gRPC and HTTP, and the failure as clients see it.
//!
//! Nothing else in the crate knows these numbers. A transport makes a [`Failure`] of any [`Coded`] error and writes it
//! in its own form; what the log says is the business of whoever handled the error.

use std::time::Duration;

use crate::error::{Code, Coded};

/// A failure as a client sees it: its meaning, a text that holds no secrets, and when a retry is worth trying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it means.
    pub code: Code,
    /// The text for the client.
    pub message: String,
    /// When a retry is worth trying; set for shed requests only.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure with a text of its own.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), retry_after: None }
    }

    /// A defect of this program. What it is stands in the log, and is not the client's business.
    pub fn defect() -> Failure {
        Failure::new(Code::Internal, "internal error")
    }

    /// `Retry-After` in whole seconds, rounded up, so that a client that obeys it is not early.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| after.as_secs() + u64::from(after.subsec_nanos() > 0)).map(|s| s.max(1))
    }
}

impl<E: Coded> From<&E> for Failure {
    fn from(error: &E) -> Failure {
        Failure { code: error.code(), message: error.public_message(), retry_after: error.retry_after() }
    }
}

impl Failure {
    /// The failure that a client sees of `error`; for `map_err`.
    pub fn of<E: Coded>(error: E) -> Failure {
        Failure::from(&error)
    }
}

/// The row of the table for `code`.
fn row(code: Code) -> (tonic::Code, u16) {
    match code {
        Code::InvalidArgument => (tonic::Code::InvalidArgument, 400),
        Code::NotFound => (tonic::Code::NotFound, 404),
        Code::AlreadyExists => (tonic::Code::AlreadyExists, 409),
        Code::ResourceExhausted => (tonic::Code::ResourceExhausted, 429),
        // gRPC says the same for a message above the limit, and its clients do not retry it.
        Code::TooLarge => (tonic::Code::ResourceExhausted, 413),
        Code::FailedPrecondition => (tonic::Code::FailedPrecondition, 400),
        Code::Conflict => (tonic::Code::Aborted, 409),
        Code::Stale => (tonic::Code::Aborted, 412),
        Code::Unavailable => (tonic::Code::Unavailable, 503),
        Code::DeadlineExceeded => (tonic::Code::DeadlineExceeded, 504),
        // No client of HTTP reads it, because it has gone; the number is the custom of proxies and their logs.
        Code::Cancelled => (tonic::Code::Cancelled, 499),
        Code::Unimplemented => (tonic::Code::Unimplemented, 501),
        Code::Unauthenticated => (tonic::Code::Unauthenticated, 401),
        Code::PermissionDenied => (tonic::Code::PermissionDenied, 403),
        Code::Internal => (tonic::Code::Internal, 500),
    }
}

/// The gRPC status code of `code`.
pub fn grpc_code(code: Code) -> tonic::Code {
    row(code).0
}

/// The HTTP status of `code`.
pub fn http_status(code: Code) -> http::StatusCode {
    http::StatusCode::from_u16(row(code).1).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: Code, grpc: i32, http: u16) {
        assert_eq!((grpc_code(code) as i32, http_status(code).as_u16()), (grpc, http), "{code:?}");
    }

    #[test]
    fn the_table_holds() {
        check(Code::InvalidArgument, 3, 400);
        check(Code::NotFound, 5, 404);
        check(Code::AlreadyExists, 6, 409);
        check(Code::ResourceExhausted, 8, 429);
        check(Code::TooLarge, 8, 413);
        check(Code::FailedPrecondition, 9, 400);
        check(Code::Unavailable, 14, 503);
        check(Code::DeadlineExceeded, 4, 504);
        check(Code::Cancelled, 1, 499);
        check(Code::Unimplemented, 12, 501);
        check(Code::Unauthenticated, 16, 401);
        check(Code::PermissionDenied, 7, 403);
        check(Code::Internal, 13, 500);
    }

    #[test]
    fn retry_after_is_rounded_up() {
        let failure = |millis| Failure {
            retry_after: Some(Duration::from_millis(millis)),
            ..Failure::new(Code::ResourceExhausted, "the queue is full")
        };
        assert_eq!(failure(0).retry_after_seconds(), Some(1));
        assert_eq!(failure(1000).retry_after_seconds(), Some(1));
        assert_eq!(failure(1001).retry_after_seconds(), Some(2));
        assert_eq!(Failure::new(Code::Internal, "x").retry_after_seconds(), None);
    }
}
