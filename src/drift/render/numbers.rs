//! Numbers as people read them: four digits that matter, and a dash for what is undefined.

/// A number with about `digits` digits that matter.
pub(super) fn number_with(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "–".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞".to_owned() } else { "−∞".to_owned() };
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e9).contains(&size) {
        return minus(format!("{value:.1e}"));
    }
    let decimals = (0..=digits + 2).find(|decimals| {
        let step = 10f64.powi(i32::try_from(*decimals).unwrap_or(0));
        size * step >= 10f64.powi(i32::try_from(digits).unwrap_or(4) - 1)
    });
    let text = format!("{value:.*}", decimals.unwrap_or(digits + 2));
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => grouped(&text),
    };
    minus(if text == "-0" { "0".to_owned() } else { text })
}

/// A number with four digits that matter.
pub(super) fn number(value: f64) -> String {
    number_with(value, 4)
}

/// A count of rows, which weights may have made a fraction.
pub(super) fn count(value: f64) -> String {
    match value.fract() == 0.0 && value.abs() < 1e15 {
        true => grouped(&format!("{value:.0}")),
        false => number(value),
    }
}

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if percent.is_nan() => "–".to_owned(),
        _ if percent == 0.0 => "0%".to_owned(),
        _ if percent.abs() < 0.05 => "<0.1%".to_owned(),
        _ if percent.abs() < 9.95 => format!("{percent:.1}%"),
        _ => format!("{percent:.0}%"),
    }
}

/// A difference, with its sign.
pub(super) fn signed(value: f64) -> String {
    match value > 0.0 {
        true => format!("+{}", number_with(value, 3)),
        false => number_with(value, 3),
    }
}

/// Thousands with a thin space between them, from five digits on.
fn grouped(text: &str) -> String {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    if digits < 5 {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut left = digits;
    for c in text.chars() {
        if c.is_ascii_digit() {
            if left != digits && left.is_multiple_of(3) {
                out.push('\u{202f}');
            }
            left -= 1;
        }
        out.push(c);
    }
    out
}

/// A minus that is as wide as a plus.
fn minus(text: String) -> String {
    match text.strip_prefix('-') {
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_what_matters() {
        let check = |value: f64, expected: &str| assert_eq!(number(value), expected, "{value:?}");
        check(0.0, "0");
        check(-0.0, "0");
        check(0.012_345, "0.01235");
        check(0.2, "0.2");
        check(1.0 / 3.0, "0.3333");
        check(38.456_78, "38.46");
        check(4201.75, "4202");
        check(1_234_567.0, "1\u{202f}234\u{202f}567");
        check(-12.5, "−12.5");
        check(1e-7, "1.0e-7");
        check(-3e12, "−3.0e12");
        check(f64::NAN, "–");
        check(f64::NEG_INFINITY, "−∞");
    }

    #[test]
    fn shares_counts_and_differences() {
        let check = |share: f64, expected: &str| assert_eq!(percent(share), expected, "{share:?}");
        check(0.0, "0%");
        check(0.0001, "<0.1%");
        check(0.0123, "1.2%");
        check(0.125, "12%");
        check(1.0, "100%");
        check(f64::NAN, "–");
        assert_eq!((count(344.0), count(20_000.0)), ("344".to_owned(), "20\u{202f}000".to_owned()));
        assert_eq!(count(12.25), "12.25");
        assert_eq!((signed(0.5), signed(-0.254), signed(0.0)), ("+0.5".into(), "−0.254".into(), "0".into()));
    }
}
