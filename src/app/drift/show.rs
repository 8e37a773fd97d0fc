//! `weir drift show`: what a running server knows of a version's drift.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::app::cli::say;
use crate::app::connect::ConnectArgs;
use crate::app::registry::common::block;
use crate::app::registry::exit::Failure;

/// Longest report that is taken.
const REPORT_BYTES_MAX: usize = 256 << 20;

/// `weir drift show`.
#[derive(Debug, Args)]
pub(in crate::app) struct ShowArgs {
    /// The model
    model: String,
    /// A version or an alias; the one that most requests go to without it
    #[arg(long, default_value = "", hide_default_value = true)]
    version: String,
    /// pane, 1h, 24h or deploy
    #[arg(long, default_value = "", hide_default_value = true)]
    window: String,
    /// The requests that a traffic split sent to a canary
    #[arg(long)]
    canary: bool,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
    /// Write the page with pictures to a file
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    #[command(flatten)]
    server: ConnectArgs,
}

impl ShowArgs {
    pub(super) fn run(self) -> ExitCode {
        block(self.json, async { self.show().await.map_err(|error| Failure::failed(&error)) })
    }

    async fn show(&self) -> anyhow::Result<()> {
        let form = match (&self.html, self.json) {
            (Some(_), _) => "html",
            (None, true) => "json",
            (None, false) => "text",
        };
        let body = self.fetch(form).await?;
        match &self.html {
            Some(file) => {
                std::fs::write(file, body).with_context(|| file.display().to_string())?;
                say(&format!("{} written\n", file.display()));
            }
            None => say(&format!("{}\n", body.trim_end())),
        }
        Ok(())
    }

    /// The report as the server shows it in `form`.
    async fn fetch(&self, form: &str) -> anyhow::Result<String> {
        let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let address = format!(
            "{}/api/v1/models/{}/drift?version={}&window={}&canary={}&format={form}",
            self.server.base()?,
            escape(&self.model),
            escape(&self.version),
            escape(&self.window),
            self.canary
        );
        let response = self.server.client()?.get(address).send().await.map_err(reqwest::Error::without_url);
        let mut response = response.context("no answer from the server")?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.context("the answer is cut off")? {
            anyhow::ensure!(body.len() + part.len() <= REPORT_BYTES_MAX, "the answer is too large");
            body.extend_from_slice(&part);
        }
        let body = String::from_utf8(body).context("the answer is no text")?;
        if !status.is_success() {
            let error: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            bail!("the server refused: {} ({status})", error["error"].as_str().unwrap_or("no reason given"));
        }
        Ok(body)
    }
}
