//! Tokens from the standards, and tokens that someone forged.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;
/// RFC 7515, A.1 to A.3.
const PAYLOAD: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const SHARED: &str = r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
const RSA: &str = r#"{"kty":"RSA","kid":"r","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#;
const RSA_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const EC_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
/// RFC 8037, A.4.
const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const ED_TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

fn set(keys: &[&str]) -> Vec<VerifyingKey> {
    keys::parse(&format!("{{\"keys\":[{}]}}", keys.join(",")), true).unwrap()
}

fn encode(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

#[test]
fn tokens_of_the_standards_are_taken() {
    let keys = set(&[SHARED, RSA, EC, ED]);
    let hs = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    let rs = format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.{RSA_SIGNATURE}");
    let es = format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.{EC_SIGNATURE}");
    for token in [&hs, &rs, &es] {
        let claims = payload(token, &keys).unwrap();
        assert_eq!((&claims["iss"], &claims["exp"]), (&json!("joe"), &json!(1_300_819_380)), "{token}");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        // Every bit of the signature and of what is signed counts.
        let mut wrong = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        *wrong.last_mut().unwrap() ^= 1;
        let wrong = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(wrong));
        assert_eq!(payload(&wrong, &keys), Err(Defect::Signature));
        assert_eq!(payload(&token.replacen("eyJpc3Mi", "eyJpc3Nj", 1), &keys), Err(Defect::Signature));
        assert_eq!(payload(&format!("{signed}."), &keys), Err(Defect::Signature));
    }
    // The example of RFC 8037 signs a text that is no JSON: the signature holds, and then the form does not.
    assert_eq!(payload(ED_TOKEN, &keys), Err(Defect::Form));
    assert_eq!(payload(&ED_TOKEN.replace("RXhh", "RXhi"), &keys), Err(Defect::Signature));
}

#[test]
fn the_key_chooses_the_algorithm() {
    let rsa = set(&[RSA]);
    let token = |header: &str, signature: &str| format!("{}.{PAYLOAD}.{signature}", encode(header));
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"RS512"}"#,
        r#"{"alg":"PS256"}"#,
    ] {
        assert_eq!(payload(&token(header, ""), &rsa), Err(Defect::Key), "{header}");
        assert_eq!(payload(&token(header, RSA_SIGNATURE), &rsa), Err(Defect::Key), "{header}");
    }
    // The public key as the secret of an HMAC: the attack that reading the algorithm from the token allows.
    let public = serde_json::from_str::<Value>(RSA).unwrap();
    let secret = BASE64_URL_SAFE_NO_PAD.decode(public["n"].as_str().unwrap()).unwrap();
    let signed = format!("{}.{PAYLOAD}", encode(r#"{"alg":"HS256","kid":"r"}"#));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
    let forged = BASE64_URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes()));
    assert_eq!(payload(&format!("{signed}.{forged}"), &rsa), Err(Defect::Key));
    assert_eq!(payload(&format!("{signed}.{forged}"), &set(&[RSA, SHARED])), Err(Defect::Signature));
    let other_id = token(r#"{"alg":"RS256","kid":"s"}"#, RSA_SIGNATURE);
    assert_eq!(payload(&other_id, &rsa), Err(Defect::Key));
    let critical = token(r#"{"alg":"RS256","crit":["exp"],"exp":1}"#, RSA_SIGNATURE);
    assert_eq!(payload(&critical, &rsa), Err(Defect::Critical));
}

#[test]
fn what_is_no_token_is_refused() {
    let keys = set(&[RSA, EC]);
    let good = format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.{EC_SIGNATURE}");
    assert!(payload(&good, &keys).is_ok());
    for len in 0..good.len() {
        assert!(payload(good.get(..len).unwrap(), &keys).is_err(), "{len}");
    }
    for bad in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "e30.e30.",
        "bnVsbA.e30.",
        "eyJhbGciOjF9.e30.",
        "\u{e9}.\u{e9}.\u{e9}",
    ] {
        assert!(payload(bad, &keys).is_err(), "{bad}");
    }
    // Padding and other alphabets make a second spelling of the same token.
    assert_eq!(payload(&format!("{good}=="), &keys), Err(Defect::Form));
    assert_eq!(payload(&format!("{good}.e30"), &keys), Err(Defect::Form));
}

/// An issuer with a P-256 key.
struct Issuer {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Issuer {
    fn new() -> Issuer {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        Issuer { key, random }
    }

    fn key_set(&self) -> String {
        let point = self.key.public_key().as_ref();
        let part = |from: usize| BASE64_URL_SAFE_NO_PAD.encode(point.get(from..from + 32).unwrap());
        json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "x": part(1), "y": part(33)}]})
            .to_string()
    }

    fn sign(&self, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(r#"{"alg":"ES256","typ":"JWT"}"#), encode(&claims.to_string()));
        let signature = self.key.sign(&self.random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

fn verifier(roles_claim: &str) -> Verifier {
    Verifier::new(JwtSettings {
        issuer: "https://issuer.example".to_owned(),
        audience: "weir".to_owned(),
        roles_claim: roles_claim.to_owned(),
        models_claim: "weir_models".to_owned(),
        allow_hs256: false,
    })
}

/// The claims of a good token, with `change` over them; null takes one away.
fn claims(change: Value) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.example", "aud": "weir", "sub": "ana", "exp": NOW + 60, "weir_roles": ["promoter"],
    });
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

#[test]
fn claims_are_checked() {
    let issuer = Issuer::new();
    let verifier = verifier("weir_roles");
    verifier.set_keys(&issuer.key_set()).unwrap();
    let check = |change: Value, expected: Option<AuthError>| {
        let found = verifier.identify(&issuer.sign(&claims(change.clone())), NOW);
        assert_eq!(found.err(), expected, "{change}");
    };
    check(json!({}), None);
    check(json!({"aud": ["other", "weir"]}), None);
    check(json!({"nbf": NOW + 29, "exp": NOW - 29}), None);
    check(json!({"exp": 1.8e9 + 0.5}), None);
    let expired = Some(AuthError::Expired);
    check(json!({"exp": NOW - 30}), expired.clone());
    check(json!({"exp": -1e300}), expired);
    for wrong in [
        json!({"iss": null}),
        json!({"iss": "https://issuer.example/"}),
        json!({"aud": null}),
        json!({"aud": "other"}),
        json!({"aud": ["Weir"]}),
        json!({"aud": {"weir": 1}}),
        json!({"exp": null}),
        json!({"exp": "1900000000"}),
        json!({"nbf": NOW + 31}),
        json!({"nbf": "now"}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": 7}),
        json!({"sub": "a\nb"}),
    ] {
        check(wrong, Some(AuthError::Invalid));
    }
    let forger = Issuer::new();
    assert_eq!(verifier.identify(&forger.sign(&claims(json!({}))), NOW).err(), Some(AuthError::Invalid));
    // A new key file ends the old key's tokens.
    let token = issuer.sign(&claims(json!({})));
    assert!(verifier.set_keys("{}").is_err() && verifier.identify(&token, NOW).is_ok());
    verifier.set_keys(&forger.key_set()).unwrap();
    assert_eq!(verifier.identify(&token, NOW).err(), Some(AuthError::Invalid));
}

#[test]
fn roles_and_models_come_from_claims() {
    let issuer = Issuer::new();
    let check = |claim: &str, change: Value, expected: Option<Role>, model: &str| {
        let verifier = verifier(claim);
        verifier.set_keys(&issuer.key_set()).unwrap();
        let who = verifier.identify(&issuer.sign(&claims(change.clone())), NOW).unwrap();
        let found = Role::ALL.into_iter().rfind(|role| who.allows(*role, Some(model)));
        assert_eq!((found, who.subject(), who.method()), (expected, "ana", Method::Jwt), "{change}");
    };
    check("weir_roles", json!({}), Some(Role::Promoter), "m");
    check("weir_roles", json!({"weir_roles": "publisher"}), Some(Role::Publisher), "m");
    check("weir_roles", json!({"weir_roles": ["reader", "admin", "owner"]}), Some(Role::Admin), "m");
    check("weir_roles", json!({"weir_roles": ["Admin"]}), None, "m");
    check("weir_roles", json!({"weir_roles": null}), None, "m");
    check("/realm_access/roles", json!({"realm_access": {"roles": ["reader"]}}), Some(Role::Reader), "m");
    check("https://x.example/roles", json!({"https://x.example/roles": ["reader"]}), Some(Role::Reader), "m");
    let scoped = json!({"weir_models": ["fraud-*", "iris"]});
    check("weir_roles", scoped.clone(), Some(Role::Promoter), "fraud-eu");
    check("weir_roles", scoped, None, "m");
    check("weir_roles", json!({"weir_models": []}), None, "m");
    check("weir_roles", json!({"weir_models": 7}), None, "m");
}

#[test]
fn public_keys_come_in_pem() {
    let issuer = Issuer::new();
    let point = issuer.key.public_key().as_ref();
    let ec_prefix = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let pem = |der: &[u8]| {
        let text = base64::prelude::BASE64_STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    };
    let ec = [&ec_prefix, point].concat();
    let token = issuer.sign(&claims(json!({})));
    assert!(payload(&token, &keys::parse(&pem(&ec), false).unwrap()).is_ok());

    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let signed = format!("{}.{}", encode(r#"{"alg":"EdDSA"}"#), encode("{}"));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()));
    let ed = [&prefix, pair.public_key().as_ref()].concat();
    // Several keys in one file, for rotation.
    let both = keys::parse(&format!("{}{}", pem(&ec), pem(&ed)), false).unwrap();
    assert_eq!(payload(&format!("{signed}.{signature}"), &both), Ok(json!({})));
    assert!(payload(&token, &both).is_ok());

    let n = BASE64_URL_SAFE_NO_PAD
        .decode(serde_json::from_str::<Value>(RSA).unwrap()["n"].as_str().unwrap())
        .unwrap();
    let numbers =
        [&[0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00], &n[..], &[0x02, 0x03, 0x01, 0x00, 0x01]]
            .concat();
    let algorithm =
        [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let rsa =
        [&[0x30, 0x82, 0x01, 0x22], &algorithm[..], &[0x03, 0x82, 0x01, 0x0f, 0x00], &numbers[..]].concat();
    let token = format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.{RSA_SIGNATURE}");
    assert!(payload(&token, &keys::parse(&pem(&rsa), false).unwrap()).is_ok());
    // No cut makes a key, and none makes a panic.
    for der in [&ec, &rsa] {
        for len in 0..der.len() {
            assert!(keys::parse(&pem(der.get(..len).unwrap()), false).is_err(), "{len}");
        }
    }
}

#[test]
fn key_files_that_cannot_be_used_say_why() {
    let check = |text: &str, expected: &str| {
        assert_eq!(keys::parse(text, false).unwrap_err().to_string(), expected, "{text}");
    };
    let set = |keys: &str| format!("{{\"keys\":[{keys}]}}");
    check("", "expected PUBLIC KEY blocks in PEM, or a JSON Web Key Set");
    check("{}", "a JSON Web Key Set has a list 'keys'");
    check(&set(""), "it holds no key that can be used");
    check(&set(SHARED), "it holds no key that can be used");
    check(&set(r#"{"kty":"EC","crv":"P-521"}"#), "it holds no key that can be used");
    check(&set(&RSA.replace("\"kid\"", "\"use\":\"enc\",\"kid\"")), "it holds no key that can be used");
    check(&set(&RSA.replace("\"kid\"", "\"alg\":\"RS512\",\"kid\"")), "it holds no key that can be used");
    check(&set(r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#), "key 1: an RSA key has 2048 to 8192 bits");
    check(&set(r#"{"kty":"RSA","n":"?","e":"AQAB"}"#), "key 1: 'n' is not base64url");
    check(
        &set(r#"{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"}"#),
        "key 1: 'x' and 'y' are not 32 bytes each",
    );
    let short = keys::parse(&set(r#"{"kty":"oct","k":"AQAB"}"#), true).unwrap_err().to_string();
    assert_eq!(short, "key 1: a shared key has at least 32 bytes");
}
