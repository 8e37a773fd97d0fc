//! Certificates, keys and tokens from their files: read before the ports serve, and again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::reload::{Watched, read_all};
use crate::access::{Access, AccessSettings};
use crate::metrics::Registry;
use crate::transport::{ClientAuth, Tls, TlsMaterial, TlsMetrics, TlsPart, TlsProblem};

/// Files of certificates.
#[derive(Debug, Clone)]
pub(super) struct TlsConfig {
    pub(super) certificates: PathBuf,
    pub(super) key: PathBuf,
    pub(super) clients: Option<(PathBuf, ClientAuth)>,
    pub(super) handshake_timeout: Duration,
    /// Whether the metrics port speaks TLS too.
    pub(super) on_metrics: bool,
}

/// Who may do what, and the files that say so.
#[derive(Debug, Clone)]
pub(super) struct AccessConfig {
    pub(super) settings: AccessSettings,
    pub(super) keys_file: Option<PathBuf>,
    pub(super) jwt_key_file: Option<PathBuf>,
    /// Whether scraping metrics needs no credentials even where reading does.
    pub(super) open_metrics: bool,
}

/// Starts TLS, and what looks after its files.
pub(super) fn start_tls(config: &TlsConfig, registry: &Registry) -> anyhow::Result<(Arc<Tls>, Watched)> {
    let mut paths = vec![config.certificates.clone(), config.key.clone()];
    paths.extend(config.clients.iter().map(|(path, _)| path.clone()));
    let contents = read_all(&paths).context("TLS")?;
    let auth = config.clients.as_ref().map(|(_, auth)| *auth);
    let metrics = TlsMetrics::new(registry)?;
    let made = Tls::new(material(&contents, auth), config.handshake_timeout, metrics);
    let tls = Arc::new(made.map_err(|problem| name_file(problem, &paths)).context("TLS")?);
    let (target, names) = (Arc::clone(&tls), paths.clone());
    let watched = Watched::new("tls", paths, &contents, move |contents| {
        target.replace(material(contents, auth)).map_err(|problem| name_file(problem, &names))
    });
    Ok((tls, watched))
}

/// The contents of certificate, key and the clients' roots, in this order.
fn material(contents: &[Vec<u8>], auth: Option<ClientAuth>) -> TlsMaterial<'_> {
    let part = |index: usize| contents.get(index).map(Vec::as_slice).unwrap_or_default();
    TlsMaterial { certificates: part(0), key: part(1), clients: auth.map(|auth| (part(2), auth)) }
}

fn name_file(problem: TlsProblem, paths: &[PathBuf]) -> anyhow::Error {
    let index = match problem.part {
        TlsPart::Certificates => 0,
        TlsPart::Key => 1,
        TlsPart::Clients => 2,
    };
    let name = paths.get(index).map(|path| path.display().to_string()).unwrap_or_default();
    anyhow!("{name}: {problem}")
}

/// Starts access, and what looks after its files.
pub(super) fn start_access(
    config: &AccessConfig,
    registry: &Registry,
) -> anyhow::Result<(Arc<Access>, Vec<Watched>)> {
    let access = Arc::new(Access::new(config.settings.clone(), registry)?);
    let mut watched = Vec::new();
    if let Some(path) = &config.keys_file {
        let target = Arc::clone(&access);
        watched.push(start_file("keys", path, move |text| Ok(target.set_keys(text)?)).context("access")?);
    }
    if let Some(path) = &config.jwt_key_file {
        let target = Arc::clone(&access);
        watched.push(
            start_file("jwt_keys", path, move |text| Ok(target.set_jwt_keys(text)?)).context("access")?,
        );
    }
    Ok((access, watched))
}

/// Gives a file's text to `apply`, now and whenever it changes.
fn start_file(
    what: &'static str,
    path: &Path,
    apply: impl Fn(&str) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<Watched> {
    let name = path.display().to_string();
    let apply = move |contents: &[Vec<u8>]| {
        let bytes = contents.first().map(Vec::as_slice).unwrap_or_default();
        let text = std::str::from_utf8(bytes).map_err(|_| anyhow!("{name}: it is not UTF-8"))?;
        apply(text).with_context(|| name.clone())
    };
    let paths = vec![path.to_owned()];
    let contents = read_all(&paths)?;
    apply(&contents)?;
    Ok(Watched::new(what, paths, &contents, apply))
}
