//! Feedback over HTTP: labels as one JSON object, an array of them, or a line each.
//!
//! A body that is not JSON is refused whole. Of a body that is, each label is taken or rejected by itself, and the answer
//! says which by their positions.

use std::fmt;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::ApiState;
use super::caller::{Caller, json, read_body};
use super::failure::{ApiError, ErrorBody};
use crate::control::feedback::{Feedback, Label, LabelValue, limits};
use crate::error::Code;

/// Largest body.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Most rejected labels that are named in an answer.
const REJECTED_SHOWN_MAX: usize = 100;

/// What turned out to be true of a row.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LabelBody {
    /// The request, by the id that the client gave it.
    request_id: String,
    /// The row of the request, from 0.
    #[serde(default)]
    row: u32,
    /// A number, a text, true or false, or a list of those.
    #[schema(value_type = Value)]
    label: Value,
    /// Since when that is known; of several labels of a row, the latest counts. When it is absent, the time of arrival.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = "date-time")]
    label_time: Option<DateTime<Utc>>,
    /// Who says so.
    #[serde(default)]
    source: String,
}

/// One label, or several; as `application/x-ndjson` also a line each.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "describes the body, which is read item by item")]
enum FeedbackBody {
    One(LabelBody),
    Several(Vec<LabelBody>),
}

/// A label that was not taken.
#[derive(Debug, Serialize, ToSchema)]
struct Rejected {
    /// Its position in the body, from 0.
    index: usize,
    /// Why.
    error: String,
}

/// What became of the labels.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FeedbackAnswer {
    /// New ones, which are on disk now.
    accepted: usize,
    /// Those that are known already.
    duplicates: usize,
    /// How many were rejected.
    rejected_count: usize,
    /// The first 100 that were rejected.
    rejected: Vec<Rejected>,
}

/// Say what turned out to be true of answers
///
/// Labels are matched to captured rows by request id and row when they are read. They may come late, may be corrected
/// by a later `label_time`, and may be sent again. Those that were accepted are on the server's disk. A body none of
/// whose labels can be taken is answered by 400.
#[utoipa::path(post, path = "/api/v1/models/{model}/feedback", tag = "monitoring", request_body = inline(FeedbackBody),
    params(("model" = String, Path)), responses((status = 200, body = FeedbackAnswer), (status = "4XX", body = ErrorBody)))]
pub(super) async fn send(
    State(state): State<ApiState>,
    caller: Caller,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let bytes = read_body(request, BODY_BYTES_MAX).await?;
    let sent = items(&bytes).map_err(|reason| ApiError::new(Code::InvalidArgument, reason))?;
    let labels = sent.into_iter().map(label).collect();
    let feedback = state.control.feedback(caller.who(), &model, labels).await?;
    answer(feedback)
}

fn answer(feedback: Feedback) -> Result<Response, ApiError> {
    let Feedback { accepted, duplicates, rejected } = feedback;
    if let Some((index, reason)) = rejected.first().filter(|_| accepted + duplicates == 0) {
        let message = format!("no label was taken, of {}; label {index}: {reason}", rejected.len());
        return Err(ApiError::new(Code::InvalidArgument, message));
    }
    let rejected_count = rejected.len();
    let shown = rejected.into_iter().take(REJECTED_SHOWN_MAX);
    let rejected = shown.map(|(index, error)| Rejected { index, error }).collect();
    Ok(json(&FeedbackAnswer { accepted, duplicates, rejected_count, rejected }))
}

/// What stands in a body: of an array its items, else one value after the other.
fn items(body: &[u8]) -> Result<Vec<Value>, String> {
    let text = body.trim_ascii();
    let malformed = |error: serde_json::Error| format!("the body: {error}");
    let items = match text.first() {
        None => Vec::new(),
        Some(b'[') => serde_json::from_slice::<Items>(text).map_err(malformed)?.0,
        Some(_) => {
            let mut items = Vec::new();
            for item in serde_json::Deserializer::from_slice(text).into_iter() {
                items.push(item.map_err(malformed)?);
                if items.len() > limits::BATCH_MAX {
                    return Err(too_many());
                }
            }
            items
        }
    };
    if items.is_empty() {
        return Err("the body has no label".to_owned());
    }
    Ok(items)
}

fn too_many() -> String {
    format!("the body has more than {} labels: send it in parts", limits::BATCH_MAX)
}

/// The items of an array that has not too many.
struct Items(Vec<Value>);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Items, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Items;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of labels")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Items, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = array.next_element()? {
                    items.push(item);
                    if items.len() > limits::BATCH_MAX {
                        return Err(A::Error::custom(too_many()));
                    }
                }
                Ok(Items(items))
            }
        }

        deserializer.deserialize_seq(Bounded)
    }
}

fn label(item: Value) -> Result<Label, String> {
    if !item.is_object() {
        return Err("a label is an object with request_id and label".to_owned());
    }
    let body: LabelBody = serde_json::from_value(item).map_err(|error| error.to_string())?;
    Ok(Label {
        value: LabelValue::try_from(body.label)?,
        request_id: body.request_id,
        row: body.row,
        time_us: body.label_time.map(|time| time.timestamp_micros()),
        source: body.source,
    })
}
