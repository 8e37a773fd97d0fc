//! gRPC's framing on the way out: messages with their prefix, then the status as trailers.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;

use super::frame::{Encoding, PREFIX_LEN, is_long_work};
use super::status::status_of_failure;
use crate::error::Code;
use crate::protocol::status::Failure;
use crate::transport::contained::Defect;

/// The body of every response of the service.
pub(super) enum Body {
    /// One answer.
    Unary(Unary),
    /// A stream of answers.
    Stream(Answers),
    /// Written by tonic.
    Tonic(tonic::body::Body),
}

/// One framed answer, then its status.
#[derive(Debug)]
pub(super) struct Unary {
    message: Option<Bytes>,
    ended: bool,
}

/// Framed answers, then their status.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, tonic::Status>> + Send>>;

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Body::Unary(_) => "Unary",
            Body::Stream(_) => "Stream",
            Body::Tonic(_) => "Tonic",
        })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        match self.get_mut() {
            Body::Unary(unary) => Poll::Ready(unary.next().map(Ok)),
            Body::Stream(answers) => answers.as_mut().poll_next(cx),
            Body::Tonic(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Unary(unary) => unary.ended,
            Body::Stream(_) => false,
            Body::Tonic(body) => body.is_end_stream(),
        }
    }
}

impl Defect for Body {
    fn response() -> Response<Body> {
        failed_response(&Failure::defect())
    }
}

impl Unary {
    fn next(&mut self) -> Option<Frame<Bytes>> {
        if let Some(message) = self.message.take() {
            return Some(Frame::data(message));
        }
        if self.ended {
            return None;
        }
        self.ended = true;
        Some(Frame::trailers(ok_trailers()))
    }
}

/// The trailers of a call that succeeded.
pub(super) fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

/// The trailers of a call that failed after its headers.
pub(super) fn failed_trailers(failure: &Failure) -> Result<HeaderMap, tonic::Status> {
    let mut trailers = HeaderMap::new();
    status_of_failure(failure).add_header(&mut trailers)?;
    Ok(trailers)
}

/// A successful response of one message, framed already.
pub(super) fn unary_response(message: Bytes, encoding: Encoding) -> Response<Body> {
    response(Body::Unary(Unary { message: Some(message), ended: false }), encoding)
}

/// A response of many messages.
pub(super) fn stream_response(answers: Answers, encoding: Encoding) -> Response<Body> {
    response(Body::Stream(answers), encoding)
}

fn response(body: Body, encoding: Encoding) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let name = match encoding {
        Encoding::Identity => return response,
        Encoding::Gzip => "gzip",
        Encoding::Deflate => "deflate",
    };
    headers.insert("grpc-encoding", HeaderValue::from_static(name));
    response
}

/// A response that is only a failed status.
pub(super) fn failed_response(failure: &Failure) -> Response<Body> {
    let mut response = status_of_failure(failure).into_http().map(Body::Tonic);
    if failure.code == Code::Unimplemented {
        // gRPC asks for it where a message's encoding was refused.
        let accepted = HeaderValue::from_static("identity,deflate,gzip");
        response.headers_mut().insert("grpc-accept-encoding", accepted);
    }
    response
}

/// Frames a message of `len` bytes that `write` writes.
pub(super) fn frame_message(len: usize, write: impl FnOnce(&mut BytesMut)) -> Result<Bytes, Failure> {
    let mut buf = BytesMut::with_capacity(PREFIX_LEN + len);
    write_message(&mut buf, len, write)?;
    Ok(buf.freeze())
}

/// Appends to `buf` a framed message of `len` bytes that `write` writes.
pub(super) fn write_message(
    buf: &mut BytesMut,
    len: usize,
    write: impl FnOnce(&mut BytesMut),
) -> Result<(), Failure> {
    let prefix = u32::try_from(len).map_err(|_| too_large())?;
    let before = buf.len();
    buf.reserve(PREFIX_LEN + len);
    buf.put_u8(0);
    buf.put_u32(prefix);
    write(buf);
    debug_assert_eq!(buf.len() - before, PREFIX_LEN + len, "the stated length must be the written one");
    Ok(())
}

/// Compresses a framed message for a client that sent its own compressed. Most gRPC clients say that they accept gzip
/// without wanting it, so that header alone is no reason.
pub(super) async fn compress(framed: Bytes, encoding: Encoding) -> Result<Bytes, Failure> {
    if encoding == Encoding::Identity {
        return Ok(framed);
    }
    let compressed = if is_long_work(framed.len()) {
        let task = tokio::task::spawn_blocking(move || deflate(&framed, encoding));
        task.await.unwrap_or_else(|error| Err(error.into()))
    } else {
        deflate(&framed, encoding)
    };
    // Writing to memory does not fail.
    let mut compressed = compressed.map_err(|_| Failure::defect())?;
    let len = u32::try_from(compressed.len() - PREFIX_LEN).map_err(|_| too_large())?;
    if let Some(prefix) = compressed.get_mut(1..PREFIX_LEN) {
        prefix.copy_from_slice(&len.to_be_bytes());
    }
    Ok(compressed.into())
}

/// The message of `framed`, compressed, after a prefix without its length.
fn deflate(framed: &[u8], encoding: Encoding) -> io::Result<Vec<u8>> {
    let message = framed.get(PREFIX_LEN..).unwrap_or_default();
    let prefix = vec![1, 0, 0, 0, 0];
    if encoding == Encoding::Deflate {
        let mut encoder = ZlibEncoder::new(prefix, Compression::fast());
        encoder.write_all(message)?;
        return encoder.finish();
    }
    let mut encoder = GzEncoder::new(prefix, Compression::fast());
    encoder.write_all(message)?;
    encoder.finish()
}

fn too_large() -> Failure {
    Failure::new(Code::Internal, "the answer is larger than a gRPC message can be")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_is_told_as_any_failure() {
        let reply = <Body as Defect>::response();
        assert_eq!((reply.status().as_u16(), &reply.headers()["grpc-status"] == "13"), (200, true));
    }
}
