//! `GET /api/v1/events`: what happens in the registry as server-sent events.
//!
//! Each event carries a position as its `id`; a client that comes back with it in `Last-Event-ID` goes on where it was.
//! A stream ends when the client goes, or when the server drains. A client that reads too slowly holds up only itself.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::super::HttpDoor;
use super::super::reply::{self, Reply, ReplyBody};
use crate::access::{Identity, Peer, Role};
use crate::control::events::{EventFeed, EventQuery, From, Streamed};
use crate::error::Code;
use crate::protocol::status::Failure;
use crate::transport::shutdown::ShutdownSignal;

/// Time between two comments that keep a silent stream open.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long to wait after the registry could not be read.
const PAUSE: Duration = Duration::from_secs(2);
/// Events that wait for a slow client; the next one waits where it is.
const WAITING_MAX: usize = 16;
/// How soon a client that lost the stream should come back, in the form of the protocol.
const RETRY: &str = "retry: 2000\n\n";

/// What the route needs.
#[derive(Debug, Clone)]
pub struct EventsDoor {
    /// Ends streams.
    pub shutdown: ShutdownSignal,
}

/// The route.
pub(super) const PATH: &str = "/api/v1/events";

/// Stream events as they happen
///
/// Server-sent events: each is a CloudEvent in JSON, and its `id` is a position to go on from with `Last-Event-ID`.
#[utoipa::path(get, path = "/api/v1/events", tag = "history",
    params(
        ("types" = Option<String>, Query, description = "globs of types, with commas between them"),
        ("subject" = Option<String>, Query, description = "how the subject begins"),
        ("tag" = Option<String>, Query, description = "KEY=VALUE of the model or version"),
        ("from" = Option<String>, Query, description = "where to begin"),
        ("Last-Event-ID" = Option<String>, Header, description = "the position of the last event that was seen"),
    ),
    responses((status = 200, description = "events", body = String, content_type = "text/event-stream")))]
#[expect(dead_code, reason = "the description of a route that the door answers itself")]
pub(super) fn describe() {}

impl HttpDoor {
    /// Answers with a stream of events.
    pub(in super::super) async fn event_stream(
        &self,
        method: &Method,
        headers: &HeaderMap,
        query: &str,
        peer: &Peer,
    ) -> Reply {
        match self.open_stream(method, headers, query, peer).await {
            Ok(reply) => reply,
            Err(error) => reply::failure(&error),
        }
    }

    async fn open_stream(
        &self,
        method: &Method,
        headers: &HeaderMap,
        query: &str,
        peer: &Peer,
    ) -> Result<Reply, Failure> {
        let Some(door) = &self.events else {
            return Err(Failure::new(Code::NotFound, "this server follows no registry, so it has no events"));
        };
        let reader = self.admit_reader(headers, peer, None)?;
        let query = parse_query(query, headers)?;
        let body = if method == Method::HEAD {
            ReplyBody::default()
        } else {
            let source = self.control.registry().map_err(Failure::of)?.events().clone();
            let feed = source.open(query).await.map_err(Failure::of)?;
            let (tx, rx) = mpsc::channel(WAITING_MAX);
            tokio::spawn(pump(feed, reader, tx, door.shutdown.clone()));
            ReplyBody::stream(rx)
        };
        let mut reply = Response::new(body);
        *reply.status_mut() = StatusCode::OK;
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(reply)
    }
}

/// Hands events on until the client goes or the server drains.
async fn pump(
    mut feed: EventFeed,
    reader: Option<Identity>,
    tx: mpsc::Sender<Bytes>,
    mut shutdown: ShutdownSignal,
) {
    let serve = async {
        let mut heartbeats = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if tx.send(Bytes::from_static(RETRY.as_bytes())).await.is_err() {
            return;
        }
        loop {
            let mut next = pin!(feed.next());
            let found = loop {
                tokio::select! {
                    found = &mut next => break found,
                    _ = heartbeats.tick() => {
                        // A client that does not read needs no sign of life.
                        tx.try_send(Bytes::from_static(b": \n\n")).ok();
                    }
                }
            };
            let sent = match found {
                Ok(event) if may_see(reader.as_ref(), &event) => tx.send(Bytes::from(frame(&event))).await,
                Ok(_) => Ok(()),
                Err(error) => {
                    tracing::debug!(%error, "a stream of events waits for the registry");
                    tokio::time::sleep(PAUSE).await;
                    Ok(())
                }
            };
            if sent.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = serve => {}
        () = tx.closed() => {}
        () = shutdown.draining() => {}
    }
}

fn may_see(reader: Option<&Identity>, event: &Streamed) -> bool {
    reader.is_none_or(|who| who.allows(Role::Reader, event.model.as_deref()))
}

/// An event in the form of the protocol. JSON has no line breaks here, and neither has a type or a position.
fn frame(event: &Streamed) -> String {
    format!("id: {}\nevent: {}\ndata: {}\n\n", event.token, event.kind, event.json)
}

/// `types`, `subject`, `tag` and `from`; the header goes over `from`.
fn parse_query(query: &str, headers: &HeaderMap) -> Result<EventQuery, Failure> {
    let invalid = |message: String| Failure::new(Code::InvalidArgument, message);
    let mut parsed = EventQuery::default();
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "types" => {
                parsed.types.extend(value.split(',').filter(|kind| !kind.is_empty()).map(str::to_owned))
            }
            "subject" => parsed.subject = value.into_owned(),
            "tag" => {
                let pair = value.split_once('=');
                let (key, value) = pair.ok_or_else(|| invalid("'tag' must be KEY=VALUE".to_owned()))?;
                parsed.tags.push((key.to_owned(), value.to_owned()));
            }
            "from" => parsed.from = parse_from(&value).map_err(invalid)?,
            _ => {
                let shown: String = key.chars().take(48).flat_map(char::escape_debug).collect();
                return Err(invalid(format!(
                    "unknown parameter '{shown}': there are types, subject, tag, from"
                )));
            }
        }
    }
    if let Some(token) = headers.get("last-event-id").and_then(|value| value.to_str().ok())
        && !token.is_empty()
    {
        parsed.from = From::Token(token.to_owned());
    }
    Ok(parsed)
}

fn parse_from(value: &str) -> Result<From, String> {
    match value {
        "now" => Ok(From::Now),
        "beginning" => Ok(From::Beginning),
        value => match DateTime::parse_from_rfc3339(value) {
            Ok(time) => Ok(From::Time(time.to_utc())),
            Err(_) => Err("'from' must be now, beginning, or a time such as 2026-01-31T12:00:00Z".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let none = HeaderMap::new();
        let query = "types=alias.*,version.failed&types=x&subject=models/a%2Fb&tag=k%3Dv&from=beginning";
        let parsed = parse_query(query, &none).unwrap();
        assert_eq!(parsed.types, ["alias.*", "version.failed", "x"]);
        assert_eq!((parsed.subject.as_str(), parsed.tags.len()), ("models/a/b", 1));
        assert!(matches!(parsed.from, From::Beginning));
        assert!(matches!(parse_query("", &none).unwrap().from, From::Now));
        assert!(matches!(parse_query("from=2026-01-31T12:00:00Z", &none).unwrap().from, From::Time(_)));
        for wrong in ["tag=k", "from=yesterday", "type=x"] {
            assert!(parse_query(wrong, &none).is_err(), "{wrong}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", HeaderValue::from_static("pabc"));
        let parsed = parse_query("from=beginning", &headers).unwrap();
        assert!(matches!(parsed.from, From::Token(token) if token == "pabc"));
    }
}
