//! Numbers as people read them.

use std::time::Duration;

/// `12,345`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `999 B`, `1.2 kB`: decimal units.
pub(super) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, ["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// `4.9 Mbit/s` of so many bytes in so many seconds.
pub(super) fn bit_rate(bytes: u64, seconds: f64) -> String {
    let units = [
        "bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s", "Ebit/s",
    ];
    scaled(bytes as f64 * 8.0 / seconds, units)
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
    let text = scaled(value as f64, ["", "k", "M", "G", "T", "P", "E"]);
    text.replace(".0 ", " ").replace(' ', "")
}

/// One decimal from a thousand on. What rounds up to 1000.0 of a unit is 1.0 of the next.
fn scaled(value: f64, units: [&str; 7]) -> String {
    if !value.is_finite() {
        return "\u{2013}".to_owned();
    }
    if value < 999.5 {
        return format!("{value:.0} {}", units[0]);
    }
    let mut value = value / 1000.0;
    let mut at = 1;
    while value >= 999.95 && at + 1 < units.len() {
        value /= 1000.0;
        at += 1;
    }
    format!("{value:.1} {}", units[at])
}

/// `12.3 %`; a part that is there never reads as 0.0 %, one that is not all never as 100.0 %.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "\u{2013}".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    if part > 0 && percent < 0.05 {
        "<0.1 %".to_owned()
    } else if part < whole && percent >= 99.95 {
        ">99.9 %".to_owned()
    } else {
        format!("{percent:.1} %")
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
