//! Which addresses a delivery may connect to. Pure: looking a name up is done elsewhere, and every address that comes
//! out of it is asked about here before it is connected to.
//!
//! A URL can be written by whoever may write to the registry, and the server that delivers can reach more than they
//! can. So only public addresses over https are allowed, and the operator of the server widens that, not the URL.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use url::{Host, Url};

/// What the operator allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressPolicy {
    /// Hosts that may be named, `hooks.example.com` or `*.example.com`; empty for every host.
    pub hosts: Vec<String>,
    /// Networks that are not public and may be connected to all the same.
    pub networks: Vec<Network>,
    /// Whether http without TLS is allowed.
    pub http: bool,
}

/// A range of addresses, for example `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let wrong = || format!("'{}' is not a network such as 10.0.0.0/8", text.escape_debug());
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), str::parse).map_err(|_| wrong())?;
        (bits <= all).then_some(Network { address, bits }).ok_or_else(wrong)
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl AddressPolicy {
    /// Checks a URL before anything is looked up: its scheme, its host's name and, where it is one, its address.
    ///
    /// # Errors
    /// Why it is not allowed.
    pub fn check_url(&self, url: &Url) -> Result<(), String> {
        match url.scheme() {
            "https" => {}
            "http" if self.http => {}
            "http" => return Err("http without TLS is not allowed here".to_owned()),
            _ => return Err("the URL is neither https nor http".to_owned()),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL must not carry credentials".to_owned());
        }
        let host = url.host().ok_or_else(|| "the URL names no host".to_owned())?;
        if !self.hosts.is_empty()
            && !self.hosts.iter().any(|allowed| matches_host(allowed, &host.to_string()))
        {
            return Err(format!("the host '{host}' is not among those that are allowed"));
        }
        match host {
            Host::Ipv4(address) => self.check_address(IpAddr::V4(address)),
            Host::Ipv6(address) => self.check_address(IpAddr::V6(address)),
            Host::Domain(_) => Ok(()),
        }
    }

    /// Checks an address that a connection would go to.
    ///
    /// # Errors
    /// Why it is not allowed.
    pub fn check_address(&self, address: IpAddr) -> Result<(), String> {
        let address = plain(address);
        let is_allowed = is_public(address) || self.networks.iter().any(|network| network.contains(address));
        is_allowed.then_some(()).ok_or_else(|| format!("the address {address} is not public and not allowed"))
    }
}

/// Whether `host` is `allowed`, or below it for `*.example.com`.
fn matches_host(allowed: &str, host: &str) -> bool {
    let (allowed, host) = (allowed.to_ascii_lowercase(), host.trim_end_matches('.').to_ascii_lowercase());
    match allowed.strip_prefix("*.") {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => allowed == host,
    }
}

/// The address that a connection really goes to: an IPv4 address inside an IPv6 one is that IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, high, low] = v6.segments();
    let inner =
        |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)));
    match (a, b, c, d, e, f) {
        // Mapped, and the deprecated compatible form; :: and ::1 stay what they are.
        (0, 0, 0, 0, 0, 0xffff) => inner(high, low),
        (0, 0, 0, 0, 0, 0) if high != 0 => inner(high, low),
        // NAT64 and 6to4.
        (0x64, 0xff9b, 0, 0, 0, 0) => inner(high, low),
        (0x2002, high, low, ..) => inner(high, low),
        _ => address,
    }
}

/// Whether an address belongs to the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        // "This network", shared with carriers, protocol assignments, 6to4 relays, benchmarks, reserved and broadcast.
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || a >= 240;
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Only 2000::/3 is global unicast; in it, 2001::/23 (Teredo and other protocols) and documentation are special.
    (a & 0xe000) == 0x2000 && !(a == 0x2001 && (b < 0x200 || b == 0xdb8)) && !(a == 0x3fff && b < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(policy: &AddressPolicy, url: &str) -> bool {
        policy.check_url(&Url::parse(url).unwrap()).is_err()
    }

    #[test]
    fn only_public_addresses_are_allowed() {
        let policy = AddressPolicy { http: true, ..AddressPolicy::default() };
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0.0.0.0",
            "0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "192.0.0.8",
            "192.88.99.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:169.254.169.254]",
            "[::127.0.0.1]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd12::1]",
            "[ff02::1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2002:a00:1::1]",
            "[2001:0:1::1]",
            "[2001:db8::1]",
            "[3fff::1]",
            "[100::1]",
            "[fec0::1]",
        ] {
            assert!(refused(&policy, &format!("http://{host}/x")), "{host}");
        }
        for host in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "[2606:4700::1111]", "[::ffff:1.1.1.1]", "a.b"] {
            assert!(!refused(&policy, &format!("http://{host}/x")), "{host}");
        }
    }

    #[test]
    fn schemes_credentials_and_hosts() {
        let policy = AddressPolicy::default();
        assert!(refused(&policy, "http://example.com/"));
        assert!(refused(&policy, "file:///etc/passwd"));
        assert!(refused(&policy, "ftp://example.com/"));
        assert!(refused(&policy, "https://user:password@example.com/"));
        assert!(!refused(&policy, "https://example.com/"));
        let hosts = vec!["hooks.example.com".to_owned(), "*.intern".to_owned()];
        let policy = AddressPolicy { hosts, ..AddressPolicy::default() };
        assert!(!refused(&policy, "https://HOOKS.example.com/"));
        assert!(!refused(&policy, "https://hooks.example.com./"));
        assert!(!refused(&policy, "https://a.b.intern/"));
        for other in
            ["https://example.com/", "https://xhooks.example.com/", "https://intern/", "https://xintern/"]
        {
            assert!(refused(&policy, other), "{other}");
        }
    }

    #[test]
    fn networks_open_what_is_not_public() {
        let network = |text: &str| text.parse::<Network>();
        let networks = vec![network("10.0.0.0/8").unwrap(), network("::1").unwrap()];
        let policy = AddressPolicy { networks, ..AddressPolicy::default() };
        assert!(!refused(&policy, "https://10.255.0.1/"));
        assert!(!refused(&policy, "https://[::ffff:10.0.0.1]/"));
        assert!(!refused(&policy, "https://[::1]/"));
        assert!(!refused(&policy, "https://11.0.0.1.nip/"), "a name is checked when it is looked up");
        assert!(refused(&policy, "https://127.0.0.1/"));
        for wrong in ["10.0.0.0/33", "::/129", "10/8", "x", "10.0.0.0/-1", ""] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
        let all = network("0.0.0.0/0").unwrap();
        assert!(
            all.contains(IpAddr::V4(Ipv4Addr::BROADCAST)) && !all.contains(IpAddr::V6(Ipv6Addr::LOCALHOST))
        );
    }
}
