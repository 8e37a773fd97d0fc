//! JSON numbers from text to bits, without losing any: integers exactly, floats correctly rounded to their own width.
//!
//! Most numbers take a short way: up to 19 digits gathered into a `u64`, then one multiplication or division by a
//! power of ten that `f64` holds exactly. What that way cannot prove right goes to the standard library's parser.

/// Powers of ten that `f64` holds exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// Powers of ten up to that of eight digits.
const WHOLE_POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
/// Decimal digits that always fit a `u64`.
const DIGITS_MAX: usize = 19;

/// A number as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number<'a> {
    /// The text from its first byte on, and how much of that belongs to it.
    rest: &'a str,
    pub(super) len: usize,
    negative: bool,
    /// The digits as a whole number; only right when `exact`.
    digits: u64,
    /// The value is `digits` times ten to this power.
    power: i64,
    /// `digits` holds every digit.
    exact: bool,
}

/// Reads the number at the start of `text`.
///
/// # Errors
/// The offset of the byte that should have been a digit.
#[inline]
pub(super) fn scan(text: &str) -> Result<Number<'_>, usize> {
    let bytes = text.as_bytes();
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let (mut digits, mut at) = scan_whole(bytes, start);
    let whole_len = at - start;
    if whole_len == 0 || (whole_len > 1 && bytes.get(start) == Some(&b'0')) {
        return Err(start + whole_len.min(1));
    }
    let mut power = 0;
    let mut digit_count = whole_len;
    if bytes.get(at) == Some(&b'.') {
        let fraction = at + 1;
        (digits, at) = scan_digits(bytes, fraction, digits);
        if at == fraction {
            return Err(at);
        }
        digit_count += at - fraction;
        power = -i64::try_from(at - fraction).unwrap_or(i64::MAX);
    }
    let digits_end = at;
    if let Some(b'e' | b'E') = bytes.get(at) {
        let (exponent, end) = scan_exponent(bytes, at + 1)?;
        power = power.saturating_add(exponent);
        at = end;
    }
    let exact = digit_count <= DIGITS_MAX || significant_digits(bytes.get(start..digits_end)) <= DIGITS_MAX;
    Ok(Number { rest: text, len: at, negative, digits, power, exact })
}

/// The digits before the point; most often it is one.
#[inline]
fn scan_whole(bytes: &[u8], start: usize) -> (u64, usize) {
    match (bytes.get(start).and_then(|&byte| digit(byte)), bytes.get(start + 1)) {
        (Some(first), Some(second)) if digit(*second).is_none() => (first, start + 1),
        _ => scan_digits(bytes, start, 0),
    }
}

/// Gathers digits, up to eight at a time. Wraps around when there are too many.
#[inline]
fn scan_digits(bytes: &[u8], mut at: usize, mut digits: u64) -> (u64, usize) {
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let (values, others) = digit_values(*eight);
        if others != 0 {
            // How many digits are left is what a processor cannot guess, so there is no branch on it.
            let count = others.trailing_zeros() / 8;
            let value = eight_digits(values.checked_shl(64 - 8 * count).unwrap_or(0));
            let count = count as usize;
            return (digits.wrapping_mul(WHOLE_POWERS_OF_TEN[count]).wrapping_add(value), at + count);
        }
        digits = digits.wrapping_mul(100_000_000).wrapping_add(eight_digits(values));
        at += 8;
    }
    while let Some(digit) = bytes.get(at).and_then(|&byte| digit(byte)) {
        digits = digits.wrapping_mul(10).wrapping_add(digit);
        at += 1;
    }
    (digits, at)
}

#[inline]
fn digit(byte: u8) -> Option<u64> {
    let value = byte.wrapping_sub(b'0');
    (value <= 9).then_some(u64::from(value))
}

/// The values of eight ASCII digits, and the high bit of every byte that is none.
#[inline]
fn digit_values(bytes: [u8; 8]) -> (u64, u64) {
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // A byte is a digit when this leaves 0 to 9; the sum sets the high bit of the others, without a carry between.
    let values = u64::from_le_bytes(bytes) ^ 0x3030_3030_3030_3030;
    (values, (((values & LOW_BITS) + 0x7676_7676_7676_7676) | values) & !LOW_BITS)
}

/// The number that eight digit values make, the first in the lowest byte: pairs, then fours, then all.
#[inline]
fn eight_digits(values: u64) -> u64 {
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff
}

fn scan_exponent(bytes: &[u8], mut at: usize) -> Result<(i64, usize), usize> {
    let negative = bytes.get(at) == Some(&b'-');
    if let Some(b'+' | b'-') = bytes.get(at) {
        at += 1;
    }
    let start = at;
    let mut exponent: i64 = 0;
    while let Some(digit) = bytes.get(at).filter(|byte| byte.is_ascii_digit()) {
        exponent = exponent.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
        at += 1;
    }
    if at == start {
        return Err(at);
    }
    Ok((if negative { -exponent } else { exponent }, at))
}

/// Digits after leading zeros.
fn significant_digits(digits: Option<&[u8]>) -> usize {
    let digits = digits.unwrap_or_default().iter().filter(|&&byte| byte != b'.');
    digits.skip_while(|&&byte| byte == b'0').count()
}

impl<'a> Number<'a> {
    /// All of it.
    fn text(self) -> &'a str {
        self.rest.get(..self.len).unwrap_or_default()
    }

    /// The value rounded to the nearest `f64`; infinite when it is too large.
    #[inline]
    pub(super) fn to_f64(self) -> f64 {
        if self.exact
            && self.digits <= 1 << 53
            && let Some(value) = self.by_power_of_ten()
        {
            return self.sign(value);
        }
        self.text().parse().unwrap_or(f64::NAN)
    }

    /// The value rounded to the nearest `f32`; infinite when it is too large.
    #[inline]
    pub(super) fn to_f32(self) -> f32 {
        /// The bits of an `f64` that an `f32` does not have, and their value half way between two `f32`.
        const LOST_BITS: u64 = (1 << 29) - 1;
        const HALF_WAY: u64 = 1 << 28;
        if self.exact
            && let Some(value) = self.by_power_of_ten()
        {
            // `value` is within two units of the last place. Unless that reaches the middle between two `f32`,
            // rounding it again gives what rounding the text once would.
            let far = (value.to_bits() & LOST_BITS).abs_diff(HALF_WAY) > 4;
            let normal = value >= f64::from(f32::MIN_POSITIVE) && value < f64::from(f32::MAX);
            if value == 0.0 || (far && normal) {
                #[expect(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
                return self.sign(value) as f32;
            }
        }
        self.text().parse().unwrap_or(f32::NAN)
    }

    /// `digits` times its power of ten, without the sign, when the power is one that `f64` holds exactly. Each of the
    /// two steps is off by half a unit of the last place at most.
    #[inline]
    fn by_power_of_ten(self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "callers know what is lost")]
        let digits = self.digits as f64;
        let power = POWERS_OF_TEN.get(usize::try_from(self.power.unsigned_abs()).ok()?)?;
        Some(if self.power < 0 { digits / power } else { digits * power })
    }

    fn sign(self, value: f64) -> f64 {
        if self.negative { -value } else { value }
    }

    /// The value as a whole number, or `None` when it is not one or does not fit. `1.0` and `1e3` are whole.
    #[inline]
    pub(super) fn to_whole(self) -> Option<i128> {
        let magnitude =
            if self.exact && self.power == 0 { u128::from(self.digits) } else { self.slow_whole()? };
        let value = i128::try_from(magnitude).ok()?;
        Some(if self.negative { -value } else { value })
    }

    /// The same for numbers with a fraction, an exponent or very many digits.
    #[cold]
    fn slow_whole(self) -> Option<u128> {
        let mantissa = self.text().split(['e', 'E']).next().unwrap_or_default();
        let digits = mantissa.bytes().filter(u8::is_ascii_digit);
        // Zeros at the end wait until a digit follows them, because they may be cancelled by the power.
        let mut value: u128 = 0;
        let mut zeros: u32 = 0;
        for digit in digits {
            if digit == b'0' {
                zeros = zeros.saturating_add(1);
                continue;
            }
            if value == 0 {
                zeros = 0;
            }
            value = times_ten(value, zeros.saturating_add(1))?.checked_add(u128::from(digit - b'0'))?;
            zeros = 0;
        }
        if value == 0 {
            return Some(0);
        }
        let power = i64::from(zeros).saturating_add(self.power);
        times_ten(value, u32::try_from(power).ok()?)
    }
}

fn times_ten(value: u128, times: u32) -> Option<u128> {
    value.checked_mul(10u128.checked_pow(times)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_number_is_refused() {
        let check =
            |text: &str, expected| assert_eq!(scan(text).map(|number| number.len), expected, "{text}");
        check("", Err(0));
        check("-", Err(1));
        check("01", Err(1));
        check("-01", Err(2));
        check("1.", Err(2));
        check("1.e1", Err(2));
        check("1e", Err(2));
        check("1e+", Err(3));
        check(".5", Err(0));
        check("+1", Err(0));
        check("0", Ok(1));
        check("-0.0e-0]", Ok(7));
        check("10,", Ok(2));
        check("1234567890123,", Ok(13));
    }

    #[test]
    fn whole_numbers_are_exact() {
        let check = |text: &str, expected| assert_eq!(scan(text).unwrap().to_whole(), expected, "{text}");
        check("9007199254740993", Some(9_007_199_254_740_993));
        check("18446744073709551615", Some(i128::from(u64::MAX)));
        check("18446744073709551616", Some(i128::from(u64::MAX) + 1));
        check("-9223372036854775808", Some(i128::from(i64::MIN)));
        check("1.0", Some(1));
        check("1e3", Some(1000));
        check("12.50e1", Some(125));
        check("1000e-3", Some(1));
        check("0.000", Some(0));
        check("0e999999999999999999999", Some(0));
        check("-0", Some(0));
        check("1.5", None);
        check("1e-1", None);
        check("1e999", None);
        check("1e999999999999999999999", None);
        check("1.00000000000000000000000000000000", Some(1));
        check("100000000000000000000000000000000000000000e-40", Some(10));
        check("0.00000000000000000000000000000000000000001e41", Some(1));
    }

    #[test]
    fn floats_at_the_edges() {
        let check = |text: &str| {
            let number = scan(text).unwrap();
            assert_eq!(number.to_f64().to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
            assert_eq!(number.to_f32().to_bits(), text.parse::<f32>().unwrap().to_bits(), "{text}");
        };
        for text in [
            "0",
            "-0",
            "-0.0",
            "1e999",
            "-1e999",
            "1e-999",
            "1e22",
            "1e23",
            "3.4028235e38",
            "3.4028236e38",
            "1.17549435e-38",
            "1.401298464324817e-45",
            "7e-46",
            "5e-324",
            "1.7976931348623157e308",
            "9007199254740993",
            "16777217",
            "16777216.5",
            "16777217.0000001",
            "16777218.999999999999999",
            "0.1",
            "0.30000001192092896",
            "123456789012345678901234567890",
            "1.00000005960464477539062500000000001",
            "1.000000059604644775390625",
            "8.589973e9",
            "0.000000000000000000000000000000000000000000001",
        ] {
            check(text);
        }
    }

    proptest! {
        #[test]
        fn floats_round_as_the_standard_library_does(
            negative: bool, whole in "(0|[1-9][0-9]{0,24})", fraction in "(|\\.[0-9]{1,24})", power in -60i32..60, with_power: bool,
        ) {
            let sign = if negative { "-" } else { "" };
            let power = if with_power { format!("e{power}") } else { String::new() };
            let text = format!("{sign}{whole}{fraction}{power}");
            let number = scan(&text).unwrap();
            prop_assert_eq!(number.text(), &text);
            prop_assert_eq!(number.to_f64().to_bits(), text.parse::<f64>().unwrap().to_bits());
            prop_assert_eq!(number.to_f32().to_bits(), text.parse::<f32>().unwrap().to_bits());
        }

        #[test]
        fn printed_floats_come_back(bits: u64) {
            let wide = f64::from_bits(bits);
            if wide.is_finite() {
                prop_assert_eq!(scan(&format!("{wide:e}")).unwrap().to_f64().to_bits(), bits);
            }
            let narrow = f32::from_bits(u32::try_from(bits >> 32).unwrap());
            if narrow.is_finite() {
                let printed_wide = format!("{}", f64::from(narrow));
                prop_assert_eq!(scan(&printed_wide).unwrap().to_f32().to_bits(), narrow.to_bits());
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[-+0-9.eE]{0,40}") {
            if let Ok(number) = scan(&text) {
                number.to_whole();
                number.to_f32();
                number.to_f64();
            }
        }
    }
}
