//! ModelInfer: one message in, one out. Long messages are decoded and encoded on a blocking thread, so that they do not
//! hold up the other connections of this one.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};

use super::frame::{Encoding, Messages};
use super::reply::{self, Body};
use super::service::Shared;
use super::timeout;
use crate::access::{Identity, Role};
use crate::infer::{InferRequest, InferResponse};
use crate::protocol::Limits;
use crate::protocol::grpc::{Rejected, ResponseEncoder, decode_request};
use crate::protocol::status::Failure;
use crate::transport::carried::{attributes, split_key};

/// Messages up to this length are decoded where they are: half a millisecond's work, if their numbers are typed.
const INLINE_MESSAGE_LEN: usize = 128 << 10;
/// Answers up to this many bytes of tensors are encoded where they are: they are only copied.
const INLINE_ANSWER_LEN: usize = 1 << 20;

/// Answers one call. Dropping the future, which the server does when the client cancels, frees the request's slot.
pub(super) async fn unary<B>(shared: &Shared, who: Option<&Identity>, call: &mut Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    answer(shared, who, call).await.unwrap_or_else(|failure| reply::failed_response(&failure))
}

async fn answer<B>(
    shared: &Shared,
    who: Option<&Identity>,
    call: &mut Request<B>,
) -> Result<Response<Body>, Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let _permit = shared.in_flight.try_acquire().inspect_err(|failure| shared.note_refusal(failure))?;
    let encoding =
        Encoding::of_request(call.headers()).inspect_err(|failure| shared.note_refusal(failure))?;
    let request = read(shared, who, call, encoding).await;
    let request = request.inspect_err(|failure| shared.note_refusal(failure))?;
    let response = shared.engine.infer(request).await.map_err(|error| Failure::from(&error))?;

    let framed = encode(response, encoding, |response| {
        let encoder = ResponseEncoder::new(response);
        reply::frame_message(encoder.encoded_len(), |buf| encoder.write(buf))
    });
    let framed = framed.await?;
    Ok(reply::unary_response(framed, encoding))
}

/// The call's request, with everything that its headers say of it, if `who` may make it.
async fn read<B>(
    shared: &Shared,
    who: Option<&Identity>,
    call: &mut Request<B>,
    encoding: Encoding,
) -> Result<InferRequest, Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let received = Instant::now();
    let limits = Arc::clone(&shared.limits);
    let frame = Messages::new(call.body_mut(), encoding, limits, shared.in_flight.clone()).only().await?;
    let since = Instant::now();
    let decoded = decode(frame, &shared.limits, received).await?;
    let mut request = decoded.map_err(|rejected| Failure::from(&*rejected.error))?;
    let timeout = timeout::read(call.headers());
    request.deadline = timeout::earlier(request.deadline, timeout, received, shared.limits.deadline_max);
    request.split_key = split_key(&shared.engine, &request.model, &request.version, call.headers());
    request.attributes = attributes(&shared.engine, &request.model, call.headers());
    request.received = Some(received);
    request.decode = since.elapsed();
    if let Some(who) = who {
        who.require(Role::Reader, Some(&request.model)).map_err(Failure::of)?;
    }
    Ok(request)
}

/// Decodes a message, on a blocking thread if it is long.
pub(super) async fn decode(
    frame: Bytes,
    limits: &Arc<Limits>,
    now: Instant,
) -> Result<Result<InferRequest, Rejected>, Failure> {
    if frame.len() <= INLINE_MESSAGE_LEN {
        return Ok(decode_request(&frame, limits, now));
    }
    let limits = Arc::clone(limits);
    blocking(move || decode_request(&frame, &limits, now)).await
}

/// Encodes an answer as `frame` does, on a blocking thread if it is long, and reports how long it took.
pub(super) async fn encode(
    response: InferResponse,
    encoding: Encoding,
    frame: fn(&InferResponse) -> Result<Bytes, Failure>,
) -> Result<Bytes, Failure> {
    let since = Instant::now();
    let (framed, response) = if response.data_len() <= INLINE_ANSWER_LEN {
        (frame(&response)?, response)
    } else {
        blocking(move || frame(&response).map(|framed| (framed, response))).await??
    };
    let framed = reply::compress(framed, encoding).await?;
    response.encoded(since);
    Ok(framed)
}

/// Runs `work` on a thread that may be held up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    // It fails when the work panicked or the runtime is going down.
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::defect())
}
