//! Numbers as people write them on a command line and read them in a table.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Reads a count: digits, `_` between them, and one of `k`, `m`, `g` (thousands) or `ki`, `mi`, `gi` (1,024s).
///
/// # Errors
/// Says what is wrong with `text`.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase().replace('_', "");
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match lower.get(digits.len()..) {
        Some("") => 1,
        Some("k") => 1_000,
        Some("m") => 1_000_000,
        Some("g") => 1_000_000_000,
        Some("ki" | "kib") => 1 << 10,
        Some("mi" | "mib") => 1 << 20,
        Some("gi" | "gib") => 1 << 30,
        _ => {
            return Err("expected a number, with k, m, g, ki, mi or gi behind it if need be".into());
        }
    };
    let number: u64 = digits.parse().map_err(|error| format!("{error}"))?;
    number.checked_mul(factor).ok_or_else(|| "number too large".into())
}

/// Reads one count, or two with `-` between them.
///
/// # Errors
/// Says what is wrong with `text`.
pub(crate) fn range(text: &str) -> Result<RangeInclusive<usize>, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let size =
        |text| count(text).and_then(|n| usize::try_from(n).map_err(|error| format!("{error}")));
    let (from, to) = (size(from)?, size(to)?);
    if from > to {
        return Err(format!("the first of {from}-{to} is the larger"));
    }
    Ok(from..=to)
}

/// Reads a duration: seconds, or a number with `ms`, `s` or `m` behind it.
///
/// # Errors
/// Says what is wrong with `text`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds: f64 = digits.parse().ok().ok_or("expected seconds, as in 5, 0.5, 500ms or 2m")?;
    let factor = match text.get(digits.len()..) {
        Some("" | "s") => 1.0,
        Some("ms") => 0.001,
        Some("m") => 60.0,
        _ => return Err("expected seconds, as in 5, 0.5, 500ms or 2m".into()),
    };
    Duration::try_from_secs_f64(seconds * factor).map_err(|error| error.to_string())
}

/// Returns `n` with commas between thousands.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in (0..digits.len()).rev().zip(digits.chars()) {
        out.push(digit);
        if place > 0 && place % 3 == 0 {
            out.push(',');
        }
    }
    out
}

/// Returns a rate, without its fraction and with commas.
pub(crate) fn rate(per_second: f64) -> String {
    grouped(format!("{per_second:.0}").parse().unwrap_or(0))
}

/// Returns a length as people write it: `100 B`, `100 KiB`, `1.5 MiB`.
pub(crate) fn size(len: usize) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|&(unit, _)| len >= unit) {
        Some((unit, name)) if len.is_multiple_of(unit) => format!("{} {name}", len / unit),
        Some((unit, name)) => format!("{:.1} {name}", len as f64 / unit as f64),
        None => format!("{len} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_take_units_and_underscores() {
        for (text, expected) in [
            ("0", 0),
            ("17", 17),
            ("1_000", 1000),
            ("3k", 3000),
            ("2M", 2_000_000),
            ("100ki", 102_400),
        ] {
            assert_eq!(count(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_count_is_refused() {
        for text in ["", "k", "-1", "1.5", "3x", "99999999999999999999", "99999999999g", "1 000"] {
            assert!(count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_one_count_or_two_in_order() {
        assert_eq!(range("100"), Ok(100..=100));
        assert_eq!(range("64-1ki"), Ok(64..=1024));
        for text in ["", "-", "5-", "-5", "9-8", "1-2-3"] {
            assert!(range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_seconds_unless_said_otherwise() {
        for (text, millis) in
            [("5", 5000), ("0.5", 500), ("500ms", 500), ("2s", 2000), ("2m", 120_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1", "5h", "nan", "1e30"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_shown_with_commas_and_units() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(rate(136_123.7), "136,124");
        assert_eq!([100, 1024, 102_400, 1536].map(size), ["100 B", "1 KiB", "100 KiB", "1.5 KiB"]);
    }
}
