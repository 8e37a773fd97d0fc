//! Events as an endless stream for one reader, who may go away and come back: what `GET /api/v1/events` and
//! `weir events tail` show.
//!
//! A reader's place is a token that it gets with each event: positions in all logs. Nothing is kept for it here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Code, Coded};
use crate::model::ModelName;
use crate::registry::feed::{Feed, FeedEvent, Log, Place, Position, Positions, Start};
use crate::registry::webhook::filter::Filter;
use crate::registry::{Registry, RegistryError};

/// Longest exact token, in bytes; it must fit into a header.
const TOKEN_LEN_MAX: usize = 6144;
/// What is read again when a token had to be a time: clocks of writers may differ by this much.
const TIME_SLACK: chrono::Duration = chrono::Duration::minutes(5);
/// Events that are read from the logs at a time.
const READ_AT_ONCE: usize = 64;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// There are as many as there may be.
    #[error("{0} streams of events are open already")]
    Full(usize),
    /// The token or a filter cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The registry cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Coded for EventsError {
    fn code(&self) -> Code {
        match self {
            EventsError::Full(_) => Code::ResourceExhausted,
            EventsError::Invalid(_) => Code::InvalidArgument,
            EventsError::Registry(error) => error.code(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            EventsError::Registry(error) => error.public_message(),
            other => other.to_string(),
        }
    }
}

/// Where a stream begins.
#[derive(Debug, Clone, Default)]
pub enum From {
    /// With what happens from now on.
    #[default]
    Now,
    /// With the first events of all models.
    Beginning,
    /// With the first events that are not older.
    Time(DateTime<Utc>),
    /// With this revision of a model; of other models with their first.
    Revision(ModelName, u64),
    /// After the event that came with this token.
    Token(String),
}

/// What a reader asks for.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Types, any of which will do; `*` stands for any text. All when empty.
    pub types: Vec<String>,
    /// The subject, or the beginning of it up to a `/`.
    pub subject: String,
    /// Tags that must be there.
    pub tags: Vec<(String, String)>,
    /// Where to begin.
    pub from: From,
}

/// Opens streams, a bounded number of them.
#[derive(Debug, Clone)]
pub struct EventSource {
    registry: Arc<Registry>,
    poll_interval: Duration,
    streams: Arc<Semaphore>,
    streams_max: usize,
}

impl EventSource {
    /// Events of `registry`, which is looked at every `poll_interval` for each of at most `streams_max` readers.
    pub fn new(registry: Arc<Registry>, poll_interval: Duration, streams_max: usize) -> EventSource {
        EventSource { registry, poll_interval, streams: Arc::new(Semaphore::new(streams_max)), streams_max }
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// [`EventsError`].
    pub async fn open(&self, query: EventQuery) -> Result<EventFeed, EventsError> {
        let full = |_| EventsError::Full(self.streams_max);
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(full)?;
        let EventQuery { types, subject, tags, from } = query;
        let filter = Filter { types, subject, tags: tags.into_iter().collect() };
        filter.check().map_err(|refusal| EventsError::Invalid(refusal.to_string()))?;
        let mut skip = None;
        let start = match from {
            From::Now => Start::Now,
            From::Beginning => Start::Beginning,
            From::Time(time) => Start::Time(time),
            From::Revision(model, rev) => {
                let position = Position { rev: rev.saturating_sub(1), signal: 0 };
                Start::After(Positions::from([(model.to_string(), position)]))
            }
            From::Token(token) => match parse_token(&token)? {
                Token::Exact(exact) => {
                    skip = exact.done;
                    Start::After(exact.positions)
                }
                Token::Time(time) => Start::Time(time - TIME_SLACK),
            },
        };
        // A subject that names no model (`registry`, or nonsense) has all logs read and filtered.
        let only: Option<ModelName> = filter.model().and_then(|name| name.parse().ok());
        let feed = Feed::open(Arc::clone(&self.registry), start, only).await?;
        Ok(EventFeed {
            handed_out: feed.positions().clone(),
            feed,
            filter,
            skip,
            ready: VecDeque::new(),
            poll_interval: self.poll_interval,
            _permit: permit,
        })
    }
}

/// An event of a stream.
#[derive(Debug, Clone)]
pub struct Streamed {
    /// With this the reader can go on after the event.
    pub token: String,
    /// Its type.
    pub kind: String,
    /// The model that it is about; none for the registry itself.
    pub model: Option<String>,
    /// The event in its JSON form.
    pub json: String,
}

/// One reader's stream.
#[derive(Debug)]
pub struct EventFeed {
    feed: Feed,
    filter: Filter,
    /// What was handed out, which may lag behind what was read.
    handed_out: Positions,
    /// Operations of a revision that the reader has seen already.
    skip: Option<Done>,
    ready: VecDeque<FeedEvent>,
    poll_interval: Duration,
    _permit: OwnedSemaphorePermit,
}

impl EventFeed {
    /// The next event; waits for it. May be dropped and called again.
    ///
    /// # Errors
    /// [`EventsError`]; another call may do better.
    pub async fn next(&mut self) -> Result<Streamed, EventsError> {
        loop {
            if let Some(streamed) = self.next_ready().await? {
                return Ok(streamed);
            }
            tokio::time::sleep(self.poll_interval).await;
        }
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    /// [`EventsError`].
    pub async fn next_ready(&mut self) -> Result<Option<Streamed>, EventsError> {
        loop {
            while let Some(FeedEvent { event, place }) = self.ready.pop_front() {
                let is_last = !self.ready.front().is_some_and(|next| is_same_revision(&next.place, &place));
                let done = self.note(&place, is_last);
                if self.is_seen(&place) || !self.filter.wants(&event) {
                    continue;
                }
                let json = serde_json::to_string(&event).map_err(|e| EventsError::Invalid(e.to_string()))?;
                let model = event.data.get("model").and_then(|model| model.as_str()).map(str::to_owned);
                let token = self.token(done, &event.time);
                return Ok(Some(Streamed { token, kind: event.kind, model, json }));
            }
            let events = self.feed.poll(READ_AT_ONCE).await?;
            if events.is_empty() {
                return Ok(None);
            }
            self.ready.extend(events);
        }
    }

    /// Notes that the event of `place` is handed out. What it returns says how far its revision is, unless it is over.
    fn note(&mut self, place: &Place, is_last: bool) -> Option<Done> {
        let Place::Log { scope, log, number, op } = place else { return None };
        let position = self.handed_out.entry(scope.clone()).or_default();
        let up_to = if is_last { *number } else { number.saturating_sub(1) };
        match log {
            Log::Revisions => position.rev = up_to,
            Log::Signals => position.signal = up_to,
        }
        (!is_last).then(|| Done { scope: scope.clone(), rev: *number, op: *op })
    }

    fn is_seen(&self, place: &Place) -> bool {
        let Place::Log { scope, log: Log::Revisions, number, op } = place else { return false };
        self.skip.as_ref().is_some_and(|done| done.scope == *scope && done.rev == *number && *op <= done.op)
    }

    fn token(&self, done: Option<Done>, time: &str) -> String {
        let exact = Exact { positions: self.handed_out.clone(), done };
        let token =
            serde_json::to_vec(&exact).map(|bytes| format!("p{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)));
        match token {
            Ok(token) if token.len() <= TOKEN_LEN_MAX => token,
            _ => format!("t{time}"),
        }
    }
}

fn is_same_revision(a: &Place, b: &Place) -> bool {
    match (a, b) {
        (
            Place::Log { scope: a, log: Log::Revisions, number: m, .. },
            Place::Log { scope: b, log: Log::Revisions, number: n, .. },
        ) => a == b && m == n,
        _ => false,
    }
}

/// An operation up to which a revision was handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    #[serde(rename = "m")]
    scope: String,
    #[serde(rename = "r")]
    rev: u64,
    #[serde(rename = "o")]
    op: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Exact {
    #[serde(rename = "p")]
    positions: Positions,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    done: Option<Done>,
}

#[derive(Debug)]
enum Token {
    Exact(Exact),
    /// With very many models the positions would be too long, and the time of the event has to do.
    Time(DateTime<Utc>),
}

fn parse_token(token: &str) -> Result<Token, EventsError> {
    let wrong = || EventsError::Invalid("the position is none that this server gave out".to_owned());
    if let Some(encoded) = token.strip_prefix('p').filter(|encoded| encoded.len() <= TOKEN_LEN_MAX) {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| wrong())?;
        return serde_json::from_slice(&bytes).map(Token::Exact).map_err(|_| wrong());
    }
    let time = token.strip_prefix('t').and_then(|time| DateTime::parse_from_rfc3339(time).ok());
    time.map(|time| Token::Time(time.to_utc())).ok_or_else(wrong)
}

/// The positions where all logs of `registry` end, for a subscription that begins now.
///
/// # Errors
/// [`RegistryError`].
pub async fn end_of_logs(registry: &Arc<Registry>) -> Result<Positions, RegistryError> {
    let feed = Feed::open(Arc::clone(registry), Start::Now, None).await?;
    Ok(feed.positions().clone())
}

#[cfg(test)]
mod tests;
