//! Sockets: the listeners, what they accept, and how long they wait. Two doors lead inside: `serving::Engine` and
//! `control::ControlPlane`.

pub mod grpc;
mod contained;
mod fixed;
mod guard;
pub mod http;
mod inflight;
mod listener;
mod shutdown;
mod carried;
mod tls;
mod together;
mod trace;
#[cfg(test)]
mod tests;

pub use self::inflight::{InFlight, InFlightPermit};
pub use self::listener::{ListenError, Listener, Versions};
pub use self::shutdown::{ShutdownHandle, ShutdownSignal, shutdown_channel};
pub use self::tls::{ClientAuth, Tls, TlsMaterial, TlsMetrics, TlsPart, TlsProblem};
pub use self::trace::SPAN_TARGET;
