//! Words of configuration files: durations, sizes, and the key that was probably meant. Nothing here knows a key.

use std::time::Duration;

/// Units of durations, longest first, in nanoseconds.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of sizes, largest first, in bytes.
const SIZE_UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads a duration such as `1s`, `200ms`, `100us` or `1.5s`; `0` needs no unit.
///
/// # Errors
/// What was expected, for a message.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || {
        format!(
            "expected a duration such as \"200ms\" or \"1s\" (ns, us, ms, s, m, h), found \"{}\"",
            shorten(text)
        )
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    scaled(text, &DURATION_UNITS).map(Duration::from_nanos).ok_or_else(expected)
}

/// Reads a size such as `64MiB` or `1GB`; a bare number is bytes.
///
/// # Errors
/// What was expected, for a message.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let expected = || {
        format!(
            "expected a size such as \"64MiB\" (B, KiB, MiB, GiB, TiB, KB, MB, GB), found \"{}\"",
            shorten(text)
        )
    };
    if let Ok(bytes) = text.parse::<u64>() {
        return Ok(bytes);
    }
    scaled(text, &SIZE_UNITS).ok_or_else(expected)
}

/// `number` and a unit, as a whole number of the smallest unit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = units.iter().find(|(name, _)| *name == unit.trim_start())?.1;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let (whole, fraction) = number.split_once('.')?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let denominator = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor) / denominator;
    whole.checked_add(u64::try_from(part).ok()?)
}

/// Writes a duration as [`parse_duration`] reads it, in the largest unit that keeps it whole.
pub fn show_duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    if ns == 0 {
        return "0s".to_owned();
    }
    show_scaled(ns, &DURATION_UNITS)
}

/// Writes a size as [`parse_size`] reads it.
pub fn show_size(bytes: u64) -> String {
    if bytes == 0 { "0B".to_owned() } else { show_scaled(u128::from(bytes), &SIZE_UNITS) }
}

fn show_scaled(value: u128, units: &[(&str, u64)]) -> String {
    let fits = units.iter().find(|(_, factor)| value.is_multiple_of(u128::from(*factor)));
    let (name, factor) = fits.copied().unwrap_or(("", 1));
    format!("{}{name}", value / u128::from(factor))
}

/// The candidate that differs least from `word`, when it is close enough to have been meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(64).collect();
    let limit = (word.len() / 3).max(2);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.chars().take(64).collect::<Vec<_>>()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `unknown key "x"`, and the nearest known one.
pub fn unknown<'a>(what: &str, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, candidates) {
        Some(known) => format!("unknown {what} \"{}\"; did you mean \"{known}\"?", shorten(word)),
        None => format!("unknown {what} \"{}\"", shorten(word)),
    }
}

/// Levenshtein's distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// The start of a text that came from outside, fit for a message: at most 60 characters, none of them control
/// characters.
pub fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_and_sizes_are_read() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(
                parse_duration(text).ok().map(|d| u64::try_from(d.as_nanos()).unwrap()),
                expected,
                "{text}"
            );
        };
        check("1s", Some(1_000_000_000));
        check("200ms", Some(200_000_000));
        check("100us", Some(100_000));
        check("1.5s", Some(1_500_000_000));
        check("0", Some(0));
        check("2h", Some(7_200_000_000_000));
        for bad in ["", "s", "1", "1 fortnight", "-1s", "1.s", ".5s", "1e3s", "99999999999h", "1..5s", "ä"] {
            check(bad, None);
        }
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("1.5KiB"), Ok(1536));
        assert_eq!(parse_size("1000"), Ok(1000));
        assert!(parse_size("64mib").is_err() && parse_size("99999999TiB").is_err());
    }

    #[test]
    fn the_nearest_key_is_found() {
        let keys = ["http_port", "grpc_port", "address"];
        assert_eq!(nearest("htp_port", keys), Some("http_port"));
        assert_eq!(nearest("adress", keys), Some("address"));
        assert_eq!(nearest("colour", keys), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(ns in any::<u64>(), bytes in any::<u64>()) {
            prop_assert_eq!(parse_duration(&show_duration(Duration::from_nanos(ns))), Ok(Duration::from_nanos(ns)));
            prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,40}") {
            drop((parse_duration(&text), parse_size(&text), shorten(&text)));
            prop_assert!(nearest(&text, ["address"]).is_none_or(|found| found == "address"));
        }
    }
}
