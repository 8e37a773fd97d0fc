//! Tokens of one configured issuer (JSON Web Tokens, RFC 7519): signature, times, issuer, audience, roles.
//!
//! A token chooses nothing: which algorithm checks it is a property of the configured key, and a token whose header
//! names another one is refused before any cryptography. `none` is not an algorithm here. Keys are never fetched.

mod der;
mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

pub use self::keys::JwtKeysProblem;

use self::keys::VerifyingKey;
use super::error::AuthError;
use super::identity::{Grant, Identity, Method, Pattern, Role};

/// How far the clocks of issuer and server may be apart, in seconds.
const LEEWAY: i64 = 30;

/// What a token must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSettings {
    /// The claim `iss`.
    pub issuer: String,
    /// One of the claim `aud`.
    pub audience: String,
    /// The claim that names roles: its name, or a JSON pointer such as `/realm_access/roles`.
    pub roles_claim: String,
    /// The claim that names models, in the same form; a token without it is for all models.
    pub models_claim: String,
    /// Whether keys that both sides know (HS256) are taken.
    pub allow_hs256: bool,
}

/// Why a token is refused. For the log; the client learns whether it expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Defect {
    #[error("it is not three parts of base64url and JSON")]
    Form,
    #[error("its header asks for an extension")]
    Critical,
    #[error("no configured key has its key id and algorithm")]
    Key,
    #[error("its signature is wrong")]
    Signature,
    #[error("its issuer is another one")]
    Issuer,
    #[error("it is for another audience")]
    Audience,
    #[error("it has no subject")]
    Subject,
    #[error("it has no end, or its times are no numbers")]
    Times,
    #[error("it is not valid yet")]
    NotYet,
    #[error("it has expired")]
    Expired,
}

/// Checks tokens.
#[derive(Debug)]
pub(super) struct Verifier {
    settings: JwtSettings,
    keys: ArcSwap<Vec<VerifyingKey>>,
}

impl Verifier {
    /// A verifier that knows no key yet.
    pub(super) fn new(settings: JwtSettings) -> Verifier {
        Verifier { settings, keys: ArcSwap::default() }
    }

    /// Replaces the keys by those of a key file's text.
    pub(super) fn set_keys(&self, text: &str) -> Result<(), JwtKeysProblem> {
        self.keys.store(Arc::new(keys::parse(text, self.settings.allow_hs256)?));
        Ok(())
    }

    /// Whose token `text` is, at `now` in seconds since 1970.
    pub(super) fn identify(&self, text: &str, now: i64) -> Result<Identity, AuthError> {
        let claims = payload(text, &self.keys.load())
            .and_then(|payload| self.check_claims(&payload, now).map(|subject| (payload, subject)));
        match claims {
            Ok((claims, subject)) => Ok(Identity::known(subject, Method::Jwt, self.grants(&claims))),
            Err(defect) => {
                tracing::debug!(%defect, "a token is refused");
                Err(if defect == Defect::Expired { AuthError::Expired } else { AuthError::Invalid })
            }
        }
    }

    /// Checks what the token says of itself; answers its subject.
    fn check_claims(&self, claims: &Value, now: i64) -> Result<Arc<str>, Defect> {
        if claims["iss"] != *self.settings.issuer {
            return Err(Defect::Issuer);
        }
        let audience = self.settings.audience.as_str();
        if !texts(&claims["aud"]).any(|text| text == audience) {
            return Err(Defect::Audience);
        }
        if seconds(&claims["exp"]).ok_or(Defect::Times)? <= now.saturating_sub(LEEWAY) {
            return Err(Defect::Expired);
        }
        if let Some(from) = claims.get("nbf")
            && seconds(from).ok_or(Defect::Times)? > now.saturating_add(LEEWAY)
        {
            return Err(Defect::NotYet);
        }
        let is_plain = |text: &&str| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control);
        claims["sub"].as_str().filter(is_plain).map(Arc::from).ok_or(Defect::Subject)
    }

    /// The highest of its roles that is known here, for the models that it names.
    fn grants(&self, claims: &Value) -> Arc<[Grant]> {
        let roles = claim(claims, &self.settings.roles_claim);
        let role = roles.and_then(|roles| texts(roles).filter_map(|text| text.parse::<Role>().ok()).max());
        let models = match claim(claims, &self.settings.models_claim) {
            None => vec![Pattern::any()],
            // What is no pattern names no model.
            Some(models) => texts(models).filter_map(|text| text.parse().ok()).collect(),
        };
        role.map(|role| Grant { role, models }).into_iter().collect()
    }
}

/// The payload of a token that one of `keys` signed.
fn payload(token: &str, keys: &[VerifyingKey]) -> Result<Value, Defect> {
    let (signed, signature) = token.rsplit_once('.').ok_or(Defect::Form)?;
    let (header, payload) = signed.split_once('.').ok_or(Defect::Form)?;
    let header: Value = json(header)?;
    let payload_bytes = BASE64_URL_SAFE_NO_PAD.decode(payload).map_err(|_| Defect::Form)?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| Defect::Form)?;
    if header.get("crit").is_some() {
        return Err(Defect::Critical);
    }
    let algorithm = header["alg"].as_str().ok_or(Defect::Form)?;
    let id = header.get("kid").and_then(Value::as_str);
    let mut candidates = keys.iter().filter(|key| key.is_called(id, algorithm)).peekable();
    if candidates.peek().is_none() {
        return Err(Defect::Key);
    }
    if !candidates.any(|key| key.has_signed(signed.as_bytes(), &signature)) {
        return Err(Defect::Signature);
    }
    let claims: Value = serde_json::from_slice(&payload_bytes).map_err(|_| Defect::Form)?;
    if claims.is_object() { Ok(claims) } else { Err(Defect::Form) }
}

fn json(part: &str) -> Result<Value, Defect> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Defect::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| Defect::Form)
}

/// A claim by its name or by a JSON pointer.
fn claim<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) }
}

/// The texts in a claim that is one text or a list.
fn texts(claim: &Value) -> impl Iterator<Item = &str> {
    let list = claim.as_array().map_or(std::slice::from_ref(claim), Vec::as_slice);
    list.iter().filter_map(Value::as_str)
}

/// A time in whole seconds; issuers may write fractions.
fn seconds(claim: &Value) -> Option<i64> {
    claim.as_i64().or_else(|| {
        let seconds = claim.as_f64()?;
        #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, which is what is wanted")]
        seconds.is_finite().then_some(seconds as i64)
    })
}
