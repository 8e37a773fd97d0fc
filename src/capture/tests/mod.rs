//! Capture as a whole, in process.
