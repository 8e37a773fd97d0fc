//! ModelStreamInfer: requests of one stream run side by side, a bounded number at a time, and are answered in order.
//!
//! A request that fails is answered in the stream and the stream goes on, as Triton has it. A client that sends the
//! metadata `triton_grpc_error: true` gets the real status instead, which ends its stream. Bytes that are no message
//! end it always.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, future, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;

use super::frame::{Encoding, Messages};
use super::reply::{self, Body};
use super::service::Shared;
use super::timeout;
use crate::access::{Identity, Role};
use crate::error::Code;
use crate::infer::{InferRequest, Protocol};
use crate::protocol::grpc::{StreamErrorEncoder, StreamResponseEncoder};
use crate::protocol::status::Failure;
use crate::tensor::Name;
use crate::transport::ShutdownSignal;
use crate::transport::carried::{attributes, split_key};

/// Requests of one stream that run at the same time. More wait in the connection's flow control.
const IN_FLIGHT_MAX: usize = 64;

/// Most answers in one frame.
const TOGETHER_MAX: usize = 32;
/// Longest answer that is put into a frame with others, and most bytes of such a frame.
const TOGETHER_BYTES: (usize, usize) = (4 << 10, 64 << 10);

/// What every request of a stream shares.
struct Context {
    shared: Arc<Shared>,
    /// Who asks, where readers must say so. Credentials are looked at when the stream begins.
    who: Option<Identity>,
    encoding: Encoding,
    timeout: Option<Duration>,
    real_status: bool,
    /// For the header that decides a split: one for every request of the stream.
    headers: HeaderMap,
}

/// Answers a stream.
pub(super) fn bidirectional<B>(
    shared: &Arc<Shared>,
    who: Option<Identity>,
    call: Request<B>,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
{
    let encoding = match Encoding::of_request(call.headers()) {
        Ok(encoding) => encoding,
        Err(failure) => {
            note_refusal(shared, &failure);
            return reply::failed_response(&failure);
        }
    };
    let (head, body) = call.into_parts();
    let context = Arc::new(Context {
        shared: Arc::clone(shared),
        who,
        encoding,
        timeout: timeout::read(&head.headers),
        real_status: wants_real_status(&head.headers),
        headers: head.headers,
    });
    let messages = Messages::new(body, encoding, Arc::clone(&shared.limits), shared.in_flight.clone());
    let reader = Reader { messages, shutdown: shared.shutdown.clone() };
    let requests = stream::unfold(Some(reader), read);
    let answers = requests
        .map(move |frame| answer(Arc::clone(&context), frame))
        .buffered(IN_FLIGHT_MAX)
        .map(Some)
        .chain(stream::iter([None]))
        .ready_chunks(TOGETHER_MAX)
        .scan(false, |ended, answers| future::ready(frames(ended, answers).map(stream::iter)))
        .flatten();
    reply::stream_response(Box::pin(answers), encoding)
}

/// Reads the requests of one stream.
struct Reader<B> {
    messages: Messages<B>,
    shutdown: ShutdownSignal,
}

/// The next request. Nothing is read after an error, since the place of the next message is not known, nor after the
/// server has begun to drain: what is in flight is answered, and the client told to go elsewhere.
async fn read<B>(reader: Option<Reader<B>>) -> Option<(Result<Bytes, Failure>, Option<Reader<B>>)>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let mut reader = reader?;
    let next = tokio::select! {
        biased;
        next = reader.messages.next() => next,
        () = reader.shutdown.draining() => Err(Failure::new(Code::Unavailable, "the server is shutting down")),
    };
    match next {
        Ok(None) => None,
        Ok(Some(frame)) => Some((Ok(frame), Some(reader))),
        Err(failure) => Some((Err(failure), None)),
    }
}

/// The frames for answers that are ready together: data while all is well, trailers at the end or at the first failure, then
/// nothing. Short answers share a frame: each costs HTTP/2 more than the answer itself.
fn frames(
    ended: &mut bool,
    answers: Vec<Option<Result<Bytes, Failure>>>,
) -> Option<Vec<Result<Frame<Bytes>, tonic::Status>>> {
    if *ended {
        return None;
    }
    let mut frames = Vec::with_capacity(1);
    let mut short = BytesMut::new();
    for answer in answers {
        let trailers = match answer {
            Some(Ok(message)) => {
                let (longest, all) = TOGETHER_BYTES;
                if message.len() > longest || short.len() + message.len() > all {
                    flush(&mut short, &mut frames);
                }
                match message.len() > longest {
                    true => frames.push(Ok(Frame::data(message))),
                    false => short.extend_from_slice(&message),
                }
                continue;
            }
            Some(Err(failure)) => reply::failed_trailers(&failure),
            None => Ok(reply::ok_trailers()),
        };
        *ended = true;
        flush(&mut short, &mut frames);
        frames.push(trailers.map(Frame::trailers));
        return Some(frames);
    }
    flush(&mut short, &mut frames);
    Some(frames)
}

fn flush(short: &mut BytesMut, frames: &mut Vec<Result<Frame<Bytes>, tonic::Status>>) {
    if !short.is_empty() {
        frames.push(Ok(Frame::data(short.split().freeze())));
    }
}

/// The framed answer to one message, or why the stream ends.
async fn answer(context: Arc<Context>, frame: Result<Bytes, Failure>) -> Result<Bytes, Failure> {
    let shared = &context.shared;
    let frame = frame.inspect_err(|failure| note_refusal(shared, failure))?;
    let received = Instant::now();
    let limits = &shared.limits;
    let mut request = match super::infer::decode(frame, limits, received).await? {
        Ok(request) => request,
        Err(rejected) => {
            let failure = Failure::from(&*rejected.error);
            note_refusal(shared, &failure);
            let ends = rejected.error.is_malformed();
            return if ends { Err(failure) } else { refuse(&context, failure, &rejected.id).await };
        }
    };
    request.protocol = Protocol::GrpcStream;
    request.deadline = timeout::earlier(request.deadline, context.timeout, received, limits.deadline_max);
    request.split_key = split_key(&context.shared.engine, &request.model, &request.version, &context.headers);
    request.attributes = attributes(&context.shared.engine, &request.model, &context.headers);
    request.timing.received = Some(received);
    request.timing.decode = received.elapsed();
    let id = request.id.clone();
    match infer(&context, request).await {
        Ok(framed) => Ok(framed),
        Err(failure) => refuse(&context, failure, &id).await,
    }
}

async fn infer(context: &Context, request: InferRequest) -> Result<Bytes, Failure> {
    let shared = &context.shared;
    let note = |failure: &Failure| note_refusal(shared, failure);
    if let Some(who) = &context.who {
        who.require(Role::Reader, Some(&request.model)).map_err(Failure::of).inspect_err(note)?;
    }
    let _permit = shared.in_flight.try_acquire().inspect_err(note)?;
    let response = shared.engine.infer(request).await.map_err(|error| Failure::from(&error))?;
    let framed = super::infer::encode(response, context.encoding, |response| {
        let encoder = StreamResponseEncoder::new(response);
        reply::frame_message(encoder.encoded_len(), |buf| encoder.write(buf))
    });
    framed.await
}

/// Counts a request of a stream that never reached the engine. A client that goes and a drain end the stream between
/// two requests, and refuse none.
fn note_refusal(shared: &Shared, failure: &Failure) {
    if !matches!(failure.code, Code::Cancelled | Code::Unavailable) {
        shared.engine.refused(Protocol::GrpcStream, failure.code);
    }
}

async fn refuse(context: &Context, failure: Failure, id: &Name) -> Result<Bytes, Failure> {
    if context.real_status {
        return Err(failure);
    }
    let encoder = StreamErrorEncoder::new(&failure.message, id);
    let framed = reply::frame_message(encoder.encoded_len(), |buf| encoder.write(buf))?;
    reply::compress(framed, context.encoding).await
}

fn wants_real_status(headers: &HeaderMap) -> bool {
    headers.get("triton_grpc_error").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths of data frames, and 0 for trailers.
    fn lens(ended: &mut bool, answers: Vec<Option<Result<Bytes, Failure>>>) -> Option<Vec<usize>> {
        let frames = frames(ended, answers)?;
        Some(frames.iter().map(|frame| frame.as_ref().unwrap().data_ref().map_or(0, Bytes::len)).collect())
    }

    fn message(len: usize) -> Option<Result<Bytes, Failure>> {
        Some(Ok(Bytes::from(vec![1; len])))
    }

    #[test]
    fn short_answers_share_a_frame_and_keep_their_order() {
        let mut ended = false;
        let answers = vec![message(10), message(20), message(5000), message(30), message(4096)];
        assert_eq!(lens(&mut ended, answers).unwrap(), [30, 5000, 4126]);
        let many = (0..20).map(|_| message(4000)).collect();
        assert_eq!(lens(&mut ended, many).unwrap(), [64_000, 16_000]);
        assert!(!ended);
        assert_eq!(lens(&mut ended, vec![message(7), None]).unwrap(), [7, 0]);
        assert!(ended && lens(&mut ended, vec![message(7)]).is_none());
    }

    #[test]
    fn nothing_follows_a_failure() {
        let mut ended = false;
        let failure = Failure::new(Code::Internal, "x");
        assert_eq!(lens(&mut ended, vec![message(7), Some(Err(failure)), message(8)]).unwrap(), [7, 0]);
        assert!(ended);
    }
}
