//! Signatures of deliveries in the manner of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`. Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;

use crate::registry::cloudevent::CloudEvent;
use crate::registry::revision::sha256_hex;

/// Shortest key, in bytes.
const KEY_LEN_MIN: usize = 24;

/// What marks a key that is written in base64.
const BASE64_MARK: &str = "whsec_";

/// A key that signs deliveries. Not shown, so that it cannot end in a log.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// The key of a secret's text: base64 after `whsec_`, or the text itself.
    ///
    /// # Errors
    /// Why it is no key; the text is not repeated.
    pub fn parse(text: &str) -> Result<SigningKey, &'static str> {
        let text = text.trim();
        let bytes = match text.strip_prefix(BASE64_MARK) {
            Some(encoded) => {
                BASE64_STANDARD.decode(encoded).map_err(|_| "what follows whsec_ is not base64")?
            }
            None => text.as_bytes().to_vec(),
        };
        if bytes.len() < KEY_LEN_MIN {
            return Err("it is shorter than 24 bytes");
        }
        Ok(SigningKey(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

/// The `webhook-id` of an event: the same at every attempt, and without a `.`, which separates what is signed.
pub fn delivery_id(event: &CloudEvent) -> String {
    let hash = sha256_hex(format!("{}\n{}", event.source, event.id).as_bytes());
    format!("evt_{}", hash.get(..32).unwrap_or(&hash))
}

/// The `webhook-signature`: one signature a key, so that a receiver knows the old or the new one while keys change.
pub fn sign(keys: &[SigningKey], id: &str, timestamp: i64, body: &[u8]) -> String {
    let head = format!("{id}.{timestamp}.");
    let sign = |key: &SigningKey| {
        let mut context = hmac::Context::with_key(&key.0);
        context.update(head.as_bytes());
        context.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    };
    keys.iter().map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_standard_webhooks() {
        // From the specification's libraries: secret, message, timestamp, payload and what must come out.
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = sign(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_key_signs() {
        let key = |byte: char| SigningKey::parse(&byte.to_string().repeat(24)).unwrap();
        let (a, b) = (key('a'), key('b'));
        let both = sign(&[a.clone(), b.clone()], "id", 1, b"body");
        assert_eq!(both, format!("{} {}", sign(&[a], "id", 1, b"body"), sign(&[b], "id", 1, b"body")));
        assert_eq!(both.split(' ').count(), 2);
    }

    #[test]
    fn short_and_broken_keys_are_refused() {
        assert!(SigningKey::parse("short").is_err());
        assert!(SigningKey::parse("whsec_?").is_err());
        assert!(SigningKey::parse("whsec_YWJj").is_err());
        assert!(SigningKey::parse(&"x".repeat(24)).is_ok());
    }
}
