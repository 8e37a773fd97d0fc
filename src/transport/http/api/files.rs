//! The files of a version: which there are, and their content, verified while it is sent.

use std::sync::Arc;

use axum::body::Body as AnyBody;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::ToSchema;

use super::ApiState;
use super::caller::{Caller, json_at, model_name};
use super::failure::{ApiError, ErrorBody};
use crate::error::Code;
use crate::model::Version;
use crate::registry::ops::check;
use crate::registry::package::pull::check_record;
use crate::registry::{FileRef, ModelState, RegistryError, blobs};

/// Most files that are sent at a time.
pub(super) const DOWNLOADS_MAX: usize = 64;

/// Where a file is; the name may have slashes, as they are or as `%2F`.
pub(super) const FILE_PATH: &str = "/api/v1/models/{model}/versions/{version}/files/{*path}";

/// Files of a version.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Files {
    /// The model.
    model: String,
    /// The version's number.
    #[schema(value_type = u64)]
    version: Version,
    /// SHA-256 over all files.
    digest: String,
    /// The ONNX file among them.
    model_file: String,
    /// Each with its path, size and SHA-256, ascending by path.
    #[schema(value_type = Vec<Object>)]
    files: Vec<FileRef>,
}

/// List the files of a version
#[utoipa::path(get, path = "/api/v1/models/{model}/versions/{version}/files", tag = "models",
    params(("model" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Files), (status = "4XX", body = ErrorBody)))]
pub(super) async fn files(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, version)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let (known, number) = find(&state, &caller, &model, &version).await?;
    let record = &known.live(number)?.record;
    Ok(json_at(
        known.rev,
        &Files {
            model,
            version: number,
            digest: record.digest.clone(),
            model_file: record.model_file.clone(),
            files: record.files.clone(),
        },
    ))
}

/// Read a file of a version
///
/// The whole file; its entity tag is its SHA-256. A file that is damaged in the registry is refused or, when that shows
/// only at its end, cut off before its last bytes, so that it is shorter than `Content-Length` says.
#[utoipa::path(get, path = "/api/v1/models/{model}/versions/{version}/files/{path}", tag = "models",
    params(("model" = String, Path), ("version" = String, Path), ("path" = String, Path)),
    responses((status = 200, description = "the content", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = "4XX", body = ErrorBody)))]
pub(super) async fn file(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, version, path)): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    let (known, number) = find(&state, &caller, &model, &version).await?;
    let record = &known.live(number)?.record;
    check_record(record).map_err(|_| damaged())?;
    let missing = || ApiError::not_found("the version has no such file");
    let file = record.files.iter().find(|file| file.path == path).ok_or_else(missing)?;
    let permit = download(&state)?;
    let store = state.control.registry()?.inner().store().clone();
    let pieces = blobs::read_pieces(&store, file).await.map_err(RegistryError::from)?;
    let shown = format!("{model}@{number}: {path}");
    let pieces = ReceiverStream::new(pieces).inspect(move |piece| {
        let _until_all_is_sent = &permit;
        if let Err(error) = piece {
            tracing::warn!(file = shown, %error, "a file was cut off while it was sent");
        }
    });
    let mut response = AnyBody::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(file.size));
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", file.sha256)) {
        headers.insert(ETAG, tag);
    }
    Ok(response)
}

/// Room for something that is sent.
pub(super) fn download(state: &ApiState) -> Result<OwnedSemaphorePermit, ApiError> {
    let full =
        |_| ApiError::new(Code::ResourceExhausted, format!("{DOWNLOADS_MAX} files are being sent already"));
    Arc::clone(&state.downloads).try_acquire_owned().map_err(full)
}

fn damaged() -> ApiError {
    ApiError::new(Code::FailedPrecondition, "the version's list of files is damaged")
}

/// The version that the address names, for a caller who may read it.
pub(super) async fn find(
    state: &ApiState,
    caller: &Caller,
    model: &str,
    version: &str,
) -> Result<(Arc<ModelState>, Version), ApiError> {
    caller.read(state, Some(model))?;
    let known = state.control.registry()?.state(&model_name(model)?).await?;
    check::exists(&known)?;
    let number = known.resolve(version)?;
    Ok((known, number))
}
