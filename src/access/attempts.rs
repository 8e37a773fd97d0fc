//! How many bad credentials came from an address lately. Bounded: the table forgets whoever failed longest ago.
//!
//! It keeps guessing slow and cheap; what makes it hopeless is the length of the keys.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Bad credentials that an address may send at once.
const BURST: u32 = 10;
/// The time after which one more is allowed.
const REFILL: Duration = Duration::from_secs(6);
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 4096;

/// Counts failures by address.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<IpAddr, Instant>>);

impl Attempts {
    /// Counts a failure from `address`; answers how long to wait when it has had its share.
    ///
    /// What is kept is the time at which the address's account is even again: each failure moves it by [`REFILL`].
    pub(super) fn failed(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let address = network(address);
        let mut even_at = self.0.lock();
        if even_at.len() >= ADDRESSES_MAX && !even_at.contains_key(&address) {
            make_room(&mut even_at, now);
        }
        let entry = even_at.entry(address).or_insert(now);
        let even = (*entry).max(now);
        let debt = even.duration_since(now);
        let over = (debt + REFILL).saturating_sub(REFILL * BURST);
        if !over.is_zero() {
            return Some(over);
        }
        *entry = even + REFILL;
        None
    }
}

/// The part of an address that one host or household has: all of IPv4, the first half of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

/// Forgets everyone whose account is even, or else the one that will be soonest.
fn make_room(even_at: &mut HashMap<IpAddr, Instant>, now: Instant) {
    even_at.retain(|_, even| *even > now);
    if even_at.len() >= ADDRESSES_MAX
        && let Some(soonest) = even_at.iter().min_by_key(|(_, even)| **even).map(|(address, _)| *address)
    {
        even_at.remove(&soonest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a_share_and_then_a_trickle() {
        let attempts = Attempts::default();
        let start = Instant::now();
        for _ in 0..BURST {
            assert_eq!(attempts.failed(address(1), start), None);
        }
        assert_eq!(attempts.failed(address(1), start), Some(REFILL));
        assert_eq!(attempts.failed(address(2), start), None, "others have their own");
        let later = start + REFILL;
        let sooner = later - Duration::from_secs(1);
        assert_eq!(attempts.failed(address(1), sooner), Some(Duration::from_secs(1)));
        assert_eq!(attempts.failed(address(1), later), None);
        assert_eq!(attempts.failed(address(1), later), Some(REFILL));
    }

    #[test]
    fn a_network_of_ipv6_is_one() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for host in 0..BURST {
            let address: IpAddr = format!("2001:db8:0:1::{host:x}").parse().unwrap();
            assert_eq!(attempts.failed(address, now), None);
        }
        assert!(attempts.failed("2001:db8:0:1:ffff::1".parse().unwrap(), now).is_some());
        assert!(attempts.failed("2001:db8:0:2::1".parse().unwrap(), now).is_none());
    }

    #[test]
    fn the_table_is_bounded() {
        let attempts = Attempts::default();
        let start = Instant::now();
        let filled = u32::try_from(ADDRESSES_MAX).unwrap();
        for number in 0..filled {
            attempts.failed(address(number), start + Duration::from_millis(number.into()));
        }
        attempts.failed(address(filled), start);
        assert_eq!(attempts.0.lock().len(), ADDRESSES_MAX);
        assert!(!attempts.0.lock().contains_key(&address(0)), "the one that would be even soonest");
        attempts.failed(address(filled + 1), start + Duration::from_secs(3600));
        assert_eq!(attempts.0.lock().len(), 1);
    }
}
