//! Reads an ONNX file before ONNX Runtime does: what is in it, and whether it may be opened at all.
//!
//! It walks the file's messages without keeping them, so a file of gigabytes costs a few reads; weights are skipped.
//! It refuses what is no ONNX file, is cut off, is nested too deeply, or points at data outside its folder. Whether the
//! graph makes sense is left to ONNX Runtime, in a child process.

mod external;
mod walk;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::super::BackendError;

/// What an ONNX file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelFacts {
    /// Size of the file.
    pub file_bytes: u64,
    /// Version of the format.
    pub ir_version: u64,
    /// Version of each operator set that it imports; the standard one has the name `ai.onnx`.
    pub opsets: BTreeMap<String, u64>,
    /// The program that wrote it, and its version.
    pub producer: String,
    /// How often each operator is used, subgraphs and functions included. Operators of other sets carry their
    /// domain: `com.microsoft.FusedMatMul`.
    pub operators: BTreeMap<String, usize>,
    /// Number of weights.
    pub initializer_count: usize,
    /// Number of elements of all weights.
    pub parameter_count: u64,
    /// Bytes of weights inside the file.
    pub initializer_bytes: u64,
    /// Number of functions that it defines.
    pub function_count: usize,
    /// Files with weights beside it, checked to lie in its folder.
    pub external_files: Vec<PathBuf>,
    /// Whether it decides or loops.
    pub has_control_flow: bool,
    /// Inputs and outputs for which no shape is stated, so that even their rank is open.
    pub(super) unshaped: BTreeSet<String>,
    /// Where external data are said to be, as written.
    pub(super) external_locations: BTreeSet<String>,
}

/// Checks the file at `path` and reads its facts.
///
/// # Errors
/// [`BackendError::Artifact`] with what is wrong.
pub fn check(path: &Path) -> Result<ModelFacts, BackendError> {
    let failed = |error: std::io::Error| BackendError::Artifact(format!("it cannot be read: {error}"));
    // Before it is opened: opening a pipe would wait for a writer.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(BackendError::Artifact("it is not a regular file".to_owned()));
    }
    let reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut facts =
        read(reader, metadata.len()).map_err(|defect| BackendError::Artifact(defect.to_string()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for location in &facts.external_locations {
        let file = external::resolve(folder, location).map_err(|why| {
            BackendError::Artifact(format!("its external data '{}' {why}", location.escape_debug()))
        })?;
        facts.external_files.push(file);
    }
    Ok(facts)
}

fn read(mut reader: impl BufRead + Seek, len: u64) -> Result<ModelFacts, wire::Defect> {
    let head = reader.fill_buf()?;
    if len == 0 || head.is_empty() {
        return Err(wire::Defect::Empty);
    }
    if head.get(4..8) == Some(b"ORTM") {
        return Err(wire::Defect::OrtFormat);
    }
    reader.seek(SeekFrom::Start(0))?;
    let mut facts = ModelFacts { file_bytes: len, ..ModelFacts::default() };
    walk::model(&mut wire::Reader::new(reader), len, &mut facts)?;
    Ok(facts)
}

#[cfg(test)]
mod tests;
