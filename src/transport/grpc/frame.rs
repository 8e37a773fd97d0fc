//! gRPC's framing on the way in: a flag, a length, a message, again and again. Knows no message.
//!
//! A message that came in one HTTP/2 frame is a slice of it. A longer one is collected in a buffer that grows with what
//! arrives, never by the length the client states.

use std::io::Read;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use futures_util::FutureExt;
use http::HeaderMap;
use http_body_util::BodyExt;

use crate::error::Code;
use crate::protocol::Limits;
use crate::protocol::status::Failure;
use crate::transport::InFlight;

/// The flag and the length before each message.
pub(super) const PREFIX_LEN: usize = 5;
/// The most that is reserved before it has arrived.
const RESERVE_MAX: usize = 64 << 10;
/// Expanded at a time.
const CHUNK_LEN: usize = 8 << 10;
/// Bytes above which a message is expanded or compressed away from the threads that serve sockets.
const INLINE_COMPRESSION_MAX: usize = 32 << 10;

/// A message's form on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    /// The zlib format.
    Deflate,
}

impl Encoding {
    /// What `grpc-encoding` says of the messages.
    pub(super) fn of_request(headers: &HeaderMap) -> Result<Encoding, Failure> {
        match headers.get("grpc-encoding").map(|value| value.as_bytes()) {
            None | Some(b"identity") => Ok(Encoding::Identity),
            Some(b"gzip") => Ok(Encoding::Gzip),
            Some(b"deflate") => Ok(Encoding::Deflate),
            Some(_) => {
                let message = "the message encoding is not supported; identity, gzip and deflate are";
                Err(Failure::new(Code::Unimplemented, message))
            }
        }
    }
}

/// Reads the messages of a request's body, in order.
#[derive(Debug)]
pub(super) struct Messages<B> {
    body: B,
    encoding: Encoding,
    limits: Arc<Limits>,
    in_flight: InFlight,
    /// Received and not yet read.
    rest: Bytes,
}

impl<B> Messages<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    pub(super) fn new(body: B, encoding: Encoding, limits: Arc<Limits>, in_flight: InFlight) -> Messages<B> {
        Messages { body, encoding, limits, in_flight, rest: Bytes::new() }
    }

    /// The next message, or `None` when the client has sent its last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while self.rest.len() < PREFIX_LEN {
            let Some(data) = self.data(!self.rest.is_empty()).await? else {
                return if self.rest.is_empty() { Ok(None) } else { Err(cut_off()) };
            };
            self.rest = join(std::mem::take(&mut self.rest), data);
        }
        let flag = self.rest.get_u8();
        let len = self.rest.get_u32() as usize;
        if len > self.limits.body_bytes_max {
            return Err(self.too_large(len));
        }
        let message = self.collect(len).await?;
        match (flag, self.encoding) {
            (0, _) => Ok(Some(message)),
            (1, Encoding::Identity) => {
                Err(Failure::new(Code::InvalidArgument, "a message is compressed without grpc-encoding"))
            }
            (1, encoding) => {
                let max = self.limits.decompressed_bytes_max(message.len());
                expand(message, encoding, max, self.in_flight.clone()).await.map(Some)
            }
            _ => Err(Failure::new(Code::InvalidArgument, "a message has an unknown compression flag")),
        }
    }

    /// The only message of a unary call.
    pub(super) async fn only(&mut self) -> Result<Bytes, Failure> {
        let missing = || Failure::new(Code::InvalidArgument, "the call has no message");
        // A client that opens a call and sends nothing must not hold it for ever.
        self.rest = self.data(true).await?.ok_or_else(missing)?;
        let message = self.next().await?.ok_or_else(missing)?;
        if self.rest.is_empty() && (self.body.is_end_stream() || self.data(true).await?.is_none()) {
            return Ok(message);
        }
        Err(Failure::new(Code::InvalidArgument, "the call has more than one message"))
    }

    /// Takes `len` bytes.
    async fn collect(&mut self, len: usize) -> Result<Bytes, Failure> {
        if self.rest.len() >= len {
            return Ok(self.rest.split_to(len));
        }
        let mut message = self.in_flight.buffer();
        message.reserve_total(len.min(RESERVE_MAX).max(self.rest.len()))?;
        message.extend(&self.rest)?;
        self.rest = Bytes::new();
        while message.len() < len {
            let mut data = self.data(true).await?.ok_or_else(cut_off)?;
            let wanted = data.len().min(len - message.len());
            message.extend(&data.split_to(wanted))?;
            self.rest = data;
        }
        Ok(message.freeze())
    }

    /// The next piece of the body that is not empty. `hurry` when the client owes it: then it must come in time.
    async fn data(&mut self, hurry: bool) -> Result<Option<Bytes>, Failure> {
        loop {
            let mut frame = pin!(self.body.frame());
            let frame = match (frame.as_mut().now_or_never(), hurry) {
                (Some(frame), _) => frame,
                (None, false) => frame.await,
                (None, true) => {
                    tokio::time::timeout(self.limits.stall_timeout, frame).await.map_err(|_| {
                        Failure::new(Code::DeadlineExceeded, "the request's message did not arrive in time")
                    })?
                }
            };
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(cut_off()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }

    fn too_large(&self, len: usize) -> Failure {
        let max = self.limits.body_bytes_max;
        Failure::new(Code::TooLarge, format!("the message has {len} bytes; at most {max} are allowed"))
    }
}

async fn expand(
    message: Bytes,
    encoding: Encoding,
    max: usize,
    in_flight: InFlight,
) -> Result<Bytes, Failure> {
    if !is_long_work(message.len()) {
        return inflate(&message, encoding, max, &in_flight);
    }
    tokio::task::spawn_blocking(move || inflate(&message, encoding, max, &in_flight))
        .await
        .unwrap_or_else(|_| Err(Failure::defect()))
}

/// Whether a message of `len` bytes should be expanded or compressed on a blocking thread.
pub(super) fn is_long_work(len: usize) -> bool {
    len > INLINE_COMPRESSION_MAX
}

fn cut_off() -> Failure {
    Failure::new(Code::Cancelled, "the request ends inside a message")
}

/// `rest` is shorter than a prefix.
fn join(rest: Bytes, data: Bytes) -> Bytes {
    if rest.is_empty() {
        return data;
    }
    let mut joined = BytesMut::with_capacity(rest.len() + data.len());
    joined.extend_from_slice(&rest);
    joined.extend_from_slice(&data);
    joined.freeze()
}

fn inflate(message: &[u8], encoding: Encoding, max: usize, in_flight: &InFlight) -> Result<Bytes, Failure> {
    match encoding {
        Encoding::Deflate => read_all(ZlibDecoder::new(message), max, in_flight),
        _ => read_all(MultiGzDecoder::new(message), max, in_flight),
    }
}

fn read_all(mut source: impl Read, max: usize, in_flight: &InFlight) -> Result<Bytes, Failure> {
    let mut expanded = in_flight.buffer();
    let mut chunk = [0; CHUNK_LEN];
    loop {
        let len = source.read(&mut chunk).map_err(|_| {
            Failure::new(Code::InvalidArgument, "the message is not what its grpc-encoding says")
        })?;
        if len == 0 {
            return Ok(expanded.freeze());
        }
        if expanded.len() + len > max {
            let text = format!("the message is larger than {max} bytes once decompressed");
            return Err(Failure::new(Code::TooLarge, text));
        }
        expanded.extend(chunk.get(..len).unwrap_or_default())?;
    }
}
