//! Responses: a body made of shared slices, and the few shapes of answer that the REST door gives.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::error::Code;
use crate::protocol::status::{Failure, http_status};
use crate::transport::contained::Defect;

/// The answer of every route.
pub(super) type Reply = Response<ReplyBody>;

/// A body: slices whose length is known, sent one after the other and never copied here; or whatever the API makes.
#[derive(Debug, Default)]
pub(crate) struct ReplyBody {
    first: Bytes,
    rest: VecDeque<Bytes>,
    remaining: u64,
    /// Stands instead of the slices.
    made: Option<axum::body::Body>,
}

impl ReplyBody {
    /// A body of `first` and then `rest`.
    pub(super) fn chain(first: Bytes, rest: Vec<Bytes>) -> ReplyBody {
        let remaining = std::iter::once(&first).chain(&rest).map(|part| part.len() as u64).sum();
        ReplyBody { first, rest: rest.into(), remaining, made: None }
    }

    /// The parts that are not sent yet.
    pub(super) fn into_parts(self) -> impl Iterator<Item = Bytes> {
        std::iter::once(self.first).chain(self.rest)
    }
}

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> ReplyBody {
        let remaining = bytes.len() as u64;
        ReplyBody { first: bytes, rest: VecDeque::new(), remaining, made: None }
    }
}

impl ReplyBody {
    /// A body of what comes through `stream`, until its other side is dropped.
    pub(super) fn stream(stream: mpsc::Receiver<Bytes>) -> ReplyBody {
        let parts = ReceiverStream::new(stream).map(Ok::<Bytes, Infallible>);
        ReplyBody::from(axum::body::Body::from_stream(parts))
    }
}

impl From<axum::body::Body> for ReplyBody {
    fn from(body: axum::body::Body) -> ReplyBody {
        ReplyBody { made: Some(body), ..ReplyBody::default() }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(body) = &mut self.made {
            // What the API makes does not fail; an end is all that could be told of it anyway.
            return Pin::new(body).poll_frame(cx).map(|frame| frame.and_then(Result::ok).map(Ok));
        }
        while self.remaining > 0 {
            let next = self.rest.pop_front().unwrap_or_default();
            let part = std::mem::replace(&mut self.first, next);
            if !part.is_empty() {
                self.remaining -= part.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.made.as_ref().map_or(self.remaining == 0, Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.made.as_ref().map_or_else(|| SizeHint::with_exact(self.remaining), Body::size_hint)
    }
}

impl Defect for ReplyBody {
    fn response() -> Reply {
        failure(&Failure::defect())
    }
}

/// An answer of JSON text.
pub(super) fn json_text(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(ReplyBody::from(text.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// An answer of a JSON value. Not for tensors.
pub(super) fn json(status: StatusCode, value: &Value) -> Reply {
    json_text(status, value.to_string())
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(ReplyBody::default());
    *reply.status_mut() = status;
    reply
}

/// `{"error": "..."}` with the status of the failure.
pub(super) fn failure(failure: &Failure) -> Reply {
    let mut reply = error_text(http_status(failure.code), &failure.message);
    if let Some(seconds) = failure.retry_after_seconds() {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if failure.code == Code::Unauthenticated {
        reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    reply
}

/// `{"error": "..."}` with a status that has no code of its own.
pub(super) fn error_text(status: StatusCode, message: &str) -> Reply {
    json(status, &serde_json::json!({ "error": message }))
}

/// 405, with the method that the route takes.
pub(super) fn method_not_allowed(allow: &'static str) -> Reply {
    let message = format!("this address takes {allow} only");
    let mut reply = error_text(StatusCode::METHOD_NOT_ALLOWED, &message);
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    reply
}

/// At most the first 48 bytes of a header's text.
pub(super) fn shorten_header(text: &str) -> String {
    text.get(..text.floor_char_boundary(48)).unwrap_or_default().escape_debug().collect()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn check(first: &'static str, rest: &[&'static str], expected: &str) {
        let rest = rest.iter().map(|part| Bytes::from_static(part.as_bytes())).collect();
        let body = ReplyBody::chain(Bytes::from_static(first.as_bytes()), rest);
        assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(body.collect()).unwrap().to_bytes(), expected);
    }

    #[test]
    fn a_defect_is_told_as_any_failure() {
        let reply = <ReplyBody as Defect>::response();
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()[CONTENT_TYPE] == "application/json"),
            (500, true)
        );
    }

    #[test]
    fn parts_come_in_order() {
        check("", &[], "");
        check("a", &[], "a");
        check("", &["b"], "b");
        check("a", &["", "b", "cd", ""], "abcd");
    }
}
