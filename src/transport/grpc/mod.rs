//! gRPC: the inference service, health and reflection, as one service of HTTP/2 requests.
//!
//! ModelInfer and ModelStreamInfer are framed and coded by hand, since they are what a server spends its time on;
//! tonic serves every other call. Sockets and connections are the listener's business.
//!
//! ```text
//! request -> Service -> /inference.GRPCInferenceService/ModelInfer        -> infer
//!                       /inference.GRPCInferenceService/ModelStreamInfer  -> stream
//!                       anything else                                     -> tonic: rpc, health, reflection
//! ```

mod service;

mod infer;
mod stream;

mod frame;
mod in_order;
mod reply;
mod status;
mod timeout;

mod describe;
mod health;
mod rpc;

pub use self::service::GrpcDoor;
