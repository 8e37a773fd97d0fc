//! The index: for each field its values, and for each value the documents that have it.
//!
//! It lives in memory and holds nothing that the logs do not: throwing it away costs the time to build it. A model that
//! changed is taken out and put in again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::bits::Bits;
use super::document::{Key, Term, documents};
use super::query::{Comparison, Field, Operator, Query};
use super::texts::Texts;
use super::value;
use crate::model::{ModelName, Version};
use crate::registry::state::ModelState;

/// A number with an order: `-0.0` is put in as `0.0`, and NaN never.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ordered(pub(super) f64);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A field's values and their documents, each list ascending.
#[derive(Debug)]
pub(super) enum Values {
    Texts(Texts),
    Numbers(BTreeMap<Ordered, Vec<u32>>),
}

/// What was put in of a model.
#[derive(Debug)]
pub(super) struct Entry {
    state: Arc<ModelState>,
    /// Its documents, ascending by version.
    pub(super) documents: Vec<(Option<Version>, u32)>,
}

/// Every model's documents, ready to be searched.
#[derive(Debug)]
pub struct Index {
    fields: HashMap<Field, Values>,
    pub(super) models: BTreeMap<ModelName, Entry>,
    /// What each document is; `None` for numbers that are free.
    pub(super) keys: Vec<Option<Key>>,
    free: Vec<u32>,
    /// Numbers that are taken.
    all: Bits,
}

impl Default for Index {
    fn default() -> Index {
        Index {
            fields: HashMap::new(),
            models: BTreeMap::new(),
            keys: Vec::new(),
            free: Vec::new(),
            all: Bits::none(0),
        }
    }
}

impl Index {
    /// Puts a model's state in, in place of an older one.
    pub fn update(&mut self, state: &Arc<ModelState>) {
        let is_known = |entry: &Entry| entry.state.rev == state.rev && entry.state.head == state.head;
        if self.models.get(&state.model).is_some_and(is_known) {
            return;
        }
        self.remove(&state.model);
        let mut entry = Entry { state: Arc::clone(state), documents: Vec::new() };
        for (key, terms) in documents(state) {
            let version = key.version;
            let Some(number) = self.take_number(key) else { continue };
            for (field, term) in terms {
                self.insert(field, term, number);
            }
            entry.documents.push((version, number));
        }
        self.models.insert(state.model.clone(), entry);
    }

    /// Takes a model out.
    pub fn remove(&mut self, model: &ModelName) {
        let Some(entry) = self.models.remove(model) else { return };
        for ((_, terms), (_, number)) in documents(&entry.state).into_iter().zip(&entry.documents) {
            for (field, term) in terms {
                self.erase(&field, &term, *number);
            }
            self.all.remove(*number);
            if let Some(key) = self.keys.get_mut(*number as usize) {
                *key = None;
            }
            self.free.push(*number);
        }
    }

    /// The state that is in the index.
    pub fn state(&self, model: &ModelName) -> Option<&Arc<ModelState>> {
        self.models.get(model).map(|entry| &entry.state)
    }

    /// Versions, and models without any.
    pub fn len(&self) -> usize {
        self.keys.len() - self.free.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take_number(&mut self, key: Key) -> Option<u32> {
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                let number = u32::try_from(self.keys.len()).ok()?;
                self.keys.push(None);
                self.all.grow(self.keys.len());
                number
            }
        };
        *self.keys.get_mut(number as usize)? = Some(key);
        self.all.insert(number);
        Some(number)
    }

    fn insert(&mut self, field: Field, term: Term, number: u32) {
        let is_text = matches!(term, Term::Text(_));
        let values = self.fields.entry(field).or_insert_with(|| match is_text {
            true => Values::Texts(Texts::default()),
            false => Values::Numbers(BTreeMap::new()),
        });
        match (values, term) {
            (Values::Texts(texts), Term::Text(text)) => texts.insert(&text, number),
            (Values::Numbers(numbers), Term::Number(value)) => {
                let list = numbers.entry(Ordered(value + 0.0)).or_default();
                if let Err(at) = list.binary_search(&number) {
                    list.insert(at, number);
                }
            }
            _ => {}
        }
    }

    fn erase(&mut self, field: &Field, term: &Term, number: u32) {
        let is_empty = match (self.fields.get_mut(field), term) {
            (Some(Values::Texts(texts)), Term::Text(text)) => {
                texts.erase(text, number);
                texts.is_empty()
            }
            (Some(Values::Numbers(numbers)), Term::Number(value)) => {
                let value = Ordered(value + 0.0);
                if let Some(list) = numbers.get_mut(&value) {
                    list.retain(|known| *known != number);
                    if list.is_empty() {
                        numbers.remove(&value);
                    }
                }
                numbers.is_empty()
            }
            _ => false,
        };
        if is_empty {
            self.fields.remove(field);
        }
    }

    /// The values of an ordered field.
    pub(super) fn numbers(&self, field: &Field) -> Option<&BTreeMap<Ordered, Vec<u32>>> {
        match self.fields.get(field) {
            Some(Values::Numbers(numbers)) => Some(numbers),
            _ => None,
        }
    }

    /// The documents that fit a query. Deleted ones only when the query speaks of deletion.
    pub(super) fn find(&self, query: &Query, now: DateTime<Utc>) -> Bits {
        let mut found = self.fit(query, now);
        if !speaks_of_deletion(query) {
            self.for_each(&Field::Deleted, "true", |number| found.remove(number));
        }
        found
    }

    fn fit(&self, query: &Query, now: DateTime<Utc>) -> Bits {
        match query {
            Query::All => self.all.clone(),
            Query::And(parts) => self.join(parts, now, Bits::and),
            Query::Or(parts) => self.join(parts, now, Bits::or),
            Query::Not(part) => self.all_but(&self.fit(part, now)),
            Query::Is(found) => match found.operator {
                Operator::Ne => self.all_but(&self.compare(found, Operator::Eq, now)),
                operator => self.compare(found, operator, now),
            },
        }
    }

    fn join(&self, parts: &[Query], now: DateTime<Utc>, join: fn(&mut Bits, &Bits)) -> Bits {
        let mut parts = parts.iter().map(|part| self.fit(part, now));
        let mut found = parts.next().unwrap_or_else(|| self.all.clone());
        for part in parts {
            join(&mut found, &part);
        }
        found
    }

    fn all_but(&self, found: &Bits) -> Bits {
        let mut all = self.all.clone();
        all.without(found);
        all
    }

    fn compare(&self, wanted: &Comparison, operator: Operator, now: DateTime<Utc>) -> Bits {
        let mut found = Bits::none(self.keys.len());
        let mut add = |list: &[u32]| list.iter().for_each(|number| found.insert(*number));
        match self.fields.get(&wanted.field) {
            None => {}
            Some(Values::Texts(texts)) if operator == Operator::Like => {
                texts.like(&wanted.value, add);
            }
            Some(Values::Texts(texts)) => add(texts.get(&wanted.value)),
            Some(Values::Numbers(numbers)) => {
                let range = value::bounds(&wanted.field, operator, &wanted.value, now);
                if let Some((from, to)) = range.filter(value::is_range) {
                    let range = numbers.range((from.map(Ordered), to.map(Ordered)));
                    range.for_each(|(_, list)| add(list));
                }
            }
        }
        found
    }

    fn for_each(&self, field: &Field, text: &str, each: impl FnMut(u32)) {
        if let Some(Values::Texts(texts)) = self.fields.get(field) {
            texts.get(text).iter().copied().for_each(each);
        }
    }
}

fn speaks_of_deletion(query: &Query) -> bool {
    match query {
        Query::All => false,
        Query::And(parts) | Query::Or(parts) => parts.iter().any(speaks_of_deletion),
        Query::Not(part) => speaks_of_deletion(part),
        Query::Is(found) => found.field == Field::Deleted,
    }
}
