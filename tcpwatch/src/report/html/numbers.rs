//! Numbers as people read them.

use std::time::Duration;

use crate::sink::text;
pub(super) use crate::sink::text::{bytes, thousands};

/// `4.9 Mbit/s` of so many bytes in so many seconds.
pub(super) fn bit_rate(bytes: u64, seconds: f64) -> String {
    if seconds > 0.0 {
        text::bit_rate(bytes, seconds)
    } else {
        "\u{2013}".to_owned()
    }
}

/// `1,234`, below a hundred `12.3`.
pub(super) fn rate(value: f64) -> String {
    if !value.is_finite() {
        "\u{2013}".to_owned()
    } else if value >= 99.95 {
        thousands(value.round() as u64)
    } else {
        format!("{value:.1}")
    }
}

/// `250`, `2.5k`, `1M`: what an axis says.
pub(super) fn short(value: u64) -> String {
    // The same as for bytes, without their letter.
    bytes(value).replace(".0 ", " ").replace([' ', 'B'], "")
}

/// `12.3 %`; a part that is there never reads as 0.0 %, one that is not all never as 100.0 %.
pub(super) fn share(part: u64, whole: u64) -> String {
    match text::share(part, whole) {
        share if share.is_empty() => "\u{2013}".to_owned(),
        share if part < whole && share == "100.0 %" => ">99.9 %".to_owned(),
        share => share,
    }
}

/// `1 h 30 min`, `24 h`, `2 d`, `20 s`: its two largest units, days from two of them on.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs_f64().round() as u64;
    let days = if seconds < 2 * 86_400 { 0 } else { seconds / 86_400 };
    let parts = [
        (days, "d"),
        ((seconds - days * 86_400) / 3_600, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let shown: Vec<String> = parts
        .iter()
        .skip_while(|part| part.0 == 0)
        .take(2)
        .filter(|part| part.0 > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    if shown.is_empty() {
        "0 s".to_owned()
    } else {
        shown.join(" ")
    }
}

/// `1 host`, `12 hosts`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_neither_nothing_nor_all() {
        assert_eq!(share(0, 10), "0.0 %");
        assert_eq!(share(1, 1_000_000), "<0.1 %");
        assert_eq!(share(999_999, 1_000_000), ">99.9 %");
        assert_eq!(share(10, 10), "100.0 %");
        assert_eq!(share(0, 0), "\u{2013}");
    }

    #[test]
    fn an_axis_is_short() {
        assert_eq!(short(0), "0");
        assert_eq!(short(250), "250");
        assert_eq!(short(1_000), "1k");
        assert_eq!(short(2_500_000), "2.5M");
    }

    #[test]
    fn a_span_shows_its_two_largest_units() {
        assert_eq!(span(Duration::from_secs(86_400)), "24 h");
        assert_eq!(span(Duration::from_secs(3 * 86_400 + 3_660)), "3 d 1 h");
        assert_eq!(span(Duration::from_millis(19_999)), "20 s");
        assert_eq!(span(Duration::from_secs(5_400)), "1 h 30 min");
        assert_eq!(span(Duration::ZERO), "0 s");
    }

    #[test]
    fn no_time_has_no_rate() {
        assert_eq!(bit_rate(0, 0.0), "\u{2013}");
        assert_eq!(rate(f64::NAN), "\u{2013}");
        assert_eq!(rate(99.96), "100");
    }
}
