//! TLS on a listener: certificates that can be replaced while it runs, client certificates, and handshakes that end.
//!
//! It takes the contents of files and opens none. A handshake runs in its connection's task, holds its permit, and has
//! a time limit of its own; what comes after it is guarded like a plain connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::IntCounterVec;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::listener::Versions;
use crate::access::Peer;
use crate::metrics::{MetricsError, Registry};

/// The first byte of every TLS connection: a handshake record.
const HANDSHAKE: u8 = 22;
/// What a client that speaks plain HTTP to this port gets.
const PLAIN_ANSWER: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 37\r\n\
    connection: close\r\n\r\n{\"error\":\"this port speaks TLS only\"}";

/// So often what such a client sends after its answer is read, 1 KiB at a time, before it is cut.
const FAREWELL_READS: usize = 64;

/// Whether clients must show a certificate, where a CA for them is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// No connection without one.
    Required,
    /// One that is shown must be good.
    Optional,
}

/// The contents of the files, in PEM.
#[derive(Clone, Copy)]
pub struct TlsMaterial<'a> {
    /// The server's certificate and those that lead to its root.
    pub certificates: &'a [u8],
    /// The server's private key.
    pub key: &'a [u8],
    /// The roots of client certificates, and whether they are needed.
    pub clients: Option<(&'a [u8], ClientAuth)>,
}

impl fmt::Debug for TlsMaterial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial").finish_non_exhaustive()
    }
}

/// Which file is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsPart {
    /// The certificates.
    Certificates,
    /// The key.
    Key,
    /// The clients' roots.
    Clients,
}

/// A file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct TlsProblem {
    /// Which file.
    pub part: TlsPart,
    /// Why, in one line.
    pub reason: String,
}

/// The same certificates, for listeners of both kinds.
#[derive(Debug)]
struct Configs {
    both: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
}

/// TLS for any number of listeners.
#[derive(Debug)]
pub struct Tls {
    configs: ArcSwap<Configs>,
    handshake_timeout: Duration,
    handshakes: IntCounterVec,
}

impl Tls {
    /// TLS with what the files hold, whose handshakes take at most `handshake_timeout`.
    ///
    /// # Errors
    /// [`TlsProblem`], which says which file is wrong and why.
    pub fn new(
        material: TlsMaterial<'_>,
        handshake_timeout: Duration,
        handshakes: TlsMetrics,
    ) -> Result<Tls, TlsProblem> {
        let configs = ArcSwap::from_pointee(configs(material)?);
        Ok(Tls { configs, handshake_timeout, handshakes: handshakes.0 })
    }

    /// Uses what the files hold now for connections from here on. What was there stays when it is wrong.
    ///
    /// # Errors
    /// [`TlsProblem`], which says which file is wrong and why.
    pub fn replace(&self, material: TlsMaterial<'_>) -> Result<(), TlsProblem> {
        self.configs.store(Arc::new(configs(material)?));
        Ok(())
    }

    /// The connection and its peer after the handshake; `None` when there was none, which is counted.
    pub(super) async fn accept(
        &self,
        socket: TcpStream,
        address: SocketAddr,
        versions: Versions,
    ) -> Option<(TlsStream<TcpStream>, Peer)> {
        let config = {
            let configs = self.configs.load();
            Arc::clone(if versions == Versions::Http2 { &configs.http2 } else { &configs.both })
        };
        let handshake = tokio::time::timeout(self.handshake_timeout, handshake(socket, config));
        let (outcome, shaken) = match handshake.await {
            Ok(Ok(shaken @ Shaken::Tls(_))) => ("ok", Some(shaken)),
            Ok(Ok(shaken @ Shaken::Plain(_))) => ("plain", Some(shaken)),
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "no TLS handshake");
                ("failed", None)
            }
            Err(_) => ("timeout", None),
        };
        self.handshakes.with_label_values(&[outcome]).inc();
        let stream = match shaken? {
            Shaken::Tls(stream) => Some(*stream),
            Shaken::Plain(socket) => {
                let _end = tokio::time::timeout(self.handshake_timeout, turn_away(socket)).await;
                None
            }
        };
        stream.map(|stream| {
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let peer = match certificate {
                Some(certificate) => Peer::with_certificate(address, certificate),
                None => Peer::new(address),
            };
            (stream, peer)
        })
    }
}

/// What TLS counts; registered once.
#[derive(Debug, Clone)]
pub struct TlsMetrics(IntCounterVec);

impl TlsMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When they are there already, which is a defect of this program.
    pub fn new(registry: &Registry) -> Result<TlsMetrics, MetricsError> {
        let help = "TLS handshakes by how they ended.";
        Ok(TlsMetrics(registry.counters("weir_tls_handshakes_total", help, &["outcome"])?))
    }
}

/// What a client turned out to speak.
enum Shaken {
    Tls(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
}

/// Shakes hands with a client that speaks TLS.
async fn handshake(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Shaken> {
    let mut first = [0];
    if socket.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first != [HANDSHAKE] {
        return Ok(Shaken::Plain(socket));
    }
    TlsAcceptor::from(config).accept(socket).await.map(|stream| Shaken::Tls(Box::new(stream)))
}

/// Tells a client that speaks no TLS so. What it sends is read until it closes, and thrown away: a socket that is
/// closed with unread bytes, or before its client has written all, takes the answer away from the client.
async fn turn_away(mut socket: TcpStream) -> io::Result<()> {
    let mut request = [0; 1024];
    let _read = socket.read(&mut request).await?;
    socket.write_all(PLAIN_ANSWER).await?;
    socket.shutdown().await?;
    for _ in 0..FAREWELL_READS {
        if socket.read(&mut request).await? == 0 {
            break;
        }
    }
    Ok(())
}

fn configs(material: TlsMaterial<'_>) -> Result<Configs, TlsProblem> {
    let problem = |part| move |reason: String| TlsProblem { part, reason };
    let certificates = certificates(material.certificates).map_err(problem(TlsPart::Certificates))?;
    let key = PrivateKeyDer::from_pem_slice(material.key)
        .map_err(|_| problem(TlsPart::Key)("it holds no private key in PEM".to_owned()))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| problem(TlsPart::Key)(error.to_string()))?;
    let builder = match material.clients {
        None => builder.with_no_client_auth(),
        Some((roots, auth)) => {
            let roots = Arc::new(root_store(roots).map_err(problem(TlsPart::Clients))?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match auth {
                ClientAuth::Required => verifier.build(),
                ClientAuth::Optional => verifier.allow_unauthenticated().build(),
            };
            builder.with_client_cert_verifier(
                verifier.map_err(|error| problem(TlsPart::Clients)(error.to_string()))?,
            )
        }
    };
    let mut both = builder.with_single_cert(certificates, key).map_err(|error| {
        let reason = match error {
            rustls::Error::InconsistentKeys(_) => "it is not the key of the certificate".to_owned(),
            error => error.to_string(),
        };
        problem(TlsPart::Key)(reason)
    })?;
    let mut http2 = both.clone();
    both.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    http2.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Configs { both: Arc::new(both), http2: Arc::new(http2) })
}

/// The certificates of a file, of which there is at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("it holds no certificate in PEM".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("it is not PEM: {error}")),
    }
}

fn root_store(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| format!("a certificate cannot be used: {error}"))?;
    }
    Ok(roots)
}
