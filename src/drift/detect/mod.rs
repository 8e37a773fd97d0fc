//! Change points in a stream of values: detectors that see one value at a time and keep little.
//!
//! They raise an alarm at the very index at which river 0.23 does, and start anew after it. Both expect values of about
//! unit scale, so feed them z-scores: means of panes less the baseline's mean, over the baseline's standard error. A
//! value that is not finite is passed over. They do not know what is monitored, nor what an alarm leads to.

pub mod page_hinkley;
pub mod adwin;

pub use adwin::Adwin;
pub use page_hinkley::PageHinkley;

#[cfg(test)]
mod tests;
