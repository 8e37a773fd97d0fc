//! The credential in a request's headers: `authorization: Bearer ...` or `x-api-key: ...`, at most one of them.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::error::AuthError;

/// The header for keys that takes the key alone.
const API_KEY: &str = "x-api-key";
/// Longest credential; `limits.header_bytes_max` holds as well.
const LEN_MAX: usize = 16 << 10;

/// The credential, if there is one.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let bearer = only(headers, AUTHORIZATION.as_str())?.map(bearer).transpose()?;
    let key = only(headers, API_KEY)?;
    let token = match (bearer, key) {
        // Which of them a proxy or a log would believe is not known.
        (Some(_), Some(_)) => {
            return Err(AuthError::Malformed("send one of 'authorization' and 'x-api-key'"));
        }
        (Some(token), None) | (None, Some(token)) => token,
        (None, None) => return Ok(None),
    };
    match token.len() {
        1..=LEN_MAX => Ok(Some(token)),
        _ => Err(AuthError::Malformed("the credential is empty or too long")),
    }
}

/// The header's only value.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, AuthError> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(AuthError::Malformed("a header comes twice"));
    }
    first.to_str().map(|text| Some(text.trim())).map_err(|_| AuthError::Malformed("a header is not ASCII"))
}

fn bearer(value: &str) -> Result<&str, AuthError> {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim_start()),
        _ => Err(AuthError::Malformed("expected 'authorization: Bearer ...'")),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn check(headers: &[(&'static str, &[u8])], expected: Result<Option<&str>, &str>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        let found = of(&map).map_err(|error| error.to_string());
        let expected = expected.map_err(|reason| format!("the credentials cannot be read: {reason}"));
        assert_eq!(found, expected, "{headers:?}");
    }

    #[test]
    fn one_credential_in_one_of_two_headers() {
        check(&[], Ok(None));
        check(&[("authorization", b"Bearer abc")], Ok(Some("abc")));
        check(&[("authorization", b"bearer   abc ")], Ok(Some("abc")));
        check(&[("x-api-key", b"abc")], Ok(Some("abc")));
        let form = "expected 'authorization: Bearer ...'";
        check(&[("authorization", b"Basic YTpi")], Err(form));
        check(&[("authorization", b"Bearer")], Err(form));
        check(&[("x-api-key", b"")], Err("the credential is empty or too long"));
        check(&[("x-api-key", &[b'x'; 16 * 1024 + 1])], Err("the credential is empty or too long"));
        check(&[("x-api-key", b"\xff")], Err("a header is not ASCII"));
        check(&[("x-api-key", b"a"), ("x-api-key", b"a")], Err("a header comes twice"));
        let both = "send one of 'authorization' and 'x-api-key'";
        check(&[("authorization", b"Bearer a"), ("x-api-key", b"a")], Err(both));
    }
}
