//! How good the answers are: realised performance of rows that have their truth by now, and an estimate of it for rows
//! that do not.
//!
//! Every function takes rows with weights (1 over the probability that a row was captured), so that sampling does not
//! bend the numbers. Rows whose numbers are not finite, or whose weight is not above 0, are left out. Without a row the
//! answer is NaN. Joining answers with truths, and days with versions, is done elsewhere.

pub mod classification;
pub mod regression;
pub mod isotonic;
pub mod cbpe;

pub use cbpe::{Cbpe, Estimate, Predicted};
pub use classification::{Confusion, Labelled, Scored};
pub use isotonic::Isotonic;
pub use regression::Measured;

#[cfg(test)]
mod tests;
