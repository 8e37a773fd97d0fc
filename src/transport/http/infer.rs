//! Inference over HTTP: permit, body, decode, `Engine::infer`, encode. The one path here that has to be fast.
//!
//! Bodies that take longer than a short while to decode, encode or compress are handed to a blocking thread, so that
//! they do not hold up the other connections of this one.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::Body;

use super::HttpDoor;
use super::body::{self, Bounds};
use super::compression::{self, Coding};
use super::reply::{Reply, ReplyBody};
use super::route::Target;
use crate::error::Code;
use crate::infer::{InferRequest, InferResponse, Protocol};
use crate::protocol::binary::{self, EncodedInfer, HEADER_LENGTH};
use crate::protocol::status::Failure;
use crate::protocol::{InferBody, OutputForms};
use crate::serving::SplitKeys;
use crate::tensor::Name;
use crate::transport::carried::{attributes, split_key};

/// How long the client waits for its answer: a whole number and `us`, `ms` or `s`, for example `250ms`.
pub const TIMEOUT_HEADER: &str = "weir-timeout";
/// JSON up to this length is decoded where it is: half a millisecond's work.
const INLINE_JSON_LEN: usize = 128 << 10;
/// Answers up to this many bytes of tensors are encoded where they are.
const INLINE_ANSWER_LEN: usize = 64 << 10;

const JSON_LENGTH: HeaderName = HeaderName::from_static(HEADER_LENGTH);
const TIMEOUT: HeaderName = HeaderName::from_static(TIMEOUT_HEADER);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

impl HttpDoor {
    /// Answers an inference request.
    pub(super) async fn infer<B>(
        &self,
        target: &Target<'_>,
        headers: &HeaderMap,
        body: B,
    ) -> Result<Reply, Failure>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let note = |failure: &Failure| self.engine.refused(Protocol::Http, failure.code);
        let _permit = self.in_flight.try_acquire().inspect_err(note)?;
        let (request, forms) = self.read(target, headers, body).await.inspect_err(note)?;
        let response = self.engine.infer(request).await.map_err(Failure::of)?;
        encode(response, forms, headers).await
    }

    /// The request, and how its answer is to be written.
    async fn read<B>(
        &self,
        target: &Target<'_>,
        headers: &HeaderMap,
        body: B,
    ) -> Result<(InferRequest, OutputForms), Failure>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let received = Instant::now();
        let header_timeout = timeout_header(headers)?;
        let bounds = Bounds { bytes_max: self.limits.body_bytes_max, stall: self.limits.stall_timeout };
        let body = body::read(headers, body, bounds, &self.in_flight).await.map_err(Failure::of)?;
        let arrived = Instant::now();
        let body = self.decompress(headers, body).await?;
        let split_key = split_key(&self.engine, &target.model, &target.version, headers);
        let (decoded, routed) = match self.decode(target, headers, &split_key, body).await {
            Ok(decoded) => decoded,
            Err(failure) => {
                // That the model is not there says more than what is wrong with the body.
                self.engine.find(&target.model, &target.version).map_err(Failure::of)?;
                return Err(failure);
            }
        };
        let timeout = [decoded.timeout, header_timeout].into_iter().flatten().min();
        let request = InferRequest {
            model: Name::from(&*target.model),
            version: routed.unwrap_or_else(|| Name::from(&*target.version)),
            id: decoded.id,
            split_key,
            attributes: attributes(&self.engine, &target.model, headers),
            inputs: decoded.inputs,
            outputs: decoded.outputs,
            priority: decoded.priority,
            deadline: timeout.map(|timeout| received + timeout.min(self.limits.deadline_max)),
            protocol: Protocol::Http,
            received: Some(received),
            decode: arrived.elapsed(),
        };
        Ok((request, decoded.forms))
    }

    async fn decompress(&self, headers: &HeaderMap, body: Bytes) -> Result<Bytes, Failure> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(body) };
        let Some(coding) = Coding::of_request(value).map_err(Failure::of)? else {
            return Ok(body);
        };
        let bounds = compression::Bounds::new(&self.limits, body.len());
        let in_flight = self.in_flight.clone();
        let inflate = move || compression::decompress(coding, &body, bounds, &in_flight);
        blocking(inflate).await?.map_err(Failure::of)
    }

    /// Decodes in place what is short, and on a blocking thread what is long. Raw tensors are decoded by the signature of
    /// the version that they go to; when a split has chosen it, the answer names it, so that it is not chosen again.
    async fn decode(
        &self,
        target: &Target<'_>,
        headers: &HeaderMap,
        split_key: &Name,
        body: Bytes,
    ) -> Result<(InferBody, Option<Name>), Failure> {
        let header = headers.get(JSON_LENGTH).map(HeaderValue::as_bytes);
        let json_len = binary::json_len(header, body.len()).map_err(Failure::of)?;
        if json_len == 0 && header.is_some() {
            let keys = SplitKeys { id: "", header: split_key };
            let (servable, choice) =
                self.engine.route(&target.model, &target.version, keys).map_err(Failure::of)?;
            let decoded = binary::decode_raw(body, &servable.signature, servable.max_batch_size > 0);
            let routed = choice.route.is_by_split().then(|| Name::from(Arc::clone(&servable.version_text)));
            return decoded.map(|decoded| (decoded, routed)).map_err(Failure::of);
        }
        let decoded = if json_len <= INLINE_JSON_LEN {
            binary::decode_infer(&body, json_len, &self.limits)
        } else {
            let limits = self.limits.clone();
            blocking(move || binary::decode_infer(&body, json_len, &limits)).await?
        };
        decoded.map(|decoded| (decoded, None)).map_err(Failure::of)
    }
}

/// Encodes the answer, compressed if the client asked for that, and reports how long it took.
async fn encode(response: InferResponse, forms: OutputForms, headers: &HeaderMap) -> Result<Reply, Failure> {
    let started = Instant::now();
    let coding = headers.get(ACCEPT_ENCODING).and_then(Coding::of_response);
    if response.data_len() <= INLINE_ANSWER_LEN && coding.is_none() {
        let encoded = binary::encode_infer(&response, &forms).map_err(Failure::of)?;
        response.encoded(started);
        return Ok(reply(encoded));
    }
    blocking(move || {
        let encoded = binary::encode_infer(&response, &forms).map_err(Failure::of)?;
        let reply = match coding {
            Some(coding) => compression::compress(coding, reply(encoded)),
            None => reply(encoded),
        };
        response.encoded(started);
        Ok(reply)
    })
    .await?
}

fn reply(encoded: EncodedInfer) -> Reply {
    let mut reply = Response::new(ReplyBody::chain(encoded.first, encoded.rest));
    let headers = reply.headers_mut();
    match encoded.json_len {
        Some(len) => {
            headers.insert(CONTENT_TYPE, OCTETS);
            headers.insert(JSON_LENGTH, HeaderValue::from(len));
        }
        None => {
            headers.insert(CONTENT_TYPE, JSON);
        }
    }
    reply
}

/// Runs `work` on a thread that may be held up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    // It fails when the work panicked or the runtime is going down.
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::defect())
}

/// The value of [`TIMEOUT_HEADER`].
fn timeout_header(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let timeout = value.to_str().ok().and_then(parse_timeout);
    timeout.map(Some).ok_or_else(|| {
        Failure::new(
            Code::InvalidArgument,
            "the header Weir-Timeout must be a whole number and us, ms or s, for example 250ms",
        )
    })
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Duration>) {
        assert_eq!(parse_timeout(text), expected, "{text}");
    }

    #[test]
    fn timeouts_have_units() {
        check("250ms", Some(Duration::from_millis(250)));
        check("1500us", Some(Duration::from_micros(1500)));
        check("2s", Some(Duration::from_secs(2)));
        for bad in ["", "250", "ms", "-1ms", "1.5s", "99999999999999999999s", "1m", "1 ms"] {
            check(bad, None);
        }
    }
}
