//! What follows an attempt to deliver an event: Event Grid's table, as a function of what was answered. Pure.

use std::time::Duration;

/// Waits after the first failed attempt, the second, and so on; the last one is repeated.
const WAITS_S: [u64; 7] = [10, 30, 60, 300, 600, 1800, 3600];
/// Attempts in all.
pub const ATTEMPTS_MAX: u32 = 30;
/// How long an event is tried.
pub const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// The least wait after an answer that time alone will hardly change.
const WAIT_MIN_CONFIGURATION: Duration = Duration::from_secs(300);

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered.
    Answered {
        /// The status.
        status: u16,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// It did not: no connection, or no answer in time.
    Unreachable(String),
    /// This side did not send: the address is not allowed, or a secret is missing.
    NotSent(String),
}

/// What to do with the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It was delivered.
    Done,
    /// Try again after this long.
    Retry(Duration),
    /// Put it aside: it will not be delivered by itself.
    Dead(String),
    /// The receiver wants no more events at all.
    Stop,
}

impl Outcome {
    /// What happened, for people.
    pub fn describe(&self) -> String {
        match self {
            Outcome::Answered { status, .. } if (300..400).contains(status) => {
                format!("the receiver answered {status}, and redirects are not followed")
            }
            Outcome::Answered { status, .. } => format!("the receiver answered {status}"),
            Outcome::Unreachable(reason) | Outcome::NotSent(reason) => reason.clone(),
        }
    }
}

/// What follows attempt number `attempts` (from 1), which ended as `outcome`, `age` after the first one began.
pub fn next(outcome: &Outcome, attempts: u32, age: Duration) -> Next {
    let table = WAITS_S.get(attempts.saturating_sub(1) as usize).or(WAITS_S.last());
    let mut wait = Duration::from_secs(table.copied().unwrap_or_default());
    match outcome {
        Outcome::Answered { status: 200..=299, .. } => return Next::Done,
        Outcome::Answered { status: 410, .. } => return Next::Stop,
        Outcome::Answered { status: 400 | 413 | 415, .. } => return Next::Dead(outcome.describe()),
        Outcome::Answered { status: 401 | 403 | 404, .. } | Outcome::NotSent(_) => {
            wait = wait.max(WAIT_MIN_CONFIGURATION);
        }
        Outcome::Answered { .. } | Outcome::Unreachable(_) => {}
    }
    if let Outcome::Answered { retry_after: Some(wanted), .. } = outcome {
        wait = wait.max(*wanted).min(AGE_MAX);
    }
    if attempts >= ATTEMPTS_MAX || age.saturating_add(wait) > AGE_MAX {
        return Next::Dead(format!("given up after {attempts} attempts: {}", outcome.describe()));
    }
    Next::Retry(wait)
}

/// The value of a `Retry-After` header: seconds, or a date compared with `now`.
pub fn retry_after(value: &str, now: chrono::DateTime<chrono::Utc>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(AGE_MAX));
    }
    let at = chrono::DateTime::parse_from_rfc2822(value).ok()?;
    Some((at.to_utc() - now).to_std().unwrap_or_default().min(AGE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: Duration = Duration::ZERO;

    fn answered(status: u16) -> Outcome {
        Outcome::Answered { status, retry_after: None }
    }

    #[test]
    fn the_table_is_event_grid_s() {
        let (mut age, mut waits) = (ZERO, Vec::new());
        let end = loop {
            let attempts = u32::try_from(waits.len()).unwrap() + 1;
            match next(&answered(500), attempts, age) {
                Next::Retry(wait) => {
                    waits.push(wait.as_secs());
                    age += wait;
                }
                other => break other,
            }
        };
        assert_eq!(waits[..7], [10, 30, 60, 300, 600, 1800, 3600]);
        assert!(waits[7..].iter().all(|wait| *wait == 3600));
        assert!(age <= AGE_MAX && age + Duration::from_secs(3600) > AGE_MAX, "{age:?}");
        assert!(waits.len() < ATTEMPTS_MAX as usize);
        assert!(matches!(end, Next::Dead(_)), "{end:?}");
    }

    #[test]
    fn answers() {
        let check = |outcome: Outcome, attempts: u32, expected: Next| {
            assert_eq!(next(&outcome, attempts, ZERO), expected, "{outcome:?}");
        };
        let retry = |seconds| Next::Retry(Duration::from_secs(seconds));
        check(answered(200), 1, Next::Done);
        check(answered(204), 30, Next::Done);
        check(answered(410), 1, Next::Stop);
        for status in [400, 413, 415] {
            check(answered(status), 1, Next::Dead(format!("the receiver answered {status}")));
        }
        for status in [401, 403, 404] {
            check(answered(status), 1, retry(300));
            check(answered(status), 6, retry(1800));
        }
        for status in [301, 302, 307, 408, 429, 500, 502, 503] {
            check(answered(status), 1, retry(10));
        }
        check(Outcome::Unreachable("refused".to_owned()), 2, retry(30));
        check(Outcome::NotSent("not allowed".to_owned()), 1, retry(300));
        let busy =
            |seconds| Outcome::Answered { status: 429, retry_after: Some(Duration::from_secs(seconds)) };
        check(busy(120), 1, retry(120));
        check(busy(1), 1, retry(10));
        let gave_up = "given up after 30 attempts: the receiver answered 500".to_owned();
        check(answered(500), 30, Next::Dead(gave_up));
        assert!(matches!(next(&busy(90_000), 1, Duration::from_secs(1)), Next::Dead(_)));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = chrono::DateTime::from_timestamp(784_111_777 - 60, 0).unwrap();
        let check = |value: &str, expected: Option<u64>| {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value}");
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(60));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("99999999999", Some(86_400));
        check("soon", None);
        check("-1", None);
    }
}
