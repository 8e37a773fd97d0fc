//! Values of comparisons: numbers, times, truth values and patterns, checked when a search is read.

use std::ops::Bound;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};

use super::document::millis;
use super::query::{Field, Operator};

/// Checks that a value fits its field; an error says what was expected.
pub(super) fn check(field: &Field, text: &str) -> Result<(), String> {
    match field {
        field if field.is_time() => match time(text, DateTime::UNIX_EPOCH) {
            Some(_) => Ok(()),
            None => Err(format!(
                "{field}: expected a time such as 2026-05-01, 2026-05-01T12:00:00Z or -7d (s, m, h, d, w)"
            )),
        },
        field if field.is_ordered() => match number(text) {
            Some(_) => Ok(()),
            None => Err(format!("{field}: expected a number")),
        },
        Field::Deleted if !matches!(text, "true" | "false") => {
            Err("deleted: expected true or false".to_owned())
        }
        _ => Ok(()),
    }
}

/// A finite number; -0 is 0, as it is in the index.
pub(super) fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number + 0.0)
}

/// A time: a date (its beginning, UTC), a date with a time, or an age such as `-7d` before `now`.
pub(super) fn time(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if let Some(age) = text.strip_prefix('-') {
        let digits = age.chars().take_while(char::is_ascii_digit).count();
        let (count, unit) = age.split_at_checked(digits)?;
        let count: i64 = count.parse().ok()?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 24 * 3600,
            "w" => 7 * 24 * 3600,
            _ => return None,
        };
        return now.checked_sub_signed(TimeDelta::try_seconds(count.checked_mul(seconds)?)?);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.with_timezone(&Utc));
    }
    text.parse::<NaiveDate>().ok().map(|date| date.and_time(chrono::NaiveTime::MIN).and_utc())
}

/// The end of the day that a date names; `None` for texts that are no dates.
pub(super) fn end_of_day(text: &str) -> Option<DateTime<Utc>> {
    let day = text.parse::<NaiveDate>().ok()?.checked_add_days(Days::new(1))?;
    Some(day.and_time(chrono::NaiveTime::MIN).and_utc())
}

/// Whether `text` matches `pattern`: `*` is any text, `?` any character, and case does not matter.
pub(super) fn is_like(text: &str, pattern: &str) -> bool {
    if text.is_ascii() && pattern.is_ascii() {
        return glob(text.as_bytes(), pattern.as_bytes(), b'*', b'?', |a, b| a.eq_ignore_ascii_case(b));
    }
    let text: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    let pattern: Vec<char> = pattern.chars().flat_map(char::to_lowercase).collect();
    glob(&text, &pattern, '*', '?', |a, b| a == b)
}

fn glob<C: PartialEq>(text: &[C], pattern: &[C], star: C, any: C, same: impl Fn(&C, &C) -> bool) -> bool {
    let (mut at, mut want) = (0, 0);
    // Where to go on when what follows the last star does not fit: the star takes one character more.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(here) = text.get(at) {
        match pattern.get(want) {
            Some(c) if *c == star => {
                retry = Some((at, want + 1));
                want += 1;
            }
            Some(c) if *c == any || same(c, here) => {
                at += 1;
                want += 1;
            }
            _ => match retry {
                Some((from, after)) => {
                    retry = Some((from + 1, after));
                    at = from + 1;
                    want = after;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(want).all(|c| *c == star)
}

/// The numbers that a comparison of an ordered field accepts. A date stands for its whole day.
pub(super) fn bounds(field: &Field, operator: Operator, text: &str, now: DateTime<Utc>) -> Option<Range> {
    let (first, after) = match field.is_time() {
        true => {
            let start = millis(time(text, now)?);
            // Times have milliseconds: a day ends before the next one begins, any other time is that millisecond.
            (start, end_of_day(text).map_or(start, |end| millis(end) - 1.0))
        }
        false => number(text).map(|number| (number, number))?,
    };
    Some(match operator {
        Operator::Lt => (Bound::Unbounded, Bound::Excluded(first)),
        Operator::Le => (Bound::Unbounded, Bound::Included(after)),
        Operator::Gt => (Bound::Excluded(after), Bound::Unbounded),
        Operator::Ge => (Bound::Included(first), Bound::Unbounded),
        _ => (Bound::Included(first), Bound::Included(after)),
    })
}

/// A range of numbers.
pub(super) type Range = (Bound<f64>, Bound<f64>);

/// Whether a range can be looked up: an ordered map panics on one that ends before it begins.
pub(super) fn is_range(range: &Range) -> bool {
    match range {
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
            from <= to
        }
        _ => true,
    }
}
