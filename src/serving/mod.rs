//! What *is* served: the table of names and versions, and the one way in.
//!
//! [`Engine::infer`] routes a request by the serving table (one `ArcSwap`), validates it against the version's
//! signature, and hands it to the version's scheduler. Loading, verifying and swapping versions happen on their own
//! threads and end in one pointer store. This module never looks at a wire format.

mod engine;
mod servable;
mod state;
mod statistics;

pub use self::engine::{Engine, EngineError};
pub use self::servable::Servable;
pub use self::state::{IndexEntry, ServableState};
pub use self::statistics::{BatchStatistics, DurationCount, ModelStatistics};
