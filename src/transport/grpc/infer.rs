//! ModelInfer: one message in, one out.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};

use super::frame::{Encoding, Messages};
use super::reply::{self, Body};
use super::service::Shared;
use super::timeout;
use crate::access::{Identity, Role};
use crate::infer::InferRequest;
use crate::protocol::grpc::{ResponseEncoder, decode_request};
use crate::protocol::status::Failure;
use crate::transport::split::split_key;

/// Answers one call. Dropping the future, which the server does when the client cancels, frees the request's slot.
pub(super) async fn unary<B>(shared: &Shared, who: Option<&Identity>, call: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    answer(shared, who, call).await.unwrap_or_else(|failure| reply::failed_response(&failure))
}

async fn answer<B>(
    shared: &Shared,
    who: Option<&Identity>,
    call: Request<B>,
) -> Result<Response<Body>, Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let _permit = shared.in_flight.try_acquire().inspect_err(|failure| shared.note_refusal(failure))?;
    let encoding =
        Encoding::of_request(call.headers()).inspect_err(|failure| shared.note_refusal(failure))?;
    let request = read(shared, call, encoding).await.inspect_err(|failure| shared.note_refusal(failure))?;
    if let Some(who) = who {
        who.require(Role::Reader, Some(&request.model)).map_err(Failure::of)?;
    }
    let response = shared.engine.infer(request).await.map_err(|error| Failure::from(&error))?;

    let since = Instant::now();
    let encoder = ResponseEncoder::new(&response);
    let framed = reply::frame_message(encoder.encoded_len(), |buf| encoder.write(buf))?;
    let framed = reply::compress(framed, encoding).await?;
    response.encoded(since.elapsed());
    Ok(reply::unary_response(framed, encoding))
}

/// The call's request, with everything that its headers say of it.
async fn read<B>(shared: &Shared, call: Request<B>, encoding: Encoding) -> Result<InferRequest, Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let received = Instant::now();
    let timeout = timeout::read(call.headers());
    let limits = &shared.limits;
    let (head, body) = call.into_parts();
    let frame = Messages::new(body, encoding, Arc::clone(limits), shared.in_flight.clone()).only().await?;
    let since = Instant::now();
    let mut request =
        decode_request(&frame, limits, received).map_err(|rejected| Failure::from(&*rejected.error))?;
    request.deadline = timeout::earlier(request.deadline, timeout, received, limits.deadline_max);
    request.split_key = split_key(&shared.engine, &request.model, &request.version, &head.headers);
    request.timing.received = Some(received);
    request.timing.decode = since.elapsed();
    Ok(request)
}
