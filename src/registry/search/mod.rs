//! Search: a small language over names, tags, metrics, aliases, times and lineage, answered from an index in memory.
//!
//! ```text
//!  text ──► parse ──► Query ──► Index::search ──► a page of versions or models
//!                                 ▲
//!                     Index::update(state), for each model that changed
//! ```
//!
//! Everything here is a function of values: reading states is its caller's business.

mod bits;
mod document;
mod index;
mod page;
mod parse;
mod query;
mod texts;
mod value;
#[cfg(test)]
mod tests;

pub use self::document::Key;
pub use self::index::Index;
pub use self::page::{LIMIT, LIMIT_MAX, Order, Page, Search, What};
pub use self::parse::{QUERY_LEN_MAX, SyntaxError, parse};
pub use self::query::{Comparison, Field, Operator, Query};

use super::error::Refusal;

impl From<SyntaxError> for Refusal {
    fn from(error: SyntaxError) -> Refusal {
        Refusal::Invalid(format!("search: {error}"))
    }
}
