//! Pages of results: an order that everything has a place in, and a token that says where the next page begins.
//!
//! The token names the last result's place, not its number, so results that come or go meanwhile neither repeat nor hide
//! others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::bits::Bits;
use super::document::Key;
use super::index::{Index, Ordered};
use super::query::{Field, Query};
use crate::model::{ModelName, Version};
use crate::registry::error::Refusal;
use crate::registry::revision::sha256_hex;

/// Results of a page, unless told otherwise.
pub const LIMIT: usize = 50;
/// The most results of a page.
pub const LIMIT_MAX: usize = 1000;
/// Bytes of a token.
const TOKEN_LEN_MAX: usize = 1024;

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Each version that fits.
    Versions,
    /// Each model of which a version fits.
    Models,
}

/// The order of results. Equal ones are ordered by name and version.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// By `name`, or by a field whose values are numbers or times; those without the field come last.
    by: Field,
    descending: bool,
}

impl Default for Order {
    fn default() -> Order {
        Order { by: Field::Name, descending: false }
    }
}

impl std::str::FromStr for Order {
    type Err = Refusal;

    /// Reads `name`, `created desc`, `metric.auc desc`.
    fn from_str(text: &str) -> Result<Order, Refusal> {
        let wrong = || {
            let text =
                "an order is name, version, created, updated, opset or metric.NAME, and desc for descending";
            Refusal::Invalid(text.to_owned())
        };
        let mut words = text.split_whitespace();
        let by = words.next().and_then(Field::parse).ok_or_else(wrong)?;
        let descending = match words.next() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(wrong()),
        };
        let is_usable = by.is_ordered() || (by == Field::Name && !descending);
        if words.next().is_some() || !is_usable {
            return Err(wrong());
        }
        Ok(Order { by, descending })
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// What was found. The version is the first that fits when models are listed.
    pub found: Vec<Key>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<String>,
}

/// What is asked of the index.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// What must fit.
    pub query: &'a Query,
    /// What is listed.
    pub what: What,
    /// In which order.
    pub order: &'a Order,
    /// Results of a page; from 1 to [`LIMIT_MAX`].
    pub limit: usize,
    /// Where the page before ended.
    pub token: Option<&'a str>,
    /// Whether the one who asks may know of a model.
    pub sees: &'a (dyn Fn(&ModelName) -> bool + Sync),
}

impl std::fmt::Debug for Search<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Search").field("query", self.query).field("what", &self.what).finish_non_exhaustive()
    }
}

/// The place of a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// Of which search: a hash of everything that was asked.
    q: String,
    /// Its value in the order; `None` when it has none, or the order is by name.
    v: Option<f64>,
    n: ModelName,
    r: Option<Version>,
}

impl Index {
    /// A page of what fits `query`.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for a token that is not from this search.
    pub fn search(
        &self,
        query: &Query,
        what: What,
        order: &Order,
        limit: usize,
        token: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Page, Refusal> {
        self.page(&Search { query, what, order, limit, token, sees: &|_| true }, now)
    }

    /// As [`Index::search`], for someone who may not know of every model.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for a token that is not from this search.
    pub fn page(&self, search: &Search<'_>, now: DateTime<Utc>) -> Result<Page, Refusal> {
        let Search { query, what, order, token, sees, .. } = *search;
        let limit = search.limit.clamp(1, LIMIT_MAX);
        let id = sha256_hex(format!("{query}\n{what:?}\n{} {}", order.by, order.descending).as_bytes());
        let id: String = id.chars().take(16).collect();
        let after = token.map(|token| read_token(token, &id)).transpose()?;
        let fitting = self.find(query, now);
        let mut walk =
            Walk { index: self, fitting: &fitting, what, order, after, sees, found: Vec::new(), limit };
        walk.run();
        let mut found = walk.found;
        let is_more = found.len() > limit;
        found.truncate(limit);
        let next = match found.last() {
            Some((value, key)) if is_more => {
                Some(Place { q: id, v: *value, n: key.model.clone(), r: key.version })
            }
            _ => None,
        };
        let next =
            next.and_then(|place| serde_json::to_vec(&place).ok()).map(|text| URL_SAFE_NO_PAD.encode(text));
        Ok(Page { found: found.into_iter().map(|(_, key)| key).collect(), next })
    }
}

fn read_token(token: &str, id: &str) -> Result<Place, Refusal> {
    let wrong = || Refusal::Invalid("the page token is not from this search".to_owned());
    let bytes =
        Some(token).filter(|token| token.len() <= TOKEN_LEN_MAX).map(|token| URL_SAFE_NO_PAD.decode(token));
    let bytes = bytes.and_then(Result::ok).ok_or_else(wrong)?;
    let place: Place = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    match place.q == id {
        true => Ok(place),
        false => Err(wrong()),
    }
}

/// A walk through the documents in their order, until a page and one more are found.
struct Walk<'a> {
    index: &'a Index,
    fitting: &'a Bits,
    what: What,
    order: &'a Order,
    after: Option<Place>,
    sees: &'a (dyn Fn(&ModelName) -> bool + Sync),
    found: Vec<(Option<f64>, Key)>,
    limit: usize,
}

impl Walk<'_> {
    fn run(&mut self) {
        let numbers = match self.order.by {
            Field::Name => None,
            _ => self.index.numbers(&self.order.by),
        };
        let from = match &self.after {
            // The walk through numbers is behind us.
            Some(Place { v: None, .. }) => return self.by_name(),
            Some(place) => place.v.map(Ordered),
            None => None,
        };
        if let Some(numbers) = numbers {
            use std::ops::Bound::{Included, Unbounded};
            let start = from.map_or(Unbounded, Included);
            let lists: Box<dyn Iterator<Item = (&Ordered, &Vec<u32>)>> = match self.order.descending {
                false => Box::new(numbers.range((start, Unbounded))),
                true => Box::new(numbers.range((Unbounded, start)).rev()),
            };
            for (value, list) in lists {
                self.equals(value.0, list);
                if self.found.len() > self.limit {
                    return;
                }
            }
        }
        self.by_name();
    }

    /// Documents with the same value.
    fn equals(&mut self, value: f64, list: &[u32]) {
        let fitting = list.iter().filter(|number| self.fitting.contains(**number));
        let mut keys: Vec<&Key> =
            fitting.filter_map(|number| self.index.keys.get(*number as usize)?.as_ref()).collect();
        keys.sort_unstable();
        for key in keys {
            let is_behind = |place: &Place| place.v == Some(value) && !is_after(key, place);
            if self.after.as_ref().is_some_and(is_behind) || !self.is_wanted(key, Some(value)) {
                continue;
            }
            self.found.push((Some(value), key.clone()));
            if self.found.len() > self.limit {
                return;
            }
        }
    }

    /// Documents without a value in the order, which is all of them when the order is by name.
    fn by_name(&mut self) {
        let after = self.after.clone().filter(|place| place.v.is_none());
        let start = after.as_ref().map(|place| place.n.clone());
        let start = start.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Included);
        for (model, entry) in self.index.models.range((start, std::ops::Bound::Unbounded)) {
            for (version, number) in &entry.documents {
                if !self.fitting.contains(*number) {
                    continue;
                }
                let key = Key { model: model.clone(), version: *version };
                if after.as_ref().is_some_and(|place| !is_after(&key, place)) || !self.is_wanted(&key, None) {
                    continue;
                }
                self.found.push((None, key));
                if self.found.len() > self.limit {
                    return;
                }
            }
        }
    }

    /// Whether a fitting document is listed in this place: versions always, a model at the first of its documents.
    fn is_wanted(&self, key: &Key, value: Option<f64>) -> bool {
        if !(self.sees)(&key.model) {
            return false;
        }
        let own = self.value(key);
        if own.is_some() != value.is_some() {
            return false;
        }
        match self.what {
            What::Versions => key.version.is_some(),
            What::Models => {
                let Some(entry) = self.index.models.get(&key.model) else { return false };
                let others = entry.documents.iter().filter(|(_, number)| self.fitting.contains(*number));
                let mut others =
                    others.map(|(version, _)| Key { model: key.model.clone(), version: *version });
                !others.any(|other| self.is_before(&other, key, own))
            }
        }
    }

    /// Whether `other` comes before `key`, whose value is `own`.
    fn is_before(&self, other: &Key, key: &Key, own: Option<f64>) -> bool {
        let by_value = match (self.value(other), own) {
            (Some(a), Some(b)) if self.order.descending => b.total_cmp(&a),
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        by_value.then_with(|| other.cmp(key)).is_lt()
    }

    /// A document's value in the order.
    fn value(&self, key: &Key) -> Option<f64> {
        let state = self.index.state(&key.model)?;
        let version = key.version.and_then(|version| state.versions.get(&version));
        let value = match (&self.order.by, version) {
            (Field::Version, Some(_)) => super::document::whole_number(key.version?.get()),
            (Field::Created, Some(version)) => super::document::millis(version.created.time),
            (Field::Updated, Some(version)) => super::document::millis(version.updated),
            (Field::Created, None) => super::document::millis(state.created.as_ref()?.time),
            (Field::Updated, None) => super::document::millis(state.updated?),
            (Field::Opset, Some(version)) => super::document::opset(&version.record)?,
            (Field::Metric(name), Some(version)) => {
                *version.metrics.get(name).filter(|value| value.is_finite())?
            }
            _ => return None,
        };
        Some(value + 0.0)
    }
}

fn is_after(key: &Key, place: &Place) -> bool {
    (&key.model, key.version) > (&place.n, place.r)
}
