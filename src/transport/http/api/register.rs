//! Registering: a client sends a package and gets the version that it became.
//!
//! The body is the package itself, a tar stream or one ONNX file, so that nothing of it is ever held in memory; what else
//! there is to say stands in the address, in the words of `weir register`. Who may not register is refused before a byte of
//! the body is read.

use std::time::Duration;

use axum::body::Body as AnyBody;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::ApiState;
use super::caller::{Caller, json_at, model_name};
use super::failure::{ApiError, ErrorBody};
use crate::control::RegistryDoor;
use crate::control::intake::Receiving;
use crate::control::register::{Registered, Registration};
use crate::error::Code;
use crate::model::{ModelName, Version};
use crate::registry::Intent;
use crate::registry::package::incoming::Form;
use crate::registry::package::{Choice, git};
use crate::registry::record::{GitRecord, ModelRef};

/// How long a body may stand still.
const STALL: Duration = Duration::from_secs(60);
/// Longest idempotency key.
const KEY_LEN_MAX: usize = 256;

/// What a package became.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Made {
    /// The model.
    model: String,
    /// The version's number.
    #[schema(value_type = u64)]
    version: Version,
    /// The model's revision that made it, or its newest one when the version was there already.
    revision: u64,
    /// Whether this request made it; false when there was a version of the same files, or of the same key.
    created: bool,
    /// SHA-256 over all files.
    digest: String,
    /// Where its files were taken from.
    source: String,
    /// What is odd about it.
    warnings: Vec<String>,
}

/// Register a package as the next version of a model
///
/// The body is a tar stream of the package's folder (`application/x-tar`: any package that `weir register` takes) or one ONNX
/// file (`application/octet-stream`). It is opened and run in a child process before it is registered; a model that does not come
/// through that is refused, which the log says. Parameters that take pairs may be repeated. The same `Idempotency-Key` again
/// finds the version that it made.
#[utoipa::path(post, path = "/api/v1/models/{model}/versions", tag = "changes",
    params(
        ("model" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "names this registration"),
        ("If-Match" = Option<String>, Header, description = "the model's revision that is known"),
        ("reason" = Option<String>, Query, description = "why; needed with an alias"),
        ("description" = Option<String>, Query, description = "what the version is"),
        ("tag" = Vec<String>, Query, description = "KEY=VALUE, may change later"),
        ("property" = Vec<String>, Query, description = "KEY=VALUE, stays as it is"),
        ("metric" = Vec<String>, Query, description = "KEY=NUMBER"),
        ("dataset" = Vec<String>, Query, description = "ROLE=URI of data that it was made from or tested with"),
        ("run" = Option<String>, Query, description = "the training run"),
        ("from" = Vec<String>, Query, description = "NAME@VERSION that it was made from"),
        ("alias" = Option<String>, Query, description = "an alias that is to point at it; takes the role of a promoter"),
        ("force_new" = Option<bool>, Query, description = "make a version though there is one of the same files"),
        ("sample" = Option<String>, Query, description = "inputs as JSON, whose outputs are kept"),
        ("package_version" = Option<u64>, Query, description = "which version of a Triton model; the newest without it"),
        ("git_commit" = Option<String>, Query, description = "the commit of the code that made it"),
        ("git_branch" = Option<String>, Query, description = "its branch"),
        ("git_remote" = Option<String>, Query, description = "its remote; credentials are left out"),
        ("git_dirty" = Option<bool>, Query, description = "whether files differed from the commit"),
    ),
    request_body(content((Vec<u8> = "application/x-tar"), (Vec<u8> = "application/octet-stream"))),
    responses((status = 201, description = "a version was made", body = Made),
    (status = 200, description = "there was one already", body = Made),
    (status = 413, description = "the package is too long", body = ErrorBody),
    (status = 429, description = "others are being registered", body = ErrorBody), (status = "4XX", body = ErrorBody)))]
pub(super) async fn register(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let said = Said::parse(head.uri.query().unwrap_or_default())?;
    let name = model_name(&model)?;
    let parents = said.parents.iter().map(|(parent, _)| &**parent);
    let intent = caller.registers(&model, said.alias.is_some(), parents, said.reason.clone())?;
    let form = form(&head.headers)?;
    let key = idempotency_key(&head.headers)?;
    let door = state.control.registry()?;
    let (choice, mut registration) = said.registration(door, name, intent).await?;
    registration.idempotency_key = key;
    let receiving = arrive(door.receive(form, choice)?, body).await?;
    let made = receiving.register(door, registration).await?;
    Ok(answer(&model, made))
}

/// What kind of package the body is.
fn form(headers: &HeaderMap) -> Result<Form, ApiError> {
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/x-tar" | "application/tar" => Ok(Form::Tar),
        "application/octet-stream" | "application/onnx" => Ok(Form::Model),
        _ => Err(ApiError::new(
            Code::InvalidArgument,
            "Content-Type must be application/x-tar for a folder, or application/octet-stream for one ONNX file",
        )),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=KEY_LEN_MAX).contains(&key.len())).map(str::to_owned);
    let wrong = || {
        let message = format!("Idempotency-Key must be 1 to {KEY_LEN_MAX} printable characters");
        ApiError::new(Code::InvalidArgument, message)
    };
    key.map(Some).ok_or_else(wrong)
}

/// Passes the body on as it arrives, until it ends or no more of it is wanted.
async fn arrive(receiving: Receiving, mut body: AnyBody) -> Result<Receiving, ApiError> {
    loop {
        let failure = match tokio::time::timeout(STALL, body.frame()).await {
            Ok(None) => return Ok(receiving),
            Ok(Some(Ok(frame))) => {
                // Trailers say nothing here.
                let Ok(piece) = frame.into_data() else { continue };
                match receiving.push(piece).await {
                    true => continue,
                    false => return Ok(receiving),
                }
            }
            Ok(Some(Err(_))) => ApiError::new(Code::InvalidArgument, "the body broke off"),
            Err(_) => {
                let message = format!("the body stalled for {} s", STALL.as_secs());
                ApiError::new(Code::DeadlineExceeded, message)
            }
        };
        receiving.abandon().await;
        return Err(failure);
    }
}

fn answer(model: &str, made: Registered) -> Response {
    let Registered { version, rev, created, record, warnings } = made;
    let (digest, source) = (record.digest, record.source);
    let body = Made { model: model.to_owned(), version, revision: rev, created, digest, source, warnings };
    let mut response = json_at(rev, &body);
    if created {
        *response.status_mut() = StatusCode::CREATED;
        if let Ok(place) = HeaderValue::from_str(&format!("/api/v1/models/{model}/versions/{version}")) {
            response.headers_mut().insert(LOCATION, place);
        }
    }
    response.into_response()
}

/// What the address says of a package.
#[derive(Debug, Default, PartialEq)]
struct Said {
    reason: String,
    description: Option<String>,
    tags: Vec<(String, String)>,
    properties: Vec<(String, String)>,
    metrics: Vec<(String, f64)>,
    datasets: Vec<(String, String)>,
    run: Option<String>,
    /// Models and versions or aliases.
    parents: Vec<(ModelName, String)>,
    alias: Option<String>,
    force_new: bool,
    sample: Option<serde_json::Value>,
    choice: Choice,
    git: Option<GitRecord>,
}

impl Said {
    fn parse(query: &str) -> Result<Said, ApiError> {
        let mut said = Said::default();
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let wrong = |expected: &str| {
                let shown: String = key.chars().take(48).flat_map(char::escape_debug).collect();
                ApiError::new(Code::InvalidArgument, format!("the parameter '{shown}' must be {expected}"))
            };
            let pair = |expected| pair(&value).ok_or_else(|| wrong(expected));
            let truth = || value.parse::<bool>().map_err(|_| wrong("true or false"));
            let git = || said_git(&said);
            match &*key {
                "reason" => said.reason = value.into_owned(),
                "description" => said.description = Some(value.into_owned()),
                "tag" => said.tags.push(pair("KEY=VALUE")?),
                "property" => said.properties.push(pair("KEY=VALUE")?),
                "metric" => {
                    let (name, number) = pair("KEY=NUMBER")?;
                    said.metrics.push((name, number.parse().map_err(|_| wrong("KEY=NUMBER"))?));
                }
                "dataset" => {
                    let (role, uri) = pair("ROLE=URI")?;
                    said.datasets.push((role, git::without_secrets(&uri)));
                }
                "run" => said.run = Some(value.into_owned()),
                "from" => {
                    let target = value.split_once('@').filter(|(_, version)| !version.is_empty());
                    let target = target.and_then(|(model, version)| Some((model.parse().ok()?, version)));
                    let (model, version) = target.ok_or_else(|| wrong("NAME@VERSION"))?;
                    said.parents.push((model, version.to_owned()));
                }
                "alias" => said.alias = Some(value.into_owned()),
                "force_new" => said.force_new = truth()?,
                "sample" => {
                    said.sample = Some(serde_json::from_str(&value).map_err(|_| wrong("JSON"))?);
                }
                "package_version" => {
                    let number = value.parse().map_err(|_| wrong("the number of a version"))?;
                    said.choice = Choice::Number(number);
                }
                "git_commit" => said.git = Some(GitRecord { commit: value.into_owned(), ..git() }),
                "git_branch" => said.git = Some(GitRecord { branch: value.into_owned(), ..git() }),
                "git_remote" => {
                    said.git = Some(GitRecord { remote: git::without_credentials(&value), ..git() });
                }
                "git_dirty" => said.git = Some(GitRecord { dirty: truth()?, ..git() }),
                _ => return Err(wrong("left out: it is not known here")),
            }
        }
        let has_commit = said.git.as_ref().is_none_or(|git| !git.commit.is_empty());
        let no_commit = || ApiError::new(Code::InvalidArgument, "what is said of git needs git_commit");
        has_commit.then_some(said).ok_or_else(no_commit)
    }

    /// The registration, with the versions that it was made from.
    async fn registration(
        self,
        door: &RegistryDoor,
        model: ModelName,
        intent: Intent,
    ) -> Result<(Choice, Registration), ApiError> {
        let mut derived_from = Vec::new();
        for (parent, version) in self.parents {
            let known = door.state(&parent).await?;
            crate::registry::ops::check::exists(&known)?;
            derived_from.push(ModelRef { version: known.resolve(&version)?, model: parent });
        }
        let registration = Registration {
            model,
            intent,
            description: self.description,
            tags: self.tags.into_iter().collect(),
            properties: self.properties.into_iter().collect(),
            metrics: self.metrics.into_iter().collect(),
            datasets: self.datasets.into_iter().collect(),
            run: self.run,
            derived_from,
            git: self.git,
            alias: self.alias,
            proposal: Uuid::now_v7(),
            idempotency_key: None,
            force_new: self.force_new,
            sample: self.sample,
        };
        Ok((self.choice, registration))
    }
}

/// What was said of git so far.
fn said_git(said: &Said) -> GitRecord {
    let none =
        || GitRecord { remote: String::new(), branch: String::new(), commit: String::new(), dirty: false };
    said.git.clone().unwrap_or_else(none)
}

/// `key=value`.
fn pair(text: &str) -> Option<(String, String)> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let query = "tag=area%3Dqna&tag=x=&metric=auc=0.9&dataset=train=s3://u:p@b/t@7&from=base@champion&force_new=true\
                     &git_commit=abc&git_remote=https://me:secret@host/r.git&package_version=3&sample=%5B%5B1%5D%5D&reason=a+b";
        let said = Said::parse(query).unwrap();
        let pairs = [("area".to_owned(), "qna".to_owned()), ("x".to_owned(), String::new())];
        assert_eq!(said.tags, pairs);
        assert_eq!((said.metrics.as_slice(), said.force_new), (&[("auc".to_owned(), 0.9)][..], true));
        assert_eq!(said.datasets, [("train".to_owned(), "s3://b/t@7".to_owned())]);
        assert_eq!(said.parents, [("base".parse().unwrap(), "champion".to_owned())]);
        assert_eq!(said.choice, Choice::Number(Version::new(3).unwrap()));
        assert_eq!((said.reason.as_str(), said.sample.unwrap()), ("a b", serde_json::json!([[1]])));
        let git = said.git.unwrap();
        assert_eq!((git.commit.as_str(), git.remote.as_str()), ("abc", "https://host/r.git"));
        for wrong in [
            "tag=x",
            "tag==x",
            "metric=a=b",
            "from=base",
            "from=base@",
            "from=..@1",
            "force_new=yes",
            "sample=%7B",
            "package_version=0",
            "git_branch=main",
            "nothing=1",
        ] {
            assert!(Said::parse(wrong).is_err(), "{wrong}");
        }
    }
}
