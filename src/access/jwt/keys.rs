//! The issuer's keys from a file: public keys in PEM, or a JSON Web Key Set (RFC 7517).
//!
//! Each key is made for one algorithm: RS256 (RSA of 2048 bits or more), ES256 (P-256), EdDSA (Ed25519), and HS256 for
//! shared keys where they are allowed.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::der::{self, PublicKey};

/// Keys in a file.
const KEYS_MAX: usize = 64;
/// Shortest shared key: as long as its hash (RFC 7518, 3.2).
const SHARED_LEN_MIN: usize = 32;

/// A key file cannot be used. One line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JwtKeysProblem(String);

/// A key and the one algorithm it is for.
#[derive(Debug)]
pub(super) struct VerifyingKey {
    id: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
    Shared(hmac::Key),
}

impl VerifyingKey {
    /// Whether a token with this key id and algorithm may be this key's. A key without an id is for every token.
    pub(super) fn is_called(&self, id: Option<&str>, algorithm: &str) -> bool {
        let same_id = match (&self.id, id) {
            (Some(own), Some(id)) => own == id,
            _ => true,
        };
        same_id && self.algorithm() == algorithm
    }

    fn algorithm(&self) -> &'static str {
        match self.material {
            Material::Rsa { .. } => "RS256",
            Material::P256(_) => "ES256",
            Material::Ed25519(_) => "EdDSA",
            Material::Shared(_) => "HS256",
        }
    }

    /// Whether `signature` is this key's for `message`.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let checked = match &self.material {
            Material::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Material::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
            Material::Shared(key) => hmac::verify(key, message, signature),
        };
        checked.is_ok()
    }
}

/// The keys of a file's text.
pub(super) fn parse(text: &str, allow_hs256: bool) -> Result<Vec<VerifyingKey>, JwtKeysProblem> {
    let keys = match text.trim_start().starts_with('{') {
        true => key_set(text, allow_hs256),
        false => pem(text),
    };
    match keys {
        Ok(keys) if keys.is_empty() => Err("it holds no key that can be used".to_owned()),
        Ok(keys) if keys.len() > KEYS_MAX => Err(format!("it holds more than {KEYS_MAX} keys")),
        keys => keys,
    }
    .map_err(JwtKeysProblem)
}

fn pem(text: &str) -> Result<Vec<VerifyingKey>, String> {
    let mut keys = Vec::new();
    for key in SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()) {
        let key = key.map_err(|error| format!("not PEM: {error}"))?;
        let material = match der::public_key(&key) {
            Some(PublicKey::Rsa { n, e }) => rsa(n, e)?,
            Some(PublicKey::P256(point)) => Material::P256(point.to_owned()),
            Some(PublicKey::Ed25519(point)) => Material::Ed25519(point.to_owned()),
            None => return Err("a key is not RSA, P-256 or Ed25519".to_owned()),
        };
        keys.push(VerifyingKey { id: None, material });
    }
    if keys.is_empty() {
        return Err("expected PUBLIC KEY blocks in PEM, or a JSON Web Key Set".to_owned());
    }
    Ok(keys)
}

/// Keys of a set that are for something else, or of an algorithm that is not known here, are passed over: sets hold
/// keys for everyone.
fn key_set(text: &str, allow_hs256: bool) -> Result<Vec<VerifyingKey>, String> {
    let set: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let entries = set["keys"].as_array().ok_or("a JSON Web Key Set has a list 'keys'")?;
    let mut keys = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if entry.get("use").is_some_and(|purpose| purpose != "sig") {
            continue;
        }
        let key = read_entry(entry, allow_hs256).map_err(|reason| format!("key {}: {reason}", index + 1))?;
        keys.extend(key);
    }
    Ok(keys)
}

fn read_entry(entry: &Value, allow_hs256: bool) -> Result<Option<VerifyingKey>, String> {
    let bytes = |name: &str| {
        let text = entry[name].as_str();
        let bytes = text.and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
        bytes.ok_or_else(|| format!("'{name}' is not base64url"))
    };
    let material = match (entry["kty"].as_str(), entry["crv"].as_str()) {
        (Some("RSA"), _) => rsa(&bytes("n")?, &bytes("e")?)?,
        (Some("EC"), Some("P-256")) => {
            let point = [vec![4], bytes("x")?, bytes("y")?].concat();
            if point.len() != 65 {
                return Err("'x' and 'y' are not 32 bytes each".to_owned());
            }
            Material::P256(point)
        }
        (Some("OKP"), Some("Ed25519")) => Material::Ed25519(bytes("x")?),
        (Some("oct"), _) if allow_hs256 => {
            let key = bytes("k")?;
            if key.len() < SHARED_LEN_MIN {
                return Err(format!("a shared key has at least {SHARED_LEN_MIN} bytes"));
            }
            Material::Shared(hmac::Key::new(hmac::HMAC_SHA256, &key))
        }
        _ => return Ok(None),
    };
    let key = VerifyingKey { id: entry["kid"].as_str().map(str::to_owned), material };
    // A key of a known kind for an unknown algorithm, RS512 say.
    let is_for_another = entry["alg"].as_str().is_some_and(|algorithm| algorithm != key.algorithm());
    Ok(if is_for_another { None } else { Some(key) })
}

fn rsa(n: &[u8], e: &[u8]) -> Result<Material, String> {
    let n: Vec<u8> = n.iter().copied().skip_while(|byte| *byte == 0).collect();
    let e: Vec<u8> = e.iter().copied().skip_while(|byte| *byte == 0).collect();
    match n.len() {
        256..=1024 => Ok(Material::Rsa { n, e }),
        _ => Err("an RSA key has 2048 to 8192 bits".to_owned()),
    }
}
