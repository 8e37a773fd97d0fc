//! The keys file: API keys by their hash, and what the names in client certificates may do.
//!
//! ```toml
//! [[key]]
//! id = "ci-2026"                     # a part of the key, and its name in this file
//! subject = "ci"                     # who holds it; the id without it
//! hash = "sha256:..."                # of the whole key
//! role = "publisher"
//! models = ["fraud-*"]               # all without it
//! not_after = 2027-01-01T00:00:00Z   # for ever without it
//!
//! [[certificate]]
//! subject = "spiffe://prod/ns/ml/*"  # the first URI of the certificate, or its first DNS name
//! role = "promoter"
//! ```
//!
//! A key is 256 random bits, so that one plain SHA-256 is as good as a slow password hash: there is no dictionary to
//! try, and nobody can try 2^256 keys however fast one try is. A slow hash would only make every request slow.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::DateTime;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::AuthError;
use super::identity::{Grant, Identity, Method, Pattern, Role};

/// What every key begins with, so that people and scanners know one when they see it.
pub const PREFIX: &str = "weir_";
/// Random bytes of a key.
const SECRET_LEN: usize = 32;
/// The same as text.
const SECRET_TEXT_LEN: usize = 43;
/// Keys and certificates in a file.
const ENTRIES_MAX: usize = 10_000;

/// A keys file cannot be used. One line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeysProblem(String);

/// The keys in force.
#[derive(Debug, Default)]
pub(super) struct Keys {
    keys: BTreeMap<String, Key>,
    certificates: Vec<(Pattern, Arc<[Grant]>)>,
}

#[derive(Debug)]
struct Key {
    hash: [u8; 32],
    subject: Arc<str>,
    grants: Arc<[Grant]>,
    not_after: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    key: Vec<KeyEntry>,
    #[serde(default)]
    certificate: Vec<CertificateEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: String,
    subject: Option<String>,
    hash: String,
    role: String,
    models: Option<Vec<String>>,
    not_after: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateEntry {
    subject: String,
    role: String,
    models: Option<Vec<String>>,
}

impl Keys {
    /// The keys of a file's text.
    pub(super) fn parse(text: &str) -> Result<Keys, KeysProblem> {
        let file: File = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            KeysProblem(format!("line {line}: {}", error.message().replace('\n', " ")))
        })?;
        if file.key.len() + file.certificate.len() > ENTRIES_MAX {
            return Err(KeysProblem(format!("more than {ENTRIES_MAX} entries")));
        }
        let mut keys = Keys::default();
        for entry in file.key {
            let id = entry.id.clone();
            let key = read_key(entry)
                .map_err(|reason| KeysProblem(format!("key \"{}\": {reason}", id.escape_debug())))?;
            if keys.keys.insert(id.clone(), key).is_some() {
                return Err(KeysProblem(format!("key \"{id}\": the id is used twice")));
            }
        }
        for entry in file.certificate {
            let subject = entry.subject.clone();
            let read = entry
                .subject
                .parse::<Pattern>()
                .and_then(|subject| Ok((subject, grants(&entry.role, entry.models.as_deref())?)));
            keys.certificates.push(read.map_err(|reason| {
                KeysProblem(format!("certificate \"{}\": {reason}", subject.escape_debug()))
            })?);
        }
        Ok(keys)
    }

    /// Whose key `text` is.
    pub(super) fn find(&self, text: &str, now: i64) -> Result<Identity, AuthError> {
        let id = id_of(text).ok_or(AuthError::Invalid)?;
        let key = self.keys.get(id).ok_or(AuthError::Invalid)?;
        // The time this takes tells nothing of how much was right.
        if !bool::from(hash(text).ct_eq(&key.hash)) {
            return Err(AuthError::Invalid);
        }
        if key.not_after.is_some_and(|end| now >= end) {
            return Err(AuthError::Expired);
        }
        Ok(Identity::known(Arc::clone(&key.subject), Method::ApiKey, Arc::clone(&key.grants)))
    }

    /// Who a client certificate's subject is: known, with the grants of the first entry that matches, if any does.
    pub(super) fn certificate(&self, subject: &str) -> Identity {
        let found = self.certificates.iter().find(|(pattern, _)| pattern.matches(subject));
        let grants = found.map_or_else(|| [].into(), |(_, grants)| Arc::clone(grants));
        Identity::known(subject.into(), Method::Mtls, grants)
    }
}

fn read_key(entry: KeyEntry) -> Result<Key, String> {
    check_id(&entry.id)?;
    let hash = entry.hash.strip_prefix("sha256:").and_then(from_hex);
    let subject = entry.subject.unwrap_or(entry.id);
    if subject.is_empty() || subject.len() > 256 || subject.chars().any(char::is_control) {
        return Err("the subject must be 1 to 256 printable bytes".to_owned());
    }
    Ok(Key {
        hash: hash.ok_or("hash: expected \"sha256:\" and 64 hexadecimal digits")?,
        subject: subject.into(),
        grants: grants(&entry.role, entry.models.as_deref())?,
        not_after: entry.not_after.map(|value| read_time(&value)).transpose()?,
    })
}

fn grants(role: &str, models: Option<&[String]>) -> Result<Arc<[Grant]>, String> {
    let role: Role = role.parse()?;
    let models = match models {
        None => vec![Pattern::any()],
        Some(models) => models.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
    };
    Ok([Grant { role, models }].into())
}

/// A point in time, in seconds since 1970, from TOML's own form or a text.
fn read_time(value: &toml::Value) -> Result<i64, String> {
    let text = match value {
        toml::Value::Datetime(time) => time.to_string(),
        toml::Value::String(text) => text.clone(),
        _ => String::new(),
    };
    let time = DateTime::parse_from_rfc3339(&text);
    time.map(|time| time.timestamp())
        .map_err(|_| "not_after: expected a time such as 2027-01-01T00:00:00Z".to_owned())
}

fn check_id(id: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match (1..=64).contains(&id.len()) && id.chars().all(is_plain) {
        true => Ok(()),
        false => Err("an id is 1 to 64 of a-z, 0-9 and '-'".to_owned()),
    }
}

/// The id in a key: `weir_<id>_<secret>`. The secret may hold `_` itself, so it is known by its length.
fn id_of(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(PREFIX)?;
    let (id, _) = rest.split_at_checked(rest.len().checked_sub(SECRET_TEXT_LEN)?)?;
    id.strip_suffix('_')
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// What a new key is for.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Its id; random when `None`.
    pub id: Option<String>,
    /// Who will hold it; the id when `None`.
    pub subject: Option<String>,
    /// What it may do.
    pub role: Role,
    /// For which models; for all when empty.
    pub models: Vec<String>,
    /// When it ends, in the form of RFC 3339.
    pub not_after: Option<String>,
}

impl NewKey {
    /// The key, to be shown once, and its entry in the keys file.
    ///
    /// # Errors
    /// [`KeysProblem`] when the entry would be refused, or the system gives no random bytes.
    pub fn make(&self) -> Result<(String, String), KeysProblem> {
        let mut random = [0; SECRET_LEN + 4];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| KeysProblem("the system gives no random bytes".to_owned()))?;
        let (secret, rest) = random.split_at(SECRET_LEN);
        let id = self.id.clone().unwrap_or_else(|| rest.iter().map(|byte| format!("{byte:02x}")).collect());
        let key = format!("{PREFIX}{id}_{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
        let digits: String = hash(&key).iter().map(|byte| format!("{byte:02x}")).collect();
        let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let mut entry = format!("[[key]]\nid = {}\n", text(&id));
        if let Some(subject) = &self.subject {
            entry.push_str(&format!("subject = {}\n", text(subject)));
        }
        entry.push_str(&format!("hash = \"sha256:{digits}\"\nrole = \"{}\"\n", self.role));
        if !self.models.is_empty() {
            let models: Vec<String> = self.models.iter().map(|model| text(model)).collect();
            entry.push_str(&format!("models = [{}]\n", models.join(", ")));
        }
        if let Some(end) = &self.not_after {
            entry.push_str(&format!("not_after = {}\n", text(end)));
        }
        Keys::parse(&entry)?;
        Ok((key, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn new_key(id: &str, role: Role) -> (String, String) {
        let key =
            NewKey { id: Some(id.to_owned()), subject: None, role, models: Vec::new(), not_after: None };
        key.make().unwrap()
    }

    #[test]
    fn a_new_key_is_found_by_itself_only() {
        let (first, first_entry) = new_key("ci-1", Role::Publisher);
        let (second, second_entry) = new_key("ci-2", Role::Admin);
        let keys = Keys::parse(&format!("{first_entry}{second_entry}")).unwrap();
        assert_eq!(keys.find(&first, NOW).unwrap().subject(), "ci-1");
        assert!(keys.find(&second, NOW).unwrap().allows(Role::Admin, None));
        let swapped = first.replace("ci-1", "ci-2");
        let mut changed = first.clone();
        let last = changed.pop();
        changed.push(if last == Some('A') { 'E' } else { 'A' });
        for wrong in [&swapped, &changed, &first.to_uppercase(), "weir_", "weir_ci-1_", "", "weir_ci-1_short"]
        {
            assert_eq!(keys.find(wrong, NOW).unwrap_err(), AuthError::Invalid, "{wrong}");
        }
        assert!(!format!("{keys:?}{first_entry}").contains(&first), "a key is kept nowhere");
        assert_ne!(new_key("a", Role::Reader).0, new_key("a", Role::Reader).0);
    }

    #[test]
    fn a_key_ends_at_its_time() {
        let key = NewKey {
            id: None,
            subject: Some("ci \"x\"".to_owned()),
            role: Role::Promoter,
            models: vec!["fraud-*".to_owned()],
            not_after: Some("2027-01-15T08:00:00Z".to_owned()),
        };
        let (key, entry) = key.make().unwrap();
        let keys = Keys::parse(&entry).unwrap();
        let found = keys.find(&key, NOW - 1).unwrap();
        assert_eq!((found.subject(), found.method()), ("ci \"x\"", Method::ApiKey));
        assert!(found.allows(Role::Promoter, Some("fraud-1")) && !found.allows(Role::Promoter, Some("x")));
        assert_eq!(keys.find(&key, NOW).unwrap_err(), AuthError::Expired);
        let native = Keys::parse(&entry.replace("\"2027-01-15T08:00:00Z\"", "2027-01-15T08:00:00Z")).unwrap();
        assert_eq!(native.find(&key, NOW).unwrap_err(), AuthError::Expired);
    }

    #[test]
    fn certificates_are_known_by_pattern() {
        let keys = Keys::parse(
            "[[certificate]]\nsubject = 'spiffe://a/*'\nrole = 'promoter'\nmodels = ['m']\n\
             [[certificate]]\nsubject = '*'\nrole = 'reader'\n",
        );
        let keys = keys.unwrap();
        let who = keys.certificate("spiffe://a/ci");
        assert_eq!((who.subject(), who.method()), ("spiffe://a/ci", Method::Mtls));
        assert!(who.allows(Role::Promoter, Some("m")) && !who.allows(Role::Promoter, Some("n")));
        assert!(keys.certificate("b").allows(Role::Reader, None));
        assert!(!Keys::default().certificate("b").allows(Role::Reader, None));
    }

    #[test]
    fn bad_files_are_refused_with_their_place() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Keys::parse(text).unwrap_err().to_string(), expected, "{text}");
        };
        let hash = format!("hash = 'sha256:{}'", "0".repeat(64));
        let entry = |id: &str, more: &str| format!("[[key]]\nid = '{id}'\n{hash}\n{more}\n");
        assert!(Keys::parse("").is_ok());
        let role = "expected a role: reader, publisher, promoter or admin";
        check(&entry("a", "role = 'root'"), &format!("key \"a\": {role}"));
        let twice = entry("a", "role = 'reader'").repeat(2);
        check(&twice, "key \"a\": the id is used twice");
        check(&entry("A b", "role = 'reader'"), "key \"A b\": an id is 1 to 64 of a-z, 0-9 and '-'");
        let time = "key \"a\": not_after: expected a time such as 2027-01-01T00:00:00Z";
        check(&entry("a", "role = 'reader'\nnot_after = 2027-01-01"), time);
        check(&entry("a", "role = 'reader'\nnot_after = 1"), time);
        let pattern = "key \"a\": expected a name with '*' for any text, of 1 to 256 bytes";
        check(&entry("a", "role = 'reader'\nmodels = ['']"), pattern);
        check(
            &entry("a", "role = 'reader'\nsubject = ''"),
            "key \"a\": the subject must be 1 to 256 printable bytes",
        );
        let digits = "key \"a\": hash: expected \"sha256:\" and 64 hexadecimal digits";
        check("[[key]]\nid = 'a'\nhash = 'abc'\nrole = 'reader'", digits);
        check(
            "[[certificate]]\nsubject = ''\nrole = 'reader'",
            "certificate \"\": expected a name with '*' for any text, of 1 to 256 bytes",
        );
        let unknown = Keys::parse(&entry("a", "role = 'reader'\nrolle = 1")).unwrap_err().to_string();
        assert!(unknown.starts_with("line 5: unknown field `rolle`"), "{unknown}");
        assert!(!Keys::parse("[[key").unwrap_err().to_string().contains('\n'));
    }
}
