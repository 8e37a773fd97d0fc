//! Models on disk: what is there, and what has changed since the last look. Reads names, lengths and times, never a
//! model's content, and changes nothing.
//!
//! ```text
//! repository/                    given as PATH
//!   <model>/                     a ModelName
//!     model.toml | config.pbtxt  optional
//!     labels.txt                 optional, named by the configuration
//!     <version>/model.onnx       a positive whole number
//! model.onnx                     or one file given as PATH: version 1 of the model called like its stem
//! ```

mod scan;
mod diff;

pub(super) use self::diff::{Change, choose, diff};
pub(super) use self::scan::{
    MODEL_FILE, ModelFiles, Snapshot, Source, VersionFiles, scan, scan_folder, scan_model, scan_version,
};
