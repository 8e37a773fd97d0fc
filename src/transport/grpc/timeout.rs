//! The `grpc-timeout` header: how long a client waits for its answer.

use std::time::{Duration, Instant};

use http::HeaderMap;

/// The timeout in `headers`; `None` when there is none or it cannot be read, which gRPC treats alike.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get("grpc-timeout")?.to_str().ok()?)
}

/// The earlier of a deadline and a timeout that begins at `now` and is at most `max`.
pub(super) fn earlier(
    deadline: Option<Instant>,
    timeout: Option<Duration>,
    now: Instant,
    max: Duration,
) -> Option<Instant> {
    let other = timeout.and_then(|timeout| now.checked_add(timeout.min(max)));
    match (deadline, other) {
        (Some(deadline), Some(other)) => Some(deadline.min(other)),
        (deadline, other) => deadline.or(other),
    }
}

/// At most eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Duration>) {
        assert_eq!(parse(text), expected, "{text:?}");
    }

    #[test]
    fn units_are_read_and_the_rest_is_ignored() {
        check("1H", Some(Duration::from_secs(3600)));
        check("99999999M", Some(Duration::from_secs(99_999_999 * 60)));
        check("5S", Some(Duration::from_secs(5)));
        check("20m", Some(Duration::from_millis(20)));
        check("7u", Some(Duration::from_micros(7)));
        check("0n", Some(Duration::ZERO));
        for text in ["", "m", "1", "1x", "-1m", "123456789m", "1µ", "ä"] {
            check(text, None);
        }
    }

    #[test]
    fn the_earlier_deadline_wins_and_is_capped() {
        let now = Instant::now();
        let max = Duration::from_secs(10);
        let second = Duration::from_secs(1);
        assert_eq!(earlier(None, None, now, max), None);
        assert_eq!(earlier(None, Some(second), now, max), Some(now + second));
        assert_eq!(earlier(None, Some(second * 60), now, max), Some(now + max));
        assert_eq!(earlier(Some(now + second), Some(second * 2), now, max), Some(now + second));
        assert_eq!(earlier(Some(now + second * 3), Some(second * 2), now, max), Some(now + second * 2));
        assert_eq!(earlier(Some(now + second), None, now, max), Some(now + second));
    }
}
