//! The socket of `weir infer`: two requests over HTTP/1.1, bounded in what they take back.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::request::Body;

/// Where the JSON of a body with binary data ends.
const HEADER_LENGTH: &str = "inference-header-content-length";
/// The most that is taken back.
const ANSWER_BYTES_MAX: usize = 4 << 30;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A client of one server.
pub(super) struct Client {
    base: String,
    inner: legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// A client of the server at `url`.
    pub(super) fn new(url: &str) -> anyhow::Result<Client> {
        let base = url.trim_end_matches('/').to_owned();
        anyhow::ensure!(
            base.starts_with("http://"),
            "--url {url}: expected an address such as http://127.0.0.1:8000"
        );
        Ok(Client { base, inner: legacy::Client::builder(TokioExecutor::new()).build_http() })
    }

    /// Fetches JSON.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = Request::get(self.uri(path)?).body(Full::default())?;
        Ok(self.send(request).await?.0)
    }

    /// Sends a request for inference; answers its JSON and the binary data after it.
    pub(super) async fn infer(&self, path: &str, body: Body) -> anyhow::Result<(Value, Bytes)> {
        let request = Request::post(self.uri(path)?)
            .header("content-type", "application/octet-stream")
            .header(HEADER_LENGTH, body.header_len)
            .body(Full::new(body.bytes))?;
        self.send(request).await
    }

    fn uri(&self, path: &str) -> anyhow::Result<Uri> {
        format!("{}{path}", self.base).parse().with_context(|| format!("{} is not an address", self.base))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(Value, Bytes)> {
        let answered = async {
            let response =
                self.inner.request(request).await.with_context(|| format!("no answer from {}", self.base))?;
            read(response).await
        };
        tokio::time::timeout(TIMEOUT, answered).await.context("the server took too long")?
    }
}

async fn read(response: Response<Incoming>) -> anyhow::Result<(Value, Bytes)> {
    let status = response.status();
    let header_len =
        response.headers().get(HEADER_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => bail!("the answer is cut off: {error}"),
    };
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
