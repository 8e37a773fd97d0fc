//! The other end of a connection: its address, and the name in its certificate where it showed one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use http::header::{FORWARDED, ORIGIN};
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// What proxies say of whom they speak for.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    subject: Option<Arc<str>>,
}

impl Peer {
    /// A peer that showed no certificate.
    pub fn new(address: SocketAddr) -> Peer {
        Peer { address, subject: None }
    }

    /// A peer with a certificate that was verified when the connection was made.
    pub fn with_certificate(address: SocketAddr, certificate: &CertificateDer<'_>) -> Peer {
        Peer { address, subject: subject_of(certificate).map(Arc::from) }
    }

    /// The name in the certificate: its first URI, or else its first DNS name.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Whether a request with these headers was made on this host, by a program and not by a page of another site in
    /// a browser, nor through a proxy.
    pub(super) fn is_local(&self, headers: &HeaderMap) -> bool {
        let from_here = headers.get(ORIGIN).is_none_or(|origin| origin.to_str().is_ok_and(is_local_origin));
        let direct = !headers.contains_key(FORWARDED) && !headers.contains_key(FORWARDED_FOR);
        self.address.ip().to_canonical().is_loopback() && from_here && direct
    }
}

/// Whether a page of this origin came from this host: `http://localhost:3000`, `http://127.0.0.1:8000`.
fn is_local_origin(origin: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or("", |(host, _)| host),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn subject_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let name = certificate.valid_uri_names().next().or_else(|| certificate.valid_dns_names().next());
    name.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn local_is_direct_and_from_this_host() {
        let check = |address: &str, header: Option<(&'static str, &'static str)>, expected: bool| {
            let mut headers = HeaderMap::new();
            if let Some((name, value)) = header {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let peer = Peer::new(address.parse().unwrap());
            assert_eq!(peer.is_local(&headers), expected, "{address} {header:?}");
        };
        check("127.0.0.1:1", None, true);
        check("[::1]:1", None, true);
        check("[::ffff:127.0.0.2]:1", None, true);
        check("10.0.0.1:1", None, false);
        for origin in
            ["http://localhost:3000", "http://127.0.0.1:8000", "https://[::1]:1", "http://localhost"]
        {
            check("127.0.0.1:1", Some(("origin", origin)), true);
        }
        for origin in
            ["http://evil.example", "null", "http://localhost.evil.example", "http://[::2]", "http://[", ""]
        {
            check("127.0.0.1:1", Some(("origin", origin)), false);
        }
        check("127.0.0.1:1", Some(("x-forwarded-for", "10.0.0.1")), false);
        check("127.0.0.1:1", Some(("forwarded", "for=10.0.0.1")), false);
    }

    #[test]
    fn the_subject_is_the_uri_or_else_the_dns_name() {
        let check = |uri: Option<&str>, dns: &[&str], expected: Option<&str>| {
            let mut params =
                rcgen::CertificateParams::new(dns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                    .unwrap();
            params.subject_alt_names.extend(uri.map(|uri| rcgen::SanType::URI(uri.try_into().unwrap())));
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            let peer = Peer::with_certificate("127.0.0.1:1".parse().unwrap(), certificate.der());
            assert_eq!(peer.subject(), expected);
        };
        check(Some("spiffe://prod/ns/ml"), &["ci.example"], Some("spiffe://prod/ns/ml"));
        check(None, &["ci.example", "b.example"], Some("ci.example"));
        check(None, &[], None);
        let garbage =
            Peer::with_certificate("127.0.0.1:1".parse().unwrap(), &CertificateDer::from(vec![1, 2]));
        assert_eq!(garbage.subject(), None);
    }
}
