//! What is done to values before anything is written, and the key of hashes. A policy acts before the WAL, so what it
//! takes away is nowhere on the disk.
//!
//! Policies of text act on the decimal text of numbers, and make their column one of text; policies of numbers act on text
//! that is a number, and make any other text null.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use regex::bytes::{NoExpand, Regex, RegexBuilder};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::settings::CaptureError;
use crate::model::monitoring::Privacy;

/// Largest compiled form of a mask.
const MASK_BYTES_MAX: usize = 1 << 20;
/// Bytes of a keyed hash that are written: 128 bits.
const HASH_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// A keyed hash of text, equal for equal text, that nobody without the key can undo.
#[derive(Debug, Clone)]
pub(super) struct Hasher(Arc<hmac::Key>);

impl Hasher {
    pub(super) fn new(key: &[u8]) -> Hasher {
        Hasher(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// Reads the key in `path`, or makes one that only this user can read.
    pub(super) fn open(path: &Path) -> Result<Hasher, CaptureError> {
        let failed = || CaptureError::io(path.display());
        let mut options = std::fs::OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                let mut key = [0; KEY_LEN];
                let filled = SystemRandom::new().fill(&mut key);
                filled.map_err(|_| CaptureError::Invalid("no random bytes for a key".to_owned()))?;
                file.write_all(&key).and_then(|()| file.sync_all()).map_err(failed())?;
                Ok(Hasher::new(&key))
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let mut key = Vec::new();
                let file = std::fs::File::open(path).map_err(failed())?;
                file.take(4096).read_to_end(&mut key).map_err(failed())?;
                if key.len() < KEY_LEN {
                    return Err(CaptureError::damaged(
                        path.display(),
                        "a key of hashes has 32 bytes or more",
                    ));
                }
                Ok(Hasher::new(&key))
            }
            Err(error) => Err(failed()(error)),
        }
    }

    /// The hash in hexadecimal digits.
    pub(super) fn hash(&self, value: &[u8]) -> String {
        let tag = hmac::sign(&self.0, value);
        hex(tag.as_ref().get(..HASH_LEN).unwrap_or_default())
    }
}

/// Hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

/// A policy made ready.
#[derive(Debug, Clone)]
pub(super) enum Policy {
    Keep,
    Drop,
    Hmac(Hasher),
    Bucket(f64),
    Round(u32),
    Truncate(usize),
    Mask(Regex),
}

impl Policy {
    pub(super) fn new(privacy: &Privacy, hasher: &Hasher) -> Result<Policy, CaptureError> {
        Ok(match privacy {
            Privacy::Keep => Policy::Keep,
            Privacy::Drop => Policy::Drop,
            Privacy::Hmac => Policy::Hmac(hasher.clone()),
            Privacy::Bucket(width) => Policy::Bucket(*width),
            Privacy::Round(decimals) => Policy::Round(*decimals),
            Privacy::Truncate(characters) => Policy::Truncate(*characters),
            Privacy::Mask(pattern) => {
                let made = RegexBuilder::new(pattern).unicode(false).size_limit(MASK_BYTES_MAX).build();
                Policy::Mask(made.map_err(|error| CaptureError::Invalid(format!("mask: {error}")))?)
            }
        })
    }

    /// Whether what it makes of a number is text.
    pub(super) fn makes_text(&self) -> bool {
        matches!(self, Policy::Hmac(_) | Policy::Truncate(_) | Policy::Mask(_))
    }

    /// What is written of a number.
    pub(super) fn number(&self, value: f64) -> f64 {
        match self {
            Policy::Bucket(width) => (value / width).floor() * width,
            Policy::Round(decimals) => {
                let scale = 10f64.powi(i32::try_from(*decimals).unwrap_or(15));
                let rounded = (value * scale).round() / scale;
                if rounded.is_finite() { rounded } else { value }
            }
            _ => value,
        }
    }

    /// Whether [`Policy::number`] changes anything.
    pub(super) fn changes_numbers(&self) -> bool {
        matches!(self, Policy::Bucket(_) | Policy::Round(_))
    }

    /// What is written of text; `None` for null. Text that is not UTF-8 is written as `base64:` and its bytes.
    pub(super) fn text<'a>(&self, value: &'a [u8]) -> Option<Cow<'a, str>> {
        match self {
            Policy::Keep => Some(readable(Cow::Borrowed(value))),
            Policy::Drop => None,
            Policy::Hmac(hasher) => Some(Cow::Owned(hasher.hash(value))),
            Policy::Bucket(_) | Policy::Round(_) => {
                let number: f64 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
                Some(Cow::Owned(self.number(number).to_string()))
            }
            Policy::Truncate(characters) => {
                let text = readable(Cow::Borrowed(value));
                Some(Cow::Owned(text.chars().take(*characters).collect()))
            }
            Policy::Mask(regex) => Some(readable(regex.replace_all(value, NoExpand(b"*")))),
        }
    }
}

fn readable(value: Cow<'_, [u8]>) -> Cow<'_, str> {
    match value {
        Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(encoded(bytes)),
        },
        Cow::Owned(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Cow::Owned(text),
            Err(error) => Cow::Owned(encoded(error.as_bytes())),
        },
    }
}

fn encoded(bytes: &[u8]) -> String {
    use base64::Engine as _;
    format!("base64:{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn check(privacy: &str, value: &[u8], expected: Option<&str>) {
        let policy = Policy::new(&privacy.parse().unwrap(), &Hasher::new(&[0x0b; 20])).unwrap();
        assert_eq!(policy.text(value).as_deref(), expected, "{privacy}");
    }

    #[test]
    fn text_is_treated_as_its_policy_says() {
        check("keep", "Grüße".as_bytes(), Some("Grüße"));
        check("keep", &[0xff, 0xfe], Some("base64://4="));
        check("drop", b"secret", None);
        // RFC 4231, test case 1, its first 128 bits.
        check("hmac", b"Hi There", Some("b0344c61d8db38535ca8afceaf0bf12b"));
        check("truncate:2", "äöü".as_bytes(), Some("äö"));
        check("mask:[0-9]+", b"card 4111 1111", Some("card * *"));
        check("mask:(?i)a|\\d", b"A1b", Some("**b"));
        check("bucket:10", b"27", Some("20"));
        check("bucket:10", b"John", None);
    }

    #[test]
    fn numbers_are_coarsened() {
        let number = |privacy: &str, value| {
            Policy::new(&privacy.parse().unwrap(), &Hasher::new(&[1; 32])).unwrap().number(value)
        };
        assert_eq!(number("bucket:2.5", -0.1), -2.5);
        assert_eq!(number("round:2", 1.239), 1.24);
        assert_eq!(number("keep", 1.239), 1.239);
        assert!(number("round:2", f64::NAN).is_nan());
    }

    #[test]
    fn masks_are_bounded() {
        let huge = Privacy::Mask("(a{500}){500}".to_owned());
        assert!(Policy::new(&huge, &Hasher::new(&[1; 32])).is_err());
    }

    #[test]
    fn the_key_is_made_once_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hmac.key");
        let made = Hasher::open(&path).unwrap().hash(b"x");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Hasher::open(&path).unwrap().hash(b"x"), made);
        std::fs::write(&path, b"short").unwrap();
        assert!(Hasher::open(&path).is_err());
    }
}
