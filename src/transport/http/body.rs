//! Reads a request's body with a limit and a watch on its pace.
//!
//! What the client claims in `Content-Length` is only believed when it is too much. Memory grows with what has really
//! arrived, and a body that arrives in one piece is not copied.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body;

use crate::error::{Code, Coded};
use crate::protocol::status::Failure;
use crate::transport::InFlight;

/// Room made for the second and later parts of a body before they have come, at most.
const ROOM_MAX: usize = 1 << 20;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum BodyError {
    #[error("the body is larger than {max} bytes")]
    TooLarge { max: usize },
    #[error("the body stalled for {} s", .0.as_secs())]
    Stalled(Duration),
    #[error("{}", .0.message)]
    NoRoom(Failure),
    #[error("the body broke off: {0}")]
    Broken(Box<dyn Error + Send + Sync>),
}

impl Coded for BodyError {
    fn code(&self) -> Code {
        match self {
            BodyError::TooLarge { .. } => Code::TooLarge,
            BodyError::Stalled(_) => Code::DeadlineExceeded,
            BodyError::NoRoom(failure) => failure.code,
            BodyError::Broken(_) => Code::InvalidArgument,
        }
    }

    fn public_message(&self) -> String {
        match self {
            BodyError::Broken(_) => "the body broke off".to_owned(),
            other => other.to_string(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            BodyError::NoRoom(failure) => failure.retry_after,
            _ => None,
        }
    }
}

/// What bounds a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) bytes_max: usize,
    pub(super) stall: Duration,
}

/// Reads all of `body`.
pub(super) async fn read<B>(
    headers: &HeaderMap,
    body: B,
    bounds: Bounds,
    in_flight: &InFlight,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let too_large = || BodyError::TooLarge { max: bounds.bytes_max };
    let claimed = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if claimed.is_some_and(|claimed| claimed > bounds.bytes_max as u64) {
        return Err(too_large());
    }
    let mut body = pin!(body);
    let Some(first) = next_data(body.as_mut(), bounds.stall).await? else { return Ok(Bytes::new()) };
    if first.len() > bounds.bytes_max {
        return Err(too_large());
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    let Some(second) = next_data(body.as_mut(), bounds.stall).await? else { return Ok(first) };
    let claimed = usize::try_from(claimed.unwrap_or(0)).unwrap_or(0);
    let mut all = in_flight.buffer();
    all.reserve_total(claimed.min(ROOM_MAX).max(first.len() + second.len())).map_err(BodyError::NoRoom)?;
    all.extend(&first).map_err(BodyError::NoRoom)?;
    drop(first);
    let mut next = Some(second);
    while let Some(part) = next {
        if all.len() + part.len() > bounds.bytes_max {
            return Err(too_large());
        }
        all.extend(&part).map_err(BodyError::NoRoom)?;
        next = next_data(body.as_mut(), bounds.stall).await?;
    }
    Ok(all.freeze())
}

/// The next part that is not empty; `None` at the end. Trailers are dropped.
async fn next_data<B>(mut body: Pin<&mut B>, stall: Duration) -> Result<Option<Bytes>, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    loop {
        let mut frame = pin!(poll_fn(|cx| body.as_mut().poll_frame(cx)));
        // Most frames are here already; a timer is set only for those that are not.
        let ready = poll_fn(|cx| Poll::Ready(frame.as_mut().poll(cx))).await;
        let frame = match ready {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                tokio::time::timeout(stall, frame).await.map_err(|_| BodyError::Stalled(stall))?
            }
        };
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(BodyError::Broken(error.into())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                Err(_) => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    async fn check(claimed: Option<u64>, parts: &[&'static [u8]], max: usize) -> Result<Bytes, Code> {
        let mut headers = HeaderMap::new();
        if let Some(claimed) = claimed {
            headers.insert(CONTENT_LENGTH, claimed.into());
        }
        let frames: Vec<_> =
            parts.iter().map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from_static(part)))).collect();
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let bounds = Bounds { bytes_max: max, stall: Duration::from_secs(1) };
        read(&headers, body, bounds, &InFlight::new(1, 1 << 20)).await.map_err(|error| error.code())
    }

    #[tokio::test]
    async fn limits_hold_for_claims_and_for_bytes() {
        assert_eq!(check(None, &[], 4).await, Ok(Bytes::new()));
        assert_eq!(check(None, &[b"ab", b"", b"cd"], 4).await, Ok("abcd".into()));
        assert_eq!(check(None, &[b"ab", b"cde"], 4).await, Err(Code::TooLarge));
        assert_eq!(check(None, &[b"abcde"], 4).await, Err(Code::TooLarge));
        assert_eq!(check(Some(5), &[], 4).await, Err(Code::TooLarge));
        assert_eq!(check(Some(u64::MAX), &[b"a"], usize::MAX / 2).await, Err(Code::TooLarge));
        assert_eq!(check(Some(1 << 40), &[b"a", b"b"], 1 << 41).await, Ok("ab".into()));
    }

    #[tokio::test]
    async fn one_piece_is_not_copied() {
        let piece = Bytes::from(vec![7; 100]);
        let bounds = Bounds { bytes_max: 100, stall: Duration::from_secs(1) };
        let read =
            read(&HeaderMap::new(), Full::new(piece.clone()), bounds, &InFlight::new(1, 0)).await.unwrap();
        assert_eq!(read.as_ptr(), piece.as_ptr());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_given_up() {
        let body = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let bounds = Bounds { bytes_max: 100, stall: Duration::from_secs(30) };
        let read = read(&HeaderMap::new(), body, bounds, &InFlight::new(1, 0)).await;
        assert!(matches!(read, Err(BodyError::Stalled(_))), "{read:?}");
    }
}
