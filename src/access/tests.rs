//! The rules for requests with and without credentials, as a table.

use http::{HeaderMap, HeaderValue};

use super::keys::NewKey;
use super::*;
use crate::error::{Code, Coded};

fn access(settings: AccessSettings) -> Access {
    Access::new(settings, &Registry::new()).unwrap()
}

fn key(role: Role) -> (String, String) {
    NewKey { id: None, subject: Some("ci".to_owned()), role, models: Vec::new(), not_after: None }
        .make()
        .unwrap()
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    headers
}

fn peer(address: &str) -> Peer {
    Peer::new(format!("{address}:1").parse().unwrap())
}

#[test]
fn without_configured_credentials_only_this_host_may_change_anything() {
    for (bound, address, expected) in [
        (true, "127.0.0.1", Method::Local),
        (true, "10.0.0.1", Method::Anonymous),
        (false, "127.0.0.1", Method::Anonymous),
    ] {
        let access = access(AccessSettings { is_loopback_bound: bound, ..AccessSettings::default() });
        // A header that nobody configured means nothing here.
        for headers in [HeaderMap::new(), bearer("of a proxy")] {
            let who = access.authenticate(&headers, &peer(address)).unwrap();
            assert_eq!(who.method(), expected, "{bound} {address}");
            assert_eq!(who.require(Role::Reader, Some("m")), Ok(()));
            let change = who.require(Role::Admin, None).map_err(|error| error.code());
            let allowed = expected == Method::Local;
            assert_eq!(change, if allowed { Ok(()) } else { Err(Code::PermissionDenied) });
        }
    }
}

#[test]
fn configured_credentials_are_needed_everywhere() {
    let settings =
        AccessSettings { is_loopback_bound: true, has_keys_file: true, ..AccessSettings::default() };
    let (publisher, entry) = key(Role::Publisher);
    for require in [Require::Mutations, Require::All] {
        let access = access(AccessSettings { require, ..settings.clone() });
        access.set_keys(&entry).unwrap();
        let nobody = access.authenticate(&HeaderMap::new(), &peer("127.0.0.1")).unwrap();
        assert_eq!(nobody.require(Role::Publisher, Some("m")), Err(AuthError::Missing));
        assert_eq!(nobody.allows(Role::Reader, None), require == Require::Mutations);
        assert_eq!(access.asks_all(), require == Require::All);
        let who = access.authenticate(&bearer(&publisher), &peer("10.0.0.1")).unwrap();
        assert_eq!((who.subject(), who.method()), ("ci", Method::ApiKey));
        assert_eq!(who.require(Role::Publisher, Some("m")), Ok(()));
        assert_eq!(who.require(Role::Promoter, Some("m")).unwrap_err().code(), Code::PermissionDenied);
        // A bad file changes nothing, a good one without the key ends it.
        assert!(access.set_keys("[[key]]").is_err());
        assert!(access.authenticate(&bearer(&publisher), &peer("10.0.0.1")).is_ok());
        access.set_keys("").unwrap();
        let gone = access.authenticate(&bearer(&publisher), &peer("10.0.0.1")).unwrap_err();
        assert_eq!((&gone, gone.code()), (&AuthError::Invalid, Code::Unauthenticated));
    }
}

#[test]
fn bad_credentials_are_counted_and_limited_and_good_ones_pass() {
    let registry = Registry::new();
    let settings = AccessSettings { has_keys_file: true, ..AccessSettings::default() };
    let access = Access::new(settings, &registry).unwrap();
    let (good, entry) = key(Role::Reader);
    access.set_keys(&entry).unwrap();
    let now = Now { unix: 0, instant: Instant::now() };
    let ask = |token: &str, address: &str| access.authenticate_at(&bearer(token), &peer(address), now);
    for _ in 0..10 {
        assert_eq!(ask("weir_guess", "10.0.0.1").unwrap_err(), AuthError::Invalid);
    }
    let limited = ask("weir_guess", "10.0.0.1").unwrap_err();
    assert_eq!(limited.code(), Code::ResourceExhausted);
    assert!(limited.retry_after().is_some());
    assert!(ask(&good, "10.0.0.1").is_ok(), "a good key passes");
    assert_eq!(ask("weir_guess", "10.0.0.2").unwrap_err(), AuthError::Invalid);
    let text = String::from_utf8(registry.expose().unwrap()).unwrap();
    assert!(text.contains("weir_auth_failures_total{reason=\"invalid\"} 11"), "{text}");
    assert!(text.contains("weir_auth_failures_total{reason=\"limited\"} 1"), "{text}");
}

#[test]
fn certificates_are_credentials_where_a_keys_file_gives_them_roles() {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![rcgen::SanType::URI("spiffe://prod/ml".try_into().unwrap())];
    let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let peer = Peer::with_certificate("10.0.0.1:1".parse().unwrap(), certificate.der());
    let access = access(AccessSettings { has_keys_file: true, ..AccessSettings::default() });
    let who = access.authenticate(&HeaderMap::new(), &peer).unwrap();
    assert_eq!((who.subject(), who.method()), ("spiffe://prod/ml", Method::Mtls));
    assert_eq!(who.require(Role::Publisher, Some("m")).unwrap_err().code(), Code::PermissionDenied);
    access.set_keys("[[certificate]]\nsubject = 'spiffe://prod/*'\nrole = 'publisher'\n").unwrap();
    let who = access.authenticate(&HeaderMap::new(), &peer).unwrap();
    assert_eq!(who.require(Role::Publisher, Some("m")), Ok(()));
    // What is shown in the request counts before what the connection showed.
    let refused = access.authenticate(&bearer("weir_x"), &peer).unwrap_err();
    assert_eq!(refused, AuthError::Invalid);
}

#[test]
fn tokens_are_taken_where_an_issuer_is_configured() {
    let jwt = JwtSettings {
        issuer: "i".to_owned(),
        audience: "weir".to_owned(),
        roles_claim: "weir_roles".to_owned(),
        models_claim: "weir_models".to_owned(),
        allow_hs256: true,
    };
    let access = access(AccessSettings { jwt: Some(jwt), ..AccessSettings::default() });
    let secret = [7; 32];
    let encode = |bytes: &[u8]| {
        use base64::Engine as _;
        base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes)
    };
    let keys = format!("{{\"keys\":[{{\"kty\":\"oct\",\"k\":\"{}\"}}]}}", encode(&secret));
    access.set_jwt_keys(&keys).unwrap();
    assert!(access.takes_credentials() && access.set_jwt_keys("{").is_err());
    let claims = r#"{"iss":"i","aud":"weir","sub":"ana","exp":99999999999,"weir_roles":["publisher"]}"#;
    let signed = format!("{}.{}", encode(br#"{"alg":"HS256"}"#), encode(claims.as_bytes()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
    let token = format!("{signed}.{}", encode(ring::hmac::sign(&key, signed.as_bytes()).as_ref()));
    let who = access.authenticate(&bearer(&token), &peer("10.0.0.1")).unwrap();
    assert_eq!((who.subject(), who.method()), ("ana", Method::Jwt));
    assert_eq!(who.require(Role::Publisher, Some("m")), Ok(()));
    for wrong in ["weir_a_b", "x.y.z", "abc"] {
        assert_eq!(access.authenticate(&bearer(wrong), &peer("10.0.0.1")).unwrap_err(), AuthError::Invalid);
    }
}
