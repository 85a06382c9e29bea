//! Numbers as people read them. Integers in, so that the same figure is the same text everywhere.

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `count` and a noun, with an `s` unless there is exactly one.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Three significant digits and a unit: `512 ns`, `1.20 ms`, `41.3 s`; beyond two minutes `12 min 5 s`.
pub(crate) fn duration(nanos: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    if nanos == 0 {
        return "0 s".to_owned();
    }
    if nanos >= 7_200 * SECOND {
        return format!("{} h {} min", nanos / (3_600 * SECOND), nanos / (60 * SECOND) % 60);
    }
    if nanos >= 120 * SECOND {
        return format!("{} min {} s", nanos / (60 * SECOND), nanos / SECOND % 60);
    }
    if nanos < 1_000 {
        return format!("{nanos} ns");
    }
    // The first unit and number of decimals whose rounded value still has three digits; so 999.6 µs is 1.00 ms.
    for (unit, name) in [(1_000, "µs"), (1_000_000, "ms")] {
        for decimals in [2_usize, 1, 0] {
            let scaled = scale(nanos, unit, decimals);
            if scaled < 1_000 {
                return format!("{} {name}", fixed(scaled, decimals));
            }
        }
    }
    let decimals =
        [2_usize, 1].into_iter().find(|&decimals| scale(nanos, SECOND, decimals) < 1_000).unwrap_or(0);
    format!("{} s", fixed(scale(nanos, SECOND, decimals), decimals))
}

/// Seconds with milliseconds: `3.012 s`.
pub(crate) fn seconds(nanos: u64) -> String {
    let millis = nanos / 1_000_000 + u64::from(nanos % 1_000_000 >= 500_000);
    format!("{}.{:03} s", count(millis / 1_000), millis % 1_000)
}

/// Signed seconds with milliseconds: `+0.021 s`.
pub(crate) fn offset(nanos: i64) -> String {
    format!("{}{}", if nanos < 0 { '-' } else { '+' }, seconds(nanos.unsigned_abs()))
}

/// A rate as per cent. What is below one never reads as 100 %, what is above zero never as 0 %.
pub(crate) fn percent(rate: f64) -> String {
    let text = format!("{:.1}", rate * 100.0);
    match text.as_str() {
        "100.0" if rate < 1.0 => "> 99.9 %".to_owned(),
        "0.0" if rate > 0.0 => "< 0.1 %".to_owned(),
        text => format!("{} %", text.strip_suffix(".0").unwrap_or(text)),
    }
}

/// The same of a bound, which must not look tighter than it is.
pub(crate) fn percent_at_most(rate: f64) -> String {
    let up = (rate * 1000.0 - 1e-9).ceil() / 1000.0;
    // What is below one does not become one.
    percent(if up < 1.0 { up } else { rate })
}

/// `1st`, `2nd`, `13th`.
pub(crate) fn ordinal(number: u32) -> String {
    let suffix = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{}{suffix}", count(u64::from(number)))
}

/// `nanos / unit` in units of 10^-decimals, rounded half up.
fn scale(nanos: u64, unit: u64, decimals: usize) -> u128 {
    let factor = [1_u128, 10, 100][decimals];
    (u128::from(nanos) * factor * 2 + u128::from(unit)) / (u128::from(unit) * 2)
}

fn fixed(scaled: u128, decimals: usize) -> String {
    match decimals {
        0 => scaled.to_string(),
        1 => format!("{}.{}", scaled / 10, scaled % 10),
        _ => format!("{}.{:02}", scaled / 100, scaled % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_digits_across_units() {
        let cases = [
            (0, "0 s"),
            (512, "512 ns"),
            (1_500, "1.50 µs"),
            (999_600, "1.00 ms"),
            (12_340_000, "12.3 ms"),
            (999_499_999, "999 ms"),
            (9_999_000_000, "10.0 s"),
            (41_250_000_000, "41.3 s"),
            (119_900_000_000, "120 s"),
            (725_000_000_000, "12 min 5 s"),
            (7_260_000_000_000, "2 h 1 min"),
        ];
        for (nanos, text) in cases {
            assert_eq!(duration(nanos), text, "{nanos}");
        }
        assert!(!duration(u64::MAX).is_empty());
    }

    #[test]
    fn nothing_that_is_not_whole_reads_as_whole() {
        assert_eq!(percent(0.99996), "> 99.9 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.0001), "< 0.1 %");
        assert_eq!(percent_at_most(0.776_39), "77.7 %");
        assert_eq!(percent_at_most(0.95), "95 %");
        assert_eq!(percent_at_most(0.999_96), "> 99.9 %");
        assert_eq!(percent(0.631_596_85), "63.2 %");
    }

    #[test]
    fn counts_offsets_and_ordinals_read_as_people_write_them() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([offset(21_400_000), offset(-1_500_000)], ["+0.021 s", "-0.002 s"]);
        assert_eq!([ordinal(1), ordinal(12), ordinal(22), ordinal(103)], ["1st", "12th", "22nd", "103rd"]);
    }
}
