//! A whole version as one tar stream: `weir pull` and `weir export` over HTTP.

use axum::body::Body as AnyBody;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use serde::Deserialize;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::caller::Caller;
use super::failure::{ApiError, ErrorBody};
use super::files::{download, find};
use crate::control::images::ImageError;
use crate::registry::package::outgoing::Outgoing;

/// The form of a version.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// The files as they were registered.
    #[default]
    Files,
    /// A model repository in Triton's layout.
    Triton,
    /// An OCI image layout: this server's program, the model, a configuration.
    Oci,
}

/// What is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// `files`, `triton` or `oci`; `files` when it is absent.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// Read a whole version as a tar stream
///
/// `files` is what a registration takes, so a version can be sent on to another registry. Its entity tag is the version's
/// digest. A file that is damaged in the registry ends the stream before the file's last bytes, so that it is shorter than
/// `Content-Length` says. One image (`oci`) is made at a time: 429 for others.
#[utoipa::path(get, path = "/api/v1/models/{model}/versions/{version}/package", tag = "models",
    params(("model" = String, Path), ("version" = String, Path), Wanted),
    responses((status = 200, description = "the tar stream", body = Vec<u8>, content_type = "application/x-tar"),
    (status = 429, description = "others are being sent", body = ErrorBody), (status = "4XX", body = ErrorBody)))]
pub(super) async fn package(
    State(state): State<ApiState>,
    caller: Caller,
    Path((model, version)): Path<(String, String)>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (known, number) = find(&state, &caller, &model, &version).await?;
    let Query(wanted) = wanted.map_err(ApiError::of_query)?;
    let record = &known.live(number)?.record;
    let permit = download(&state)?;
    let door = state.control.registry()?;
    let store = door.inner().store().clone();
    let name = &known.model;
    let (outgoing, image_permit) = match wanted.format {
        Format::Files => (Outgoing::files(record).map_err(ImageError::from)?, None),
        Format::Triton => {
            let made = Outgoing::triton(&store, name, number, record).await;
            (made.map_err(ImageError::from)?, None)
        }
        Format::Oci => {
            let (outgoing, permit) = door.image(name, number, record).await?;
            (outgoing, Some(permit))
        }
    };
    let size = outgoing.size();
    let shown = format!("{name}@{number}");
    let pieces = ReceiverStream::new(outgoing.send(store)).inspect(move |piece| {
        let _until_all_is_sent = (&permit, &image_permit);
        if let Err(error) = piece {
            tracing::warn!(version = shown, %error, "a package was cut off while it was sent");
        }
    });
    let mut response = AnyBody::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    // A model's name needs no quoting.
    let disposition = format!("attachment; filename=\"{name}-{number}.tar\"");
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    let tag = (wanted.format == Format::Files).then(|| format!("\"{}\"", record.digest));
    if let Some(tag) = tag.and_then(|tag| HeaderValue::from_str(&tag).ok()) {
        headers.insert(ETAG, tag);
    }
    Ok(response)
}
