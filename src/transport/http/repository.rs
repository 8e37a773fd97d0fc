//! The model repository extension: index, load, unload. And the trace and log settings, which are read and not changed
//! by request.

use std::collections::BTreeMap;
use std::error::Error;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use serde_json::{Map, Value, json};

use super::HttpDoor;
use super::body::{self, Bounds};
use super::describe;
use super::reply::{self, Reply};
use crate::access::{Identity, Peer};
use crate::control::LoadOverrides;
use crate::error::Code;
use crate::protocol::status::Failure;
use crate::transport::fixed::{self, Setting};

impl HttpDoor {
    /// `POST /v2/repository/index`, body empty or `{"ready": bool}`.
    pub(super) async fn index<B>(
        &self,
        headers: &HeaderMap,
        body: B,
        may_read: impl Fn(&str) -> bool,
    ) -> Result<Reply, Failure>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let request = self.read_object(headers, body).await?;
        let ready_only = request.get("ready").and_then(Value::as_bool).unwrap_or(false);
        let mut index = self.engine.index(ready_only);
        index.retain(|entry| may_read(&entry.name));
        Ok(reply::json(StatusCode::OK, &describe::index(&index)))
    }

    /// `POST /v2/repository/models/{m}/load`.
    pub(super) async fn load<B>(
        &self,
        model: &str,
        headers: &HeaderMap,
        peer: &Peer,
        body: B,
    ) -> Result<Reply, Failure>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let who = self.identify_for_control(model, headers, peer)?;
        let mut request = self.read_object(headers, body).await?;
        let overrides = overrides(request.remove("parameters"))?;
        self.control.load(&who, model, overrides).await.map_err(Failure::of)?;
        Ok(reply::empty(StatusCode::OK))
    }

    /// `POST /v2/repository/models/{m}/unload`.
    pub(super) async fn unload<B>(
        &self,
        model: &str,
        headers: &HeaderMap,
        peer: &Peer,
        body: B,
    ) -> Result<Reply, Failure>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let who = self.identify_for_control(model, headers, peer)?;
        // `unload_dependents` changes nothing: no model here depends on another.
        self.read_object(headers, body).await?;
        self.control.unload(&who, model).await.map_err(Failure::of)?;
        Ok(reply::empty(StatusCode::OK))
    }

    /// Who wants to change what is served of `model`. Asked before the body is read: who may not sends none.
    fn identify_for_control(
        &self,
        model: &str,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Identity, Failure> {
        let who = self.access.authenticate(headers, peer).map_err(Failure::of)?;
        self.control.check_allowed(&who, model).map_err(Failure::of)?;
        Ok(who)
    }

    /// `GET` and `POST /v2/trace/setting`, server-wide and by model.
    pub(super) async fn trace_setting<B>(&self, headers: &HeaderMap, body: B) -> Result<Reply, Failure>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.read_only(headers, body, trace_settings()).await
    }

    /// `GET` and `POST /v2/logging`.
    pub(super) async fn logging<B>(&self, headers: &HeaderMap, body: B) -> Result<Reply, Failure>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.read_only(headers, body, log_settings()).await
    }

    /// Shows `settings` to a client that changes none.
    async fn read_only<B>(&self, headers: &HeaderMap, body: B, settings: Value) -> Result<Reply, Failure>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if self.read_object(headers, body).await?.is_empty() {
            Ok(reply::json(StatusCode::OK, &settings))
        } else {
            Err(Failure::new(Code::Unimplemented, fixed::CHANGE_REFUSED))
        }
    }

    /// The body as a JSON object; empty for an empty body.
    async fn read_object<B>(&self, headers: &HeaderMap, body: B) -> Result<Map<String, Value>, Failure>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let bounds = Bounds { bytes_max: self.limits.body_bytes_max, stall: self.limits.stall_timeout };
        let body = body::read(headers, body, bounds, &self.in_flight).await.map_err(Failure::of)?;
        if body.trim_ascii().is_empty() {
            return Ok(Map::new());
        }
        match serde_json::from_slice(&body) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(invalid("the body must be a JSON object")),
            Err(error) => Err(invalid(format!("the body is not JSON: {error}"))),
        }
    }
}

/// Triton's load parameters: `config` and `file:<version>/<name>`.
fn overrides(parameters: Option<Value>) -> Result<LoadOverrides, Failure> {
    let parameters = match parameters {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(parameters)) => parameters,
        Some(_) => return Err(invalid("'parameters' must be a JSON object")),
    };
    let mut overrides = LoadOverrides { config_json: None, files: BTreeMap::new() };
    for (key, value) in parameters {
        let Value::String(text) = value else {
            return Err(invalid(format!("parameter '{}' must be a string", key.escape_debug())));
        };
        if key == "config" {
            overrides.config_json = Some(text);
        } else if let Some(path) = key.strip_prefix("file:") {
            let content = BASE64_STANDARD
                .decode(&text)
                .map_err(|_| invalid(format!("parameter '{}' is not base64", key.escape_debug())))?;
            overrides.files.insert(path.to_owned(), Bytes::from(content));
        } else {
            return Err(invalid(format!("unknown parameter '{}'", key.escape_debug())));
        }
    }
    Ok(overrides)
}

/// Trace settings as JSON; a level is a list, as Triton has it.
fn trace_settings() -> Value {
    let value = |&(name, text): &(&str, &str)| {
        let value = if name == "trace_level" { json!([text]) } else { json!(text) };
        (name.to_owned(), value)
    };
    Value::Object(fixed::TRACE.iter().map(value).collect())
}

fn log_settings() -> Value {
    let value = |&(name, setting): &(&str, Setting)| {
        let value = match setting {
            Setting::Bool(value) => json!(value),
            Setting::Number(value) => json!(value),
            Setting::Text(value) => json!(value),
        };
        (name.to_owned(), value)
    };
    Value::Object(fixed::LOG.iter().map(value).collect())
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expected<'a> = Result<(Option<&'a str>, &'a [(&'a str, &'a str)]), &'a str>;

    fn check(parameters: Value, expected: Expected<'_>) {
        let made = overrides(Some(parameters));
        let made = made.map(|made| (made.config_json, made.files)).map_err(|failure| failure.message);
        let expected = expected.map_err(str::to_owned).map(|(config, files)| {
            let files = files.iter().map(|(path, text)| (path.to_string(), Bytes::from(text.to_string())));
            (config.map(str::to_owned), files.collect())
        });
        assert_eq!(made, expected);
    }

    #[test]
    fn load_parameters() {
        check(json!({}), Ok((None, &[])));
        check(json!({"config": "{}"}), Ok((Some("{}"), &[])));
        check(json!({"file:1/model.onnx": "aGk="}), Ok((None, &[("1/model.onnx", "hi")])));
        check(json!({"file:1/model.onnx": "?"}), Err("parameter 'file:1/model.onnx' is not base64"));
        check(json!({"config": 1}), Err("parameter 'config' must be a string"));
        check(json!({"other": "x"}), Err("unknown parameter 'other'"));
        check(json!([]), Err("'parameters' must be a JSON object"));
    }
}
