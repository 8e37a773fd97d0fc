//! The public key inside a `SubjectPublicKeyInfo` (RFC 5280), as much of DER as that takes and no more.

/// A key of a kind that signs tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PublicKey<'a> {
    Rsa { n: &'a [u8], e: &'a [u8] },
    P256(&'a [u8]),
    Ed25519(&'a [u8]),
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The key, or `None` when the bytes are something else.
pub(super) fn public_key(der: &[u8]) -> Option<PublicKey<'_>> {
    let (info, rest) = take(der, SEQUENCE)?;
    let (algorithm, info) = take(info, SEQUENCE)?;
    let (bits, after) = take(info, BIT_STRING)?;
    // The first byte counts unused bits; keys have none.
    let (0, key) = bits.split_first().map(|(unused, key)| (*unused, key))? else { return None };
    if !rest.is_empty() || !after.is_empty() {
        return None;
    }
    let (kind, parameters) = take(algorithm, OBJECT_ID)?;
    match kind {
        RSA_ENCRYPTION => {
            let (numbers, _) = take(key, SEQUENCE)?;
            let (n, numbers) = take(numbers, INTEGER)?;
            let (e, _) = take(numbers, INTEGER)?;
            Some(PublicKey::Rsa { n, e })
        }
        EC_PUBLIC_KEY if take(parameters, OBJECT_ID)?.0 == PRIME256V1 => Some(PublicKey::P256(key)),
        ED25519 => Some(PublicKey::Ed25519(key)),
        _ => None,
    }
}

/// The value of the element of kind `tag` that `der` begins with, and what follows it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 | 0x82 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |len, byte| (len << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    if *found == tag { rest.split_at_checked(len) } else { None }
}
