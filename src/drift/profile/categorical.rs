//! The profile of a categorical feature.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

use super::kll::mix;
use super::{Distinct, ProfileError, Tally, Value};

/// Most categories of a baseline that are counted by name.
pub const CATEGORIES_MAX: usize = 1_000;
/// Longest category in bytes; what is longer is known by its beginning and a hash.
pub const CATEGORY_LEN_MAX: usize = 128;
/// Most values outside the baseline's categories that are named.
pub const UNSEEN_MAX: usize = 32;

/// What a value is called as a category. Whole numbers are written without a fraction, whatever their type, so that a
/// column of training data and a tensor call the same value the same.
pub fn category<'a>(value: Value<'a>, scratch: &'a mut [u8; 40]) -> Option<Cow<'a, str>> {
    let len = scratch.len();
    let mut rest = &mut scratch[..];
    let is_whole = |number: f64| number.fract() == 0.0 && number.abs() < 9e15;
    let written = match value {
        Value::Text(text) => return Some(of_text(text)),
        Value::Bool(truth) => return Some(Cow::Borrowed(if truth { "true" } else { "false" })),
        Value::Missing | Value::WrongType => return None,
        #[allow(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        Value::Number(number) if is_whole(number) => write!(rest, "{}", number as i64),
        Value::Number(number) => write!(rest, "{number:?}"),
    };
    let left = rest.len();
    written.ok()?;
    std::str::from_utf8(&scratch[..len - left]).ok().map(Cow::Borrowed)
}

fn of_text(text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(text) {
        Ok(text) if text.len() <= CATEGORY_LEN_MAX => Cow::Borrowed(text),
        _ => {
            let hash = text.chunks(8).fold(text.len() as u64, |hash, chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                mix(hash ^ u64::from_le_bytes(word))
            });
            let start = text.get(..CATEGORY_LEN_MAX / 2).unwrap_or(text);
            Cow::Owned(format!("{}~{hash:016x}", String::from_utf8_lossy(start)))
        }
    }
}

/// The categories of a baseline, the most frequent first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Categories {
    names: Vec<Arc<str>>,
    places: HashMap<Arc<str>, usize>,
}

impl Categories {
    /// Categories by name; the order decides their places. What is beyond [`CATEGORIES_MAX`] or named twice is left out.
    pub fn new(names: impl IntoIterator<Item = Arc<str>>) -> Categories {
        let mut categories = Categories::default();
        for name in names.into_iter() {
            let place = categories.names.len();
            if place < CATEGORIES_MAX && !categories.places.contains_key(&name) {
                categories.names.push(Arc::clone(&name));
                categories.places.insert(name, place);
            }
        }
        categories
    }

    /// Their names.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The place of a category.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }
}

/// Counts of categories.
#[derive(Debug, Clone, PartialEq)]
pub struct CategoricalProfile {
    categories: Arc<Categories>,
    counts: Vec<f64>,
    /// Rows, missing values and type errors.
    pub tally: Tally,
    /// Weight of the values outside the categories.
    pub other: f64,
    /// How many different values.
    pub distinct: Distinct,
    /// The most frequent values outside the categories, about: for people, not for statistics.
    unseen: BTreeMap<Box<str>, f64>,
}

impl CategoricalProfile {
    /// An empty profile over `categories`.
    pub fn new(categories: Arc<Categories>) -> CategoricalProfile {
        CategoricalProfile {
            counts: vec![0.0; categories.names.len()],
            categories,
            tally: Tally::default(),
            other: 0.0,
            distinct: Distinct::default(),
            unseen: BTreeMap::new(),
        }
    }

    /// A profile of stored counts; the public fields are the caller's to fill.
    pub(crate) fn restored(
        categories: Arc<Categories>,
        counts: Vec<f64>,
        unseen: BTreeMap<Box<str>, f64>,
    ) -> Result<CategoricalProfile, ProfileError> {
        let is_sane = |count: &f64| (0.0..1e300).contains(count);
        if counts.len() != categories.names.len()
            || !counts.iter().chain(unseen.values()).all(is_sane)
            || unseen.len() > UNSEEN_MAX
        {
            return Err(ProfileError::Unlike);
        }
        Ok(CategoricalProfile { counts, unseen, ..CategoricalProfile::new(categories) })
    }

    /// The categories.
    pub fn categories(&self) -> &Categories {
        &self.categories
    }

    /// The categories, shared.
    pub fn shared_categories(&self) -> Arc<Categories> {
        Arc::clone(&self.categories)
    }

    /// Counts of the categories, in their order.
    pub fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// The same, then the weight of all other values.
    pub fn counts_and_other(&self) -> Vec<f64> {
        self.counts.iter().copied().chain([self.other]).collect()
    }

    /// The most frequent values outside the categories with about their weights, the heaviest first.
    pub fn unseen(&self) -> Vec<(&str, f64)> {
        let mut unseen: Vec<(&str, f64)> =
            self.unseen.iter().map(|(name, weight)| (&**name, *weight)).collect();
        unseen.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        unseen
    }

    /// Adds a row's value.
    pub fn push(&mut self, value: Value<'_>, weight: f64) {
        self.tally.rows += 1;
        self.tally.weight += weight;
        let mut scratch = [0; 40];
        // A NaN is no category: a class that is not a number is no class.
        let is_nan = matches!(value, Value::Number(number) if number.is_nan());
        match category(value, &mut scratch) {
            Some(name) if !is_nan => self.count(&name, weight),
            _ if is_nan || value == Value::Missing => self.tally.missing += weight,
            _ => self.tally.type_errors += weight,
        }
    }

    fn count(&mut self, name: &str, weight: f64) {
        self.distinct.push_text(name.as_bytes());
        match self.categories.place(name) {
            Some(place) => self.counts[place] += weight,
            None => {
                self.other += weight;
                self.remember(name, weight);
            }
        }
    }

    /// Keeps the heaviest: a newcomer inherits the weight of the lightest, which it replaces ("space saving").
    fn remember(&mut self, name: &str, weight: f64) {
        if let Some(known) = self.unseen.get_mut(name) {
            *known += weight;
            return;
        }
        let mut inherited = 0.0;
        if self.unseen.len() >= UNSEEN_MAX {
            let lightest = self.unseen.iter().min_by(|a, b| a.1.total_cmp(b.1));
            if let Some((lightest, weight)) = lightest.map(|(name, weight)| (name.clone(), *weight)) {
                self.unseen.remove(&lightest);
                inherited = weight;
            }
        }
        self.unseen.insert(name.into(), inherited + weight);
    }

    /// Adds what another profile over the same categories has seen.
    pub fn merge(&mut self, other: &CategoricalProfile) -> Result<(), ProfileError> {
        let is_same = Arc::ptr_eq(&self.categories, &other.categories);
        if !is_same && self.categories.names != other.categories.names {
            return Err(ProfileError::Unlike);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, other)| *mine += other);
        self.tally.merge(&other.tally);
        self.other += other.other;
        self.distinct.merge(&other.distinct);
        for (name, weight) in &other.unseen {
            *self.unseen.entry(name.clone()).or_default() += weight;
        }
        if self.unseen.len() > UNSEEN_MAX {
            let heaviest: Vec<(Box<str>, f64)> = self
                .unseen()
                .into_iter()
                .take(UNSEEN_MAX)
                .map(|(name, weight)| (name.into(), weight))
                .collect();
            self.unseen = heaviest.into_iter().collect();
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        let unseen: usize = self.unseen.keys().map(|name| name.len() + 48).sum();
        size_of::<CategoricalProfile>() + 2_048 + 8 * self.counts.len() + unseen
    }
}
