//! ModelStreamInfer: requests of one stream run side by side, a bounded number at a time, and are answered in order. More
//! wait in the connection's flow control.
//!
//! A request that fails is answered in the stream and the stream goes on, as Triton has it. A client that sends the
//! metadata `triton_grpc_error: true` gets the real status instead, which ends its stream. Bytes that are no message
//! end it always.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;

use super::frame::{Encoding, Messages, PREFIX_LEN};
use super::in_order::{InOrder, PLACES_MAX};
use super::reply::{self, Body};
use super::service::Shared;
use super::timeout;
use crate::access::{Identity, Role};
use crate::error::Code;
use crate::infer::{InferRequest, InferResponse, Protocol};
use crate::protocol::grpc::{Rejected, StreamErrorEncoder, StreamResponseEncoder};
use crate::protocol::status::Failure;
use crate::tensor::Name;
use crate::transport::carried::{attributes, split_key};
use crate::transport::{InFlightPermit, ShutdownSignal};

/// Bytes up to which an answer is put into a frame with others.
const SHORT_LEN: usize = 4 << 10;
/// Most answers of such a frame: a client can work on half of a full stream while the server works on the other.
const TOGETHER_MAX: usize = PLACES_MAX / 2;
/// Most bytes of such a frame.
const TOGETHER_LEN: usize = 64 << 10;

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
    let answers = Answers {
        requests: Some(Box::pin(stream::unfold(Some(reader), read))),
        running: InOrder::new(),
        begin: move |frame| answer(Arc::clone(&context), frame),
        held: None,
        ended: false,
    };
    reply::stream_response(Box::pin(answers), encoding)
}

/// What a request of a stream is answered with.
enum Answer {
    /// To be written into a frame when its turn comes.
    Short(InferResponse),
    /// A framed message.
    Framed(Bytes),
}

/// The frames that answer a stream.
struct Answers<S, B, F: Future> {
    /// `None` when the last request has come.
    requests: Option<Pin<Box<S>>>,
    running: InOrder<F>,
    /// Makes the answer to a request.
    begin: B,
    /// An answer that did not fit into the frame before it.
    held: Option<F::Output>,
    /// The trailers were sent.
    ended: bool,
}

// None of its parts is pinned in place.
impl<S, B, F: Future> Unpin for Answers<S, B, F> {}

impl<S, B, F> Stream for Answers<S, B, F>
where
    S: Stream<Item = Result<Bytes, Failure>>,
    B: Fn(Result<Bytes, Failure>) -> F,
    F: Future<Output = Result<Answer, Failure>>,
{
    type Item = Result<Frame<Bytes>, tonic::Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        this.running.poll(context);
        this.begin_requests(context);
        if let Some(data) = this.take_data() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = match this.held.take() {
            Some(Err(failure)) => reply::failed_trailers(&failure),
            _ if this.requests.is_none() && this.running.is_empty() => Ok(reply::ok_trailers()),
            _ => return Poll::Pending,
        };
        this.ended = true;
        Poll::Ready(Some(trailers.map(Frame::trailers)))
    }
}

impl<S, B, F> Answers<S, B, F>
where
    S: Stream<Item = Result<Bytes, Failure>>,
    B: Fn(Result<Bytes, Failure>) -> F,
    F: Future<Output = Result<Answer, Failure>>,
{
    /// Begins the requests that have come, as far as there is room.
    fn begin_requests(&mut self, context: &mut task::Context<'_>) {
        while let Some(requests) = &mut self.requests
            && let Some(vacancy) = self.running.vacancy()
        {
            match requests.as_mut().poll_next(context) {
                Poll::Pending => return,
                Poll::Ready(Some(frame)) => vacancy.begin((self.begin)(frame)),
                Poll::Ready(None) => self.requests = None,
            }
        }
    }

    /// The answers that are next and ready, as one frame: a long one by itself, or short ones together, since each frame
    /// costs HTTP/2 more than a short answer does. A failure stays in `held`.
    fn take_data(&mut self) -> Option<Bytes> {
        let mut short = BytesMut::new();
        for _ in 0..TOGETHER_MAX {
            let Some(answer) = self.held.take().or_else(|| self.running.pop()) else { break };
            match answer.and_then(|answer| append(answer, &mut short)).transpose() {
                None => {}
                Some(Ok(Answer::Framed(message))) if short.is_empty() => return Some(message),
                left => {
                    self.held = left;
                    break;
                }
            }
        }
        (!short.is_empty()).then(|| short.freeze())
    }
}

/// Appends `answer` to the short ones of a frame, or gives it back where it does not belong there.
fn append(answer: Answer, short: &mut BytesMut) -> Result<Option<Answer>, Failure> {
    match &answer {
        Answer::Short(response) => {
            let since = Instant::now();
            let encoder = StreamResponseEncoder::new(response);
            let len = encoder.encoded_len();
            // The first one goes in, however long its names are.
            if !short.is_empty() && short.len() + PREFIX_LEN + len > TOGETHER_LEN {
                return Ok(Some(answer));
            }
            reply::write_message(short, len, |buf| encoder.write(buf))?;
            response.encoded(since);
        }
        Answer::Framed(message)
            if message.len() <= SHORT_LEN && short.len() + message.len() <= TOGETHER_LEN =>
        {
            short.extend_from_slice(message);
        }
        Answer::Framed(_) => return Ok(Some(answer)),
    }
    Ok(None)
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

/// The answer to one message, or why the stream ends.
async fn answer(context: Arc<Context>, frame: Result<Bytes, Failure>) -> Result<Answer, Failure> {
    let shared = &context.shared;
    let frame = frame.inspect_err(|failure| note_refusal(shared, failure))?;
    let received = Instant::now();
    let decoded = super::infer::decode(frame, &shared.limits, received).await?;
    let (request, id, _permit) = match admit(&context, decoded, received) {
        Ok(admitted) => admitted,
        Err(Refusal { failure, id }) => {
            note_refusal(shared, &failure);
            return match id {
                Some(id) => refuse(&context, failure, &id).await,
                None => Err(failure),
            };
        }
    };
    let response = match shared.engine.infer(request).await {
        Ok(response) => response,
        Err(error) => return refuse(&context, Failure::from(&error), &id).await,
    };
    if context.encoding == Encoding::Identity && response.data_len() <= SHORT_LEN {
        return Ok(Answer::Short(response));
    }
    let framed = super::infer::encode(response, context.encoding, |response| {
        let encoder = StreamResponseEncoder::new(response);
        reply::frame_message(encoder.encoded_len(), |buf| encoder.write(buf))
    });
    match framed.await {
        Ok(framed) => Ok(Answer::Framed(framed)),
        Err(failure) => refuse(&context, failure, &id).await,
    }
}

/// Why a request does not reach the engine, and its id, which is not known of bytes that are no message.
struct Refusal {
    failure: Failure,
    id: Option<Name>,
}

/// The request of a message with everything that its stream says of it, its id, and its room in the server.
fn admit(
    context: &Context,
    decoded: Result<InferRequest, Rejected>,
    received: Instant,
) -> Result<(InferRequest, Name, InFlightPermit), Refusal> {
    let Context { shared, who, timeout, headers, .. } = context;
    let mut request = decoded.map_err(|rejected| Refusal {
        failure: Failure::from(&*rejected.error),
        id: (!rejected.error.is_malformed()).then_some(rejected.id),
    })?;
    let id = request.id.clone();
    let refusal = |failure| Refusal { failure, id: Some(id.clone()) };
    if let Some(who) = who {
        let allowed = who.require(Role::Reader, Some(&request.model));
        allowed.map_err(|error| refusal(Failure::of(error)))?;
    }
    let permit = shared.in_flight.try_acquire().map_err(refusal)?;
    request.protocol = Protocol::GrpcStream;
    request.deadline = timeout::earlier(request.deadline, *timeout, received, shared.limits.deadline_max);
    request.split_key = split_key(&shared.engine, &request.model, &request.version, headers);
    request.attributes = attributes(&shared.engine, &request.model, headers);
    request.received = Some(received);
    request.decode = received.elapsed();
    Ok((request, id, permit))
}

/// Counts a request of a stream that never reached the engine. A client that goes and a drain end the stream between
/// two requests, and refuse none.
fn note_refusal(shared: &Shared, failure: &Failure) {
    if !matches!(failure.code, Code::Cancelled | Code::Unavailable) {
        shared.engine.refused(Protocol::GrpcStream, failure.code);
    }
}

async fn refuse(context: &Context, failure: Failure, id: &Name) -> Result<Answer, Failure> {
    if context.real_status {
        return Err(failure);
    }
    let encoder = StreamErrorEncoder::new(&failure.message, id);
    let framed = reply::frame_message(encoder.encoded_len(), |buf| encoder.write(buf))?;
    reply::compress(framed, context.encoding).await.map(Answer::Framed)
}

fn wants_real_status(headers: &HeaderMap) -> bool {
    headers.get("triton_grpc_error").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use futures_util::StreamExt;

    use super::*;

    /// The lengths of the data frames that answer with messages of these lengths, and 0 for trailers.
    async fn lens(answers: Vec<Result<usize, Failure>>) -> Vec<usize> {
        let mut answers = answers.into_iter();
        // Requests that come one by one, and are ready as they come.
        let requests = stream::iter((0..answers.len()).map(|_| Ok(Bytes::new())));
        let queue = std::cell::RefCell::new(&mut answers);
        let begin = |_| -> Ready<Result<Answer, Failure>> {
            let answer = queue.borrow_mut().next().unwrap();
            ready(answer.map(|len| Answer::Framed(Bytes::from(vec![1; len]))))
        };
        let requests = Some(Box::pin(requests));
        let frames = Answers { requests, running: InOrder::new(), begin, held: None, ended: false };
        frames.map(|frame| frame.unwrap().data_ref().map_or(0, Bytes::len)).collect().await
    }

    #[tokio::test]
    async fn short_answers_share_a_frame_and_keep_their_order() {
        let answers = [10, 20, 5000, 30, 4096].map(Ok).to_vec();
        assert_eq!(lens(answers).await, [30, 5000, 4126, 0]);
        assert_eq!(lens([4000; 20].map(Ok).to_vec()).await, [64_000, 16_000, 0]);
        assert_eq!(lens([5000, 5000, 1].map(Ok).to_vec()).await, [5000, 5000, 1, 0]);
        assert_eq!(lens(vec![Ok(1); 100]).await, [32, 32, 32, 4, 0]);
        assert_eq!(lens(Vec::new()).await, [0]);
    }

    #[tokio::test]
    async fn nothing_follows_a_failure() {
        let failure = || Err(Failure::new(Code::Internal, "x"));
        assert_eq!(lens(vec![Ok(7), failure(), Ok(8)]).await, [7, 0]);
        assert_eq!(lens(vec![failure(), failure(), Ok(8)]).await, [0]);
    }
}
