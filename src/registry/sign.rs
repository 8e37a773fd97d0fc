//! Ed25519 signatures under revisions: keys, the bytes that are signed, and how a signature is put and checked.
//!
//! A signature is the last member of a JSON object: `…,"sig":{"key":"…","ed25519":"…"}}`. It covers the object without
//! it, that is, the bytes before `,"sig":` followed by `}`. Whose signatures count is for [`keys`](super::keys).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::revision::{Signature, sha256_hex};

/// What precedes the 32 bytes of an Ed25519 key in a PKCS#8 document without the public key.
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// A text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(String);

/// A private key that signs revisions.
pub struct Signer {
    id: String,
    public: String,
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads a key file: Ed25519 as PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it, or 32 bytes in
    /// base64.
    ///
    /// # Errors
    /// [`KeyError`], which shows nothing of the key.
    pub fn parse(text: &str) -> Result<Signer, KeyError> {
        let not_a_key = || {
            KeyError("the file is neither an Ed25519 key in PEM (PKCS#8) nor 32 bytes in base64".to_owned())
        };
        let text = text.trim();
        let body = text.strip_prefix(PEM_BEGIN).and_then(|rest| rest.split_once(PEM_END));
        let compact: String = body.map_or(text, |(body, _)| body).split_ascii_whitespace().collect();
        let bytes = BASE64.decode(compact).map_err(|_| not_a_key())?;
        let pair = match body {
            Some(_) => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&bytes),
            None => Ed25519KeyPair::from_seed_unchecked(&bytes),
        };
        Ok(Signer::new(pair.map_err(|_| not_a_key())?))
    }

    /// A new key and its file.
    ///
    /// # Errors
    /// [`KeyError`] when the system gives no random numbers.
    pub fn generate() -> Result<(Signer, String), KeyError> {
        let mut seed = [0; 32];
        let random = SystemRandom::new().fill(&mut seed);
        random.map_err(|_| KeyError("the system gives no random numbers".to_owned()))?;
        let document = BASE64.encode([PKCS8_HEAD.as_slice(), &seed].concat());
        let file = format!("{PEM_BEGIN}\n{document}\n{PEM_END}\n");
        Ok((Signer::parse(&file)?, file))
    }

    fn new(pair: Ed25519KeyPair) -> Signer {
        let public = BASE64.encode(pair.public_key().as_ref());
        Signer { id: key_id(pair.public_key().as_ref()), public, pair }
    }

    /// Names the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key in base64.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The bytes of a JSON object with a signature as its last member.
    pub fn seal(&self, object: &[u8]) -> Vec<u8> {
        let ed25519 = BASE64.encode(self.pair.sign(object).as_ref());
        let sig = Signature { key: self.id.clone(), ed25519 };
        let mut sealed = object.strip_suffix(b"}").unwrap_or(object).to_vec();
        sealed.extend_from_slice(&suffix(&sig));
        sealed
    }
}

/// The id of a public key: the first 16 digits of its SHA-256.
fn key_id(public: &[u8]) -> String {
    sha256_hex(public).chars().take(16).collect()
}

/// Reads a public key, in base64, and gives its id.
///
/// # Errors
/// [`KeyError`].
pub fn check_public(text: &str) -> Result<String, KeyError> {
    let bytes = BASE64.decode(text.trim()).ok().filter(|bytes| bytes.len() == 32);
    let bytes = bytes.ok_or_else(|| KeyError("a public key is 32 bytes in base64".to_owned()))?;
    Ok(key_id(&bytes))
}

fn suffix(sig: &Signature) -> Vec<u8> {
    // Neither member has a character that JSON would escape in a signature that is right; one that is not fits no file.
    format!(r#","sig":{{"key":"{}","ed25519":"{}"}}}}"#, sig.key, sig.ed25519).into_bytes()
}

/// Whether `sig`, which was parsed from `file`, is the signature under it of the owner of `public`.
pub fn is_signed(file: &[u8], sig: &Signature, public: &str) -> bool {
    let Some(signed) = file.strip_suffix(suffix(sig).as_slice()) else { return false };
    let object = [signed, b"}"].concat();
    let (Ok(public), Ok(signature)) = (BASE64.decode(public), BASE64.decode(&sig.ed25519)) else {
        return false;
    };
    UnparsedPublicKey::new(&ED25519, public).verify(&object, &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

    #[test]
    fn keys_are_read_in_both_forms() {
        // The first test vector of RFC 8032, and the document that OpenSSL writes for it.
        let document = [PKCS8_HEAD.as_slice(), &BASE64.decode(SEED).unwrap()].concat();
        let openssl = format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", BASE64.encode(document));
        for text in [openssl.as_str(), SEED, &format!("  {SEED}\n")] {
            let signer = Signer::parse(text).unwrap();
            assert_eq!(signer.public(), PUBLIC);
            assert_eq!(signer.id(), check_public(PUBLIC).unwrap());
        }
        for bad in ["", "abc", "AAAA", PEM_BEGIN, &format!("{PEM_BEGIN}\nAAAA\n{PEM_END}")] {
            let error = Signer::parse(bad).unwrap_err();
            assert!(error.to_string().contains("neither"), "{error}");
        }
        for bad in ["", "AAAA", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHUR"] {
            check_public(bad).unwrap_err();
        }
    }

    #[test]
    fn a_new_key_can_be_read_again() {
        let (signer, file) = Signer::generate().unwrap();
        assert_eq!(Signer::parse(&file).unwrap().public(), signer.public());
        let (other, _) = Signer::generate().unwrap();
        assert_ne!(signer.id(), other.id());
        let secret: String = file.lines().nth(1).unwrap().chars().skip(22).collect();
        assert!(!format!("{signer:?}").contains(&secret));
    }

    #[test]
    fn a_signature_covers_every_byte() {
        let signer = Signer::parse(SEED).unwrap();
        let sealed = signer.seal(br#"{"rev":1,"reason":"a \"sig\" in it: ,\"sig\":{}"}"#);
        let sig: Signature = {
            let value: serde_json::Value = serde_json::from_slice(&sealed).unwrap();
            serde_json::from_value(value["sig"].clone()).unwrap()
        };
        assert_eq!(sig.key, signer.id());
        assert!(is_signed(&sealed, &sig, PUBLIC));
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(!is_signed(&bad, &sig, PUBLIC), "byte {at}");
        }
        let (other, _) = Signer::generate().unwrap();
        assert!(!is_signed(&sealed, &sig, other.public()));
        assert!(!is_signed(b"{}", &sig, PUBLIC));
        assert!(!is_signed(&sealed, &Signature { ed25519: "x\"".into(), ..sig }, PUBLIC));
    }
}
