//! gzip and deflate bodies, both ways. What a request may become is bounded by a size and by a ratio to what came.

use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, VARY};

use super::reply::{Reply, ReplyBody, shorten_header};
use crate::error::{Code, Coded};
use crate::protocol::Limits;
use crate::protocol::status::Failure;
use crate::transport::InFlight;

/// Answers below this are sent as they are: the header would cost what compression saves.
const COMPRESSED_LEN_MIN: usize = 1024;
/// Read at a time.
const CHUNK_LEN: usize = 64 << 10;

/// A compressed form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    /// The zlib format, as RFC 9110 has it.
    Deflate,
}

/// Why a body was not decompressed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum CompressionError {
    #[error("Content-Encoding '{0}' is not supported; gzip and deflate are")]
    Unsupported(String),
    #[error("the body is not what its Content-Encoding says, or is cut off")]
    Malformed(#[source] io::Error),
    #[error("the body is larger than {max} bytes once decompressed")]
    TooLarge { max: usize },
    #[error("{}", .0.message)]
    NoRoom(Failure),
}

impl Coded for CompressionError {
    fn code(&self) -> Code {
        match self {
            CompressionError::TooLarge { .. } => Code::TooLarge,
            CompressionError::NoRoom(failure) => failure.code,
            _ => Code::InvalidArgument,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            CompressionError::NoRoom(failure) => failure.retry_after,
            _ => None,
        }
    }
}

impl Coding {
    /// The coding of a request's `Content-Encoding`; `None` for `identity`.
    pub(super) fn of_request(value: &HeaderValue) -> Result<Option<Coding>, CompressionError> {
        let text = value.to_str().unwrap_or("?").trim();
        if text.eq_ignore_ascii_case("gzip") || text.eq_ignore_ascii_case("x-gzip") {
            Ok(Some(Coding::Gzip))
        } else if text.eq_ignore_ascii_case("deflate") {
            Ok(Some(Coding::Deflate))
        } else if text.is_empty() || text.eq_ignore_ascii_case("identity") {
            Ok(None)
        } else {
            Err(CompressionError::Unsupported(shorten_header(text)))
        }
    }

    /// The coding that an `Accept-Encoding` asks for; gzip if it takes both.
    pub(super) fn of_response(value: &HeaderValue) -> Option<Coding> {
        let text = value.to_str().ok()?;
        let accepts = |name: &str| {
            text.split(',').any(|item| {
                let mut parts = item.split(';').map(str::trim);
                let named = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case(name));
                let refused = parts.any(|part| {
                    part.strip_prefix("q=")
                        .is_some_and(|weight| weight.parse::<f32>().is_ok_and(|q| q <= 0.0))
                });
                named && !refused
            })
        };
        if accepts("gzip") { Some(Coding::Gzip) } else { accepts("deflate").then_some(Coding::Deflate) }
    }

    fn as_str(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
        }
    }
}

/// What a body may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    bytes_max: usize,
}

impl Bounds {
    /// The bounds of a body of `compressed_len` bytes.
    pub(super) fn new(limits: &Limits, compressed_len: usize) -> Bounds {
        Bounds { bytes_max: limits.decompressed_bytes_max(compressed_len) }
    }
}

/// Decompresses `body`. Takes as long as the body needs.
pub(super) fn decompress(
    coding: Coding,
    body: &[u8],
    bounds: Bounds,
    in_flight: &InFlight,
) -> Result<Bytes, CompressionError> {
    match coding {
        Coding::Gzip => inflate(MultiGzDecoder::new(body), bounds, in_flight),
        Coding::Deflate => inflate(ZlibDecoder::new(body), bounds, in_flight),
    }
}

fn inflate(mut source: impl Read, bounds: Bounds, in_flight: &InFlight) -> Result<Bytes, CompressionError> {
    let mut all = in_flight.buffer();
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        let len = source.read(&mut chunk).map_err(CompressionError::Malformed)?;
        if len == 0 {
            return Ok(all.freeze());
        }
        if all.len() + len > bounds.bytes_max {
            return Err(CompressionError::TooLarge { max: bounds.bytes_max });
        }
        all.extend(chunk.get(..len).unwrap_or_default()).map_err(CompressionError::NoRoom)?;
    }
}

/// Compresses the body of `reply` unless it is small. Takes as long as the body needs.
pub(super) fn compress(coding: Coding, reply: Reply) -> Reply {
    let (mut head, body) = reply.into_parts();
    let parts: Vec<Bytes> = body.into_parts().collect();
    let len: usize = parts.iter().map(Bytes::len).sum();
    let compressed = (len >= COMPRESSED_LEN_MIN).then(|| deflate(coding, &parts));
    let body = match compressed {
        Some(Ok(bytes)) => {
            head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
            head.headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
            ReplyBody::from(bytes)
        }
        // Writing to memory does not fail; if it did, the plain body is right as well.
        Some(Err(_)) | None => {
            let mut parts = parts.into_iter();
            ReplyBody::chain(parts.next().unwrap_or_default(), parts.collect())
        }
    };
    Reply::from_parts(head, body)
}

fn deflate(coding: Coding, parts: &[Bytes]) -> io::Result<Bytes> {
    let out = BytesMut::new().writer();
    let out = match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(out, Compression::fast());
            parts.iter().try_for_each(|part| encoder.write_all(part))?;
            encoder.finish()?
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(out, Compression::fast());
            parts.iter().try_for_each(|part| encoder.write_all(part))?;
            encoder.finish()?
        }
    };
    Ok(out.into_inner().freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> InFlight {
        InFlight::new(1, usize::MAX)
    }

    fn limits() -> Limits {
        Limits { body_bytes_max: 4 << 20, ..Limits::default() }
    }

    fn round_trip(coding: Coding, len: usize) -> Result<Bytes, CompressionError> {
        let compressed = deflate(coding, &[Bytes::from(vec![7; len])]).unwrap();
        decompress(coding, &compressed, Bounds::new(&limits(), compressed.len()), &room())
    }

    #[test]
    fn bodies_come_back() {
        for coding in [Coding::Gzip, Coding::Deflate] {
            for len in [0, 1, 70_000, 1 << 20] {
                assert_eq!(round_trip(coding, len).unwrap().len(), len, "{coding:?}");
            }
        }
    }

    #[test]
    fn bombs_are_refused() {
        let bomb = round_trip(Coding::Gzip, 3 << 20);
        assert!(matches!(bomb, Err(CompressionError::TooLarge { .. })), "{bomb:?}");
        let bomb = round_trip(Coding::Deflate, 5 << 20);
        assert!(matches!(bomb, Err(CompressionError::TooLarge { .. })), "{bomb:?}");
    }

    #[test]
    fn damage_is_refused() {
        let whole = deflate(Coding::Gzip, &[Bytes::from(vec![7; 5000])]).unwrap();
        for cut in 0..whole.len() {
            let bounds = Bounds::new(&limits(), cut);
            let result = decompress(Coding::Gzip, &whole[..cut], bounds, &room());
            assert!(matches!(result, Err(CompressionError::Malformed(_))), "{cut}: {result:?}");
        }
    }

    #[test]
    fn codings_are_read_from_headers() {
        let request = |text| Coding::of_request(&HeaderValue::from_static(text));
        assert_eq!(request("GZIP").unwrap(), Some(Coding::Gzip));
        assert_eq!(request("identity").unwrap(), None);
        assert!(request("br").is_err());
        assert!(request("gzip, gzip").is_err());
        let response = |text| Coding::of_response(&HeaderValue::from_static(text));
        assert_eq!(response("deflate, gzip;q=0.5"), Some(Coding::Gzip));
        assert_eq!(response("gzip;q=0, deflate"), Some(Coding::Deflate));
        assert_eq!(response("identity"), None);
        assert_eq!(response("*"), None);
    }
}
