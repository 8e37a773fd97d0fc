//! One revision of a model's log: its fields, its bytes, and the hash that chains it to the one before.
//!
//! The file is one JSON object. A signature, when there is one, is its last member and covers every byte before
//! `,"sig":` followed by `}`; so it is checked without writing the object again.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::error::FoldError;
use super::op::Op;
use crate::model::ModelName;

/// The format that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// What stands for the hash of the revision before the first.
pub const NO_PREVIOUS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One revision, parsed. `ops` of an unknown kind are an error of [`Revision::parse`], never left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// [`FORMAT`].
    pub format: u32,
    /// Whose log.
    pub model: ModelName,
    /// Its number, from 1, without gaps.
    pub rev: u64,
    /// SHA-256 of the file before, in hexadecimal digits; [`NO_PREVIOUS`] for the first.
    pub prev: String,
    /// Names this commit, so that its author recognises it after an unclear answer of the store.
    pub commit_id: Uuid,
    /// The author's clock, in milliseconds. Order comes from `rev` alone.
    pub time: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// Why; empty only where no operation needs a reason.
    pub reason: String,
    /// The request that led to it; empty when there was none.
    pub request_id: String,
    /// What happened, in order.
    pub ops: Vec<Op>,
    /// The author's signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig: Option<Signature>,
}

/// Who did something, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The authenticated subject, or `user@host` on the command line.
    pub sub: String,
    /// `cli`, `api_key`, `jwt`, `mtls` or `local`.
    pub method: String,
}

/// An Ed25519 signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Id of the key in `weir.json`.
    pub key: String,
    /// The signature, in base64.
    pub ed25519: String,
}

/// Who wants a change, why, and on what condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// The request that led to it.
    pub request_id: String,
    /// The revision that the caller has seen; a newer one refuses the change.
    pub if_match: Option<u64>,
}

impl Revision {
    /// The file's bytes, without a signature.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Parses a file's bytes.
    ///
    /// # Errors
    /// [`FoldError::Newer`] for a format or operation that this program does not know, [`FoldError::Malformed`] for
    /// everything else.
    pub fn parse(bytes: &[u8]) -> Result<Revision, FoldError> {
        let malformed = |error: serde_json::Error| FoldError::Malformed(error.to_string());
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(malformed)?;
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default();
        if format > u64::from(FORMAT) {
            return Err(FoldError::Newer(format!("format {format}")));
        }
        match serde_json::from_slice::<Revision>(bytes) {
            Ok(revision) => Ok(revision),
            Err(error) => Err(unknown_op(&value).unwrap_or_else(|| malformed(error))),
        }
    }
}

/// The first operation that this program cannot read, when that is what is wrong: its name or a member of it is new.
fn unknown_op(value: &serde_json::Value) -> Option<FoldError> {
    let ops = value.get("ops")?.as_array()?;
    let unreadable =
        ops.iter().find_map(|op| serde_json::from_value::<Op>(op.clone()).err().map(|e| (op, e)));
    let (op, error) = unreadable?;
    let name = op.get("op").and_then(serde_json::Value::as_str)?;
    let is_new = error.to_string().contains("unknown variant") || error.to_string().contains("unknown field");
    is_new.then(|| {
        FoldError::Newer(format!("operation '{}'", name.escape_debug().take(64).collect::<String>()))
    })
}

/// SHA-256 of `bytes` in lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
