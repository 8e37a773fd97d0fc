//! Which version of a traffic split a request goes to.
//!
//! With a key, the choice is weighted rendezvous hashing: every version gets a number in (0, 1) from a hash of the model,
//! the key and the version, and the smallest `-ln(number) / weight` wins. So the same key goes to the same version on
//! every replica and after every restart; a version that gets a larger share takes keys from the others and gives none
//! away, and one that is taken out gives away only its own. The hash is 64-bit FNV-1a of `model`, a zero byte and the key,
//! mixed with the version's number by the finalizer of SplitMix64: part of what Weir promises, so it never changes.
//!
//! Without a key, requests are spread by a counter that steps through the shares by the golden ratio, which keeps to them
//! more closely than random numbers do.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Version;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The shares of a model's traffic; at least two versions have one.
#[derive(Debug)]
pub(super) struct Split {
    /// The hash of the model's name and a zero byte.
    prefix: u64,
    shares: Vec<Share>,
    /// The sum of the weights.
    total: u64,
    /// Requests without a key so far, from a random number on.
    unkeyed: AtomicU64,
}

#[derive(Debug)]
struct Share {
    /// Where the version is in the model's list.
    at: usize,
    weight: u32,
    /// The version's part of the hash.
    salt: u64,
}

impl Split {
    /// A split of `model` by `shares`: position in the model's list, version and weight, which is not 0.
    pub(super) fn new(model: &str, shares: impl IntoIterator<Item = (usize, Version, u32)>) -> Split {
        let shares: Vec<Share> = shares
            .into_iter()
            .map(|(at, version, weight)| Share { at, weight, salt: mix(version.get()) })
            .collect();
        Split {
            prefix: fnv(fnv(FNV_OFFSET, model.as_bytes()), &[0]),
            total: shares.iter().map(|share| u64::from(share.weight)).sum(),
            shares,
            unkeyed: AtomicU64::new(RandomState::new().build_hasher().finish()),
        }
    }

    /// The position of the version that requests with `key` go to; an empty key is none.
    pub(super) fn choose(&self, key: &str) -> usize {
        if key.is_empty() { self.next() } else { self.of(key) }
    }

    fn of(&self, key: &str) -> usize {
        let hash = fnv(self.prefix, key.as_bytes());
        let (mut best, mut best_at) = (f64::INFINITY, 0);
        for share in &self.shares {
            let cost = -unit(mix(hash ^ share.salt)).ln() / f64::from(share.weight);
            if cost < best {
                (best, best_at) = (cost, share.at);
            }
        }
        best_at
    }

    fn next(&self) -> usize {
        let step = self.unkeyed.fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN);
        // `step` as a share of 2^64, so the product's upper half is below the total.
        let scaled = (u128::from(step) * u128::from(self.total)) >> 64;
        let mut point = u64::try_from(scaled).unwrap_or_default();
        for share in &self.shares {
            match point.checked_sub(u64::from(share.weight)) {
                Some(rest) => point = rest,
                None => return share.at,
            }
        }
        self.shares.last().map_or(0, |share| share.at)
    }
}

fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

/// The finalizer of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(GOLDEN);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The upper 53 bits as a number strictly between 0 and 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
fn unit(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(weights: &[(u64, u32)]) -> Split {
        let shares = weights.iter().enumerate();
        Split::new(
            "digits",
            shares.map(|(at, &(number, weight))| (at, Version::new(number).unwrap(), weight)),
        )
    }

    fn versions(weights: &[(u64, u32)]) -> Vec<u64> {
        let split = split(weights);
        (0..20_000).map(|key| weights[split.choose(&format!("user-{key}"))].0).collect()
    }

    fn share_of(versions: &[u64], version: u64) -> f64 {
        versions.iter().filter(|found| **found == version).count() as f64 / versions.len() as f64
    }

    #[test]
    fn keys_keep_to_their_shares() {
        for weights in [[(1, 90), (2, 10)], [(1, 1), (2, 1)], [(7, 999_000), (9, 1000)]] {
            let total = f64::from(weights[0].1 + weights[1].1);
            let found = versions(&weights);
            for (version, weight) in weights {
                let expected = f64::from(weight) / total;
                // Five standard deviations of the share.
                let bound = 5.0 * (expected * (1.0 - expected) / found.len() as f64).sqrt();
                assert!((share_of(&found, version) - expected).abs() < bound, "{weights:?} {version}");
            }
        }
    }

    #[test]
    fn only_what_must_move_moves() {
        let before = versions(&[(1, 50), (2, 30), (3, 20)]);
        let grown = versions(&[(1, 50), (2, 30), (3, 90)]);
        let moved = before.iter().zip(&grown).filter(|(old, new)| old != new);
        assert!(moved.clone().all(|(_, new)| *new == 3), "only the grown version takes keys");
        assert!(moved.count() > 0);
        let without = versions(&[(1, 50), (3, 20)]);
        assert!(before.iter().zip(&without).all(|(old, new)| *old == 2 || old == new));
        let scaled = versions(&[(1, 500), (2, 300), (3, 200)]);
        assert_eq!(before, scaled, "only proportions count");
    }

    /// What is promised to stay: a change of these values would send users to other versions at an upgrade.
    #[test]
    fn the_hash_is_pinned() {
        let found: String =
            versions(&[(1, 50), (2, 30), (3, 20)]).iter().take(32).map(ToString::to_string).collect();
        assert_eq!(mix(fnv(fnv(FNV_OFFSET, b"digits"), &[0])), PINNED_MIX);
        assert_eq!(found, PINNED_CHOICES);
    }

    const PINNED_MIX: u64 = 17_825_944_645_957_140_793;
    const PINNED_CHOICES: &str = "22112131323311111121112211113111";

    #[test]
    fn requests_without_a_key_keep_to_the_shares_closely() {
        let weights = [(1, 90), (2, 10)];
        let split = split(&weights);
        let second = (0..1000).filter(|_| split.choose("") == 1).count();
        assert!((95..=105).contains(&second), "{second}");
    }
}
