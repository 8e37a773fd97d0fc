//! The protocol-neutral request and response, their clock marks, and the taps that watch them.
//!
//! Decoders make an [`InferRequest`]; `serving` answers with an [`InferResponse`]; encoders write it. Neither type
//! knows a wire format. What a version made of a request is an [`Observation`], which taps (capture, drift) take.

mod observe;
mod pace;
mod queue;

pub use self::observe::{
    Acknowledgement, Attention, Choice, Observation, Route, Tap, TapRefused, TapSource, TappedVersion,
};
pub use self::pace::{Pace, yield_to_requests};
pub use self::queue::{Full, ObservationQueue};

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::Version;
use crate::tensor::{Name, Tensor};

/// A request for one inference.
#[derive(Debug, Clone, Default)]
pub struct InferRequest {
    /// The model's name as the client wrote it.
    pub model: Name,
    /// The version as the client wrote it; empty for the default.
    pub version: Name,
    /// The client's id for the request, echoed.
    pub id: Name,
    /// The value of the header that decides the model's traffic split; empty when there is none, or no split needs it.
    pub split_key: Name,
    /// Headers that the model's capture wants; `None` when it wants none, or the request has none of them.
    pub attributes: Option<Attributes>,
    /// Inputs in the client's order.
    pub inputs: Vec<Tensor>,
    /// Outputs that the client wants; empty for all.
    pub outputs: Vec<RequestedOutput>,
    /// 0 is the default, 1 the highest.
    pub priority: u32,
    /// When the client no longer wants the answer.
    pub deadline: Option<Instant>,
    /// Which door the request came through.
    pub protocol: Protocol,
    /// When the first byte of the request was seen by the server; set by the transport.
    pub received: Option<Instant>,
    /// Bytes to tensors; set by the transport.
    pub decode: Duration,
}

/// Headers of a request that are captured: names in lower case, and values.
pub type Attributes = Arc<[(Arc<str>, Name)]>;

/// One output that the client asked for.
#[derive(Debug, Clone, Default)]
pub struct RequestedOutput {
    /// The output's name.
    pub name: Name,
    /// When not 0: answer the top so many classes as `value:index[:label]` strings (classification extension).
    pub classification: u32,
}

/// The door a request came through; a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// gRPC unary.
    #[default]
    Grpc,
    /// gRPC stream.
    GrpcStream,
    /// HTTP.
    Http,
}

impl Protocol {
    /// All protocols, in the order of [`Protocol::index`].
    pub const ALL: [Protocol; 3] = [Protocol::Grpc, Protocol::GrpcStream, Protocol::Http];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::GrpcStream => "grpc_stream",
            Protocol::Http => "http",
        }
    }

    /// Position in [`Protocol::ALL`].
    pub fn index(self) -> usize {
        match self {
            Protocol::Grpc => 0,
            Protocol::GrpcStream => 1,
            Protocol::Http => 2,
        }
    }
}

/// The answer.
#[derive(Debug, Clone)]
pub struct InferResponse {
    /// The model's name.
    pub model: Arc<str>,
    /// The version that really ran.
    pub version: Version,
    /// The same as text, shared with the version, so that no encoder formats it.
    pub version_text: Arc<str>,
    /// The request's id.
    pub id: Name,
    /// Outputs, in the client's order or, when it asked for none, the model's.
    pub outputs: Vec<Tensor>,
    /// How long each stage took.
    pub timing: Timing,
    /// Told by the transport when the answer is encoded. `None` in answers that no version gave.
    pub observer: Option<Arc<dyn AnswerObserver>>,
}

impl InferResponse {
    /// Bytes of all its outputs.
    pub fn data_len(&self) -> usize {
        self.outputs.iter().map(|output| output.data().len()).sum()
    }

    /// Reports that the answer is encoded, which began at `since`. Transports call it once, after encoding; it costs one
    /// look at the clock and two histogram observations, and looks nothing up.
    pub fn encoded(&self, since: Instant) {
        if let Some(observer) = &self.observer {
            observer.encoded(&self.timing, since);
        }
    }
}

/// Takes the last two measurements of a request, which only the transport can make.
pub trait AnswerObserver: Send + Sync + std::fmt::Debug {
    /// The answer is encoded, which began at `since`. The total runs from `timing.received`, when the transport has set it,
    /// to now.
    fn encoded(&self, timing: &Timing, since: Instant);
}

/// How long each stage of a request took. The total is the caller's to measure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// When the first byte of the request was seen by the server; set by the transport.
    pub received: Option<Instant>,
    /// Bytes to tensors.
    pub decode: Duration,
    /// From admission to the start of the batch.
    pub queue: Duration,
    /// Rows into staging buffers (the whole batch).
    pub gather: Duration,
    /// The run (the whole batch).
    pub compute: Duration,
    /// Outputs to row ranges (the whole batch).
    pub scatter: Duration,
    /// Rows of the batch that the request ran in.
    pub batch_rows: usize,
}
