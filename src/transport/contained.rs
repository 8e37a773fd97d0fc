//! A request that panics, a defect of this program, costs its caller an answer of 500 or `INTERNAL` and nobody else
//! anything: neither those beside it on the connection nor the connection itself.
//!
//! ```text
//! request -> service -> answer ──► as it is
//!               └─ panic ────────► the body's own word for a defect
//! ```
//!
//! Only what comes before the answer's head is covered. A body that panics while it is sent cannot be answered any more;
//! its stream is reset ([`super::together`]), and an HTTP/1.1 connection ends.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::Service;

/// A body that can say that the program has a defect.
pub trait Defect: Body + Sized {
    /// The answer to a request that panicked. It tells nothing of the panic, which is in the log.
    fn response() -> Response<Self>;
}

/// The answer of `service`, or to its panic.
pub(super) fn contained<S, B>(
    service: &S,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<B>, S::Error>> + Send + 'static + use<S, B>
where
    S: Service<Request<Incoming>, Response = Response<B>> + 'static,
    S::Future: Send + 'static,
    B: Defect + Send + 'static,
{
    // Whoever called is given up with the call, and what is shared has no locks that a panic poisons.
    let called = catch_unwind(AssertUnwindSafe(|| service.call(request)));
    async move {
        match called {
            Ok(answer) => AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| Ok(B::response())),
            Err(_) => Ok(B::response()),
        }
    }
}
