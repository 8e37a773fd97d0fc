//! The socket of `weir infer`: two requests over HTTP/1.1, bounded in what they take back.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use super::request::Body;
use crate::app::connect::ConnectArgs;

/// Where the JSON of a body with binary data ends.
const HEADER_LENGTH: &str = "inference-header-content-length";
/// The most that is taken back.
const ANSWER_BYTES_MAX: usize = 4 << 30;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A client of one server.
pub(super) struct Client {
    base: String,
    inner: reqwest::Client,
}

impl Client {
    /// A client of the server that was named.
    pub(super) fn new(server: &ConnectArgs) -> anyhow::Result<Client> {
        Ok(Client { base: server.base()?.to_owned(), inner: server.client()? })
    }

    /// Fetches JSON.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.send(self.inner.get(format!("{}{path}", self.base))).await?.0)
    }

    /// Sends a request for inference; answers its JSON and the binary data after it.
    pub(super) async fn infer(&self, path: &str, body: Body) -> anyhow::Result<(Value, Bytes)> {
        let request = self
            .inner
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/octet-stream")
            .header(HEADER_LENGTH, body.header_len)
            .body(body.bytes);
        self.send(request).await
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<(Value, Bytes)> {
        let answered = async {
            let response = request.send().await.map_err(reqwest::Error::without_url);
            read(response.with_context(|| format!("no answer from {}", self.base))?).await
        };
        tokio::time::timeout(TIMEOUT, answered).await.context("the server took too long")?
    }
}

async fn read(mut response: Response) -> anyhow::Result<(Value, Bytes)> {
    let status = response.status();
    let header_len =
        response.headers().get(HEADER_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = BytesMut::new();
    while let Some(part) = response.chunk().await.context("the answer is cut off")? {
        anyhow::ensure!(body.len() + part.len() <= ANSWER_BYTES_MAX, "the answer is too large");
        body.extend_from_slice(&part);
    }
    let body = body.freeze();
    let header_len: usize = header_len.unwrap_or(body.len());
    anyhow::ensure!(header_len <= body.len(), "the answer is cut off");
    let json: Value = serde_json::from_slice(&body[..header_len])
        .with_context(|| format!("the server answered {status}, not in JSON"))?;
    if !status.is_success() {
        bail!("the server refused: {} ({status})", json["error"].as_str().unwrap_or("no reason given"));
    }
    Ok((json, body.slice(header_len..)))
}

/// A name as a part of a path.
pub(super) fn escape(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}
