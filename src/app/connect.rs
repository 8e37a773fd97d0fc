//! How a command of this program reaches a running server: its address, whom to trust, and what to show it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;

/// What was typed of the server.
#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: String,
    /// Trust servers whose certificates lead to these (PEM), and no others
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// A client certificate (PEM) to show
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The client certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// A file with an API key or a token to show; in a file, because command lines are seen by others
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl ConnectArgs {
    /// The server's address without a slash at its end.
    pub(super) fn base(&self) -> anyhow::Result<&str> {
        let base = self.url.trim_end_matches('/');
        anyhow::ensure!(
            base.starts_with("http://") || base.starts_with("https://"),
            "--url {}: expected an address such as http://127.0.0.1:8000",
            self.url
        );
        Ok(base)
    }

    /// A client that trusts and shows what was typed.
    pub(super) fn client(&self) -> anyhow::Result<reqwest::Client> {
        // A redirect or a proxy would take the credentials elsewhere.
        let mut builder = reqwest::Client::builder().no_proxy().redirect(Policy::none()).http1_only();
        if let Some(path) = &self.cacert {
            let roots = reqwest::Certificate::from_pem_bundle(&read(path)?)
                .ok()
                .filter(|roots| !roots.is_empty())
                .with_context(|| format!("{}: it holds no certificate in PEM", path.display()))?;
            builder = builder.tls_certs_only(roots);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let both = [read(cert)?, b"\n".to_vec(), read(key)?].concat();
            let identity = reqwest::Identity::from_pem(&both);
            builder = builder.identity(identity.map_err(|_| {
                anyhow::anyhow!(
                    "{} and {}: expected a certificate and its key in PEM",
                    cert.display(),
                    key.display()
                )
            })?);
        }
        if let Some(path) = &self.token_file {
            let token = String::from_utf8(read(path)?).unwrap_or_default();
            let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
            let mut value =
                value.with_context(|| format!("{}: expected a key or a token", path.display()))?;
            value.set_sensitive(true);
            builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
        }
        builder.build().context("cannot make a client")
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}
