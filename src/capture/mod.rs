//! Capture: what models were sent and what they answered, kept as typed Parquet, with what turned out to be true.

pub mod dataset;
pub mod labels;
