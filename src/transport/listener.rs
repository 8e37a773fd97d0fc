//! Binds an address and serves connections on it, for HTTP and gRPC alike: how many, how patient, how they end.
//!
//! What is said on a connection is the service's business.
//!
//! ```text
//! accept (permit) -> connection task (TLS) ------------------------> closed by the client, a time-out or an error
//!                         \-- draining: finish what is in flight, say goodbye --> closed
//!                                                              \-- over: cut
//! ```

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::contained::Defect;
use super::guard::{Guarded, Patience};
use super::shutdown::ShutdownSignal;
use super::tls::Tls;
use super::together::{Running, Together};
use super::trace::{Tracing, traced};
use crate::access::Peer;
use crate::protocol::Limits;

/// Time between two requests of an HTTP/1 connection, as long as common proxies keep theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// HTTP/2 pings after this much silence, and waits as long for the answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Bytes of one HTTP/2 stream's body that may be on their way. A batch of images should not wait for a round trip.
const STREAM_WINDOW: u32 = 4 << 20;
/// The same for all streams of a connection.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// HTTP/2 frames up to this size, so that a tensor comes in few pieces.
const FRAME_SIZE: u32 = 1 << 20;
/// HTTP/2 resets by the client that wait to be accepted (CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 20;
/// HTTP/2 resets that a client provoked (RUSTSEC-2024-0003).
const LOCAL_RESETS_MAX: usize = 1024;
/// hyper takes no smaller read buffer.
const READ_BUFFER_MIN: usize = 8192;
/// Waits between attempts to accept when the process has no descriptor left.
const ACCEPT_BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another process listens there.
    #[error("{address} is in use by another process")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The process may not listen there (ports below 1024, say).
    #[error("not allowed to listen on {address}")]
    Denied {
        /// The address.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

/// Which versions of HTTP a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// HTTP/1.1, and HTTP/2 by prior knowledge.
    Both,
    /// HTTP/2 by prior knowledge only (gRPC).
    Http2,
}

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tracing: Tracing,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Binds `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// [`ListenError`], which names the address.
    pub async fn bind(address: SocketAddr) -> Result<Listener, ListenError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address },
            io::ErrorKind::PermissionDenied => ListenError::Denied { address },
            _ => ListenError::Other { address, source },
        };
        let socket = TcpListener::bind(address).await.map_err(refused)?;
        let bound = socket.local_addr().map_err(|source| ListenError::Other { address, source })?;
        Ok(Listener { socket, address: bound, tracing: Tracing::Off, tls: None })
    }

    /// The address with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same listener, whose requests have spans.
    pub fn traced(self) -> Listener {
        Listener { tracing: Tracing::On, ..self }
    }

    /// The same listener, which speaks TLS and nothing else.
    pub fn secured(self, tls: Arc<Tls>) -> Listener {
        Listener { tls: Some(tls), ..self }
    }

    /// Serves connections until `shutdown` drains, and then until the last one has ended or is cut. `service_for` makes
    /// the service of a connection, which knows its peer.
    pub async fn serve<F, S, B>(
        self,
        service_for: F,
        versions: Versions,
        limits: &Limits,
        mut shutdown: ShutdownSignal,
    ) where
        F: Fn(Arc<Peer>) -> S + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Defect + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let service_for = Arc::new(service_for);
        let limits = Arc::new(limits.clone());
        let patience =
            Patience { header: limits.header_timeout, idle: IDLE_TIMEOUT, stall: limits.stall_timeout };
        let permits = Arc::new(Semaphore::new(limits.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
        let mut connections = JoinSet::new();
        let mut drain = shutdown.clone();
        loop {
            tokio::select! {
                () = drain.draining() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                (socket, address, permit) = self.accept(&permits) => {
                    let (service_for, tracing) = (Arc::clone(&service_for), self.tracing);
                    let (limits, tls) = (Arc::clone(&limits), self.tls.clone());
                    let (mut shutdown, age_max) = (shutdown.clone(), spread_age(limits.connection_age_max));
                    connections.spawn(async move {
                        no_delay(&socket);
                        let service_of = |peer| traced(service_for(Arc::new(peer)), tracing);
                        match tls {
                            None => {
                                let service = service_of(Peer::new(address));
                                serve_connection(socket, service, (versions, &limits), patience, age_max, shutdown).await;
                            }
                            Some(tls) => {
                                let accepted = tokio::select! {
                                    accepted = tls.accept(socket, address, versions) => accepted,
                                    () = shutdown.draining() => None,
                                };
                                if let Some((stream, peer)) = accepted {
                                    let service = service_of(peer);
                                    serve_connection(stream, service, (versions, &limits), patience, age_max, shutdown).await;
                                }
                            }
                        }
                        drop(permit);
                    });
                }
            }
        }
        drop(self.socket);
        while !connections.is_empty() {
            tokio::select! {
                _ = connections.join_next() => {}
                () = shutdown.over() => {
                    tracing::warn!(connections = connections.len(), "cut connections at the end of the grace period");
                    connections.shutdown().await;
                }
            }
        }
    }

    /// Waits for room and then for a client. Never fails: what a client or the system does must not end the loop.
    async fn accept(
        &self,
        permits: &Arc<Semaphore>,
    ) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
        // The semaphore is never closed, so there is a permit.
        let permit = Arc::clone(permits).acquire_owned().await.ok();
        let mut backoff = ACCEPT_BACKOFF.0;
        loop {
            match self.socket.accept().await {
                Ok((socket, address)) => return (socket, address, permit),
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, address = %self.address, "cannot accept connections; waiting");
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(ACCEPT_BACKOFF.1);
                }
            }
        }
    }
}

/// Whether the error belongs to the connection that was not accepted, so that the next may come at once.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn connection_builder(versions: Versions, limits: &Limits, together: Together) -> auto::Builder<Together> {
    let mut builder = auto::Builder::new(together);
    builder
        .http1()
        .timer(TokioTimer::new())
        // `guard` watches the head; hyper's own timer would also close idle connections by the same clock.
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes_max.max(READ_BUFFER_MIN).max(64 << 10))
        .max_headers(100);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    match versions {
        Versions::Both => builder,
        Versions::Http2 => builder.http2_only(),
    }
}

/// Sends small answers at once.
fn no_delay(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
}

/// The age at which a connection is asked to end: up to a tenth less than `max`, so that those that began together do not
/// end together. `None` when they may live for ever.
pub(super) fn spread_age(max: Duration) -> Option<Duration> {
    let share = f64::from(RandomState::new().hash_one(()).to_le_bytes()[0]) / 2550.0;
    (!max.is_zero()).then(|| max.mul_f64(1.0 - share))
}

async fn reached(age: Option<Duration>) {
    match age {
        Some(age) => tokio::time::sleep(age).await,
        None => std::future::pending().await,
    }
}

async fn serve_connection<T, S, B>(
    socket: T,
    service: S,
    (versions, limits): (Versions, &Limits),
    patience: Patience,
    age_max: Option<Duration>,
    mut shutdown: ShutdownSignal,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (io, progress) = Guarded::new(socket, patience);
    let service = service_fn(move |request| {
        let progress = Arc::clone(&progress);
        progress.busy();
        let answer = service.call(request);
        async move {
            let answer = answer.await;
            progress.reply();
            answer
        }
    });
    let together = Together::default();
    let builder = connection_builder(versions, limits, together.clone());
    let mut connection = Running::new(builder.serve_connection(TokioIo::new(io), service), together);
    let mut is_old = std::pin::pin!(reached(age_max));
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = shutdown.draining() => {
            connection.connection().graceful_shutdown();
            connection.await
        }
        () = is_old.as_mut() => {
            connection.connection().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients come and go; their manners are not the operator's problem.
        tracing::debug!(error = &*error, "connection ended");
    }
}
