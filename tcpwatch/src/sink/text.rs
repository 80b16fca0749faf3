//! Numbers and texts as people read them.

use std::borrow::Cow;
use std::time::Duration;

use tcpwatch_common::Counts;

use crate::record::RecordTotals;

/// `12,345`.
pub(crate) fn thousands(number: u64) -> String {
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

/// `999 B`, `1.2 kB`: decimal units, at most eight columns.
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, ["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// `4.9 Mbit/s` of so many bytes in so many seconds.
pub(crate) fn bit_rate(bytes: u64, seconds: f64) -> String {
    let units = [
        "bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s", "Ebit/s",
    ];
    scaled(bytes as f64 * 8.0 / seconds, units)
}

/// One decimal from a thousand on. What rounds up to 1000.0 of a unit is 1.0 of the next.
fn scaled(value: f64, units: [&str; 7]) -> String {
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

/// `12.3 %`; a part that is there never reads as 0.0 %. At most seven columns.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    if part > 0 && percent < 0.05 {
        "<0.1 %".to_owned()
    } else {
        format!("{percent:.1} %")
    }
}

/// A bar as long as `part` is of `whole`, in eighths of a column; a part that is there shows at least one eighth.
pub(crate) fn bar(part: u64, whole: u64, width: usize) -> String {
    const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    if part == 0 || whole == 0 {
        return String::new();
    }
    let whole_bar = (width * 8) as f64;
    let eighths = ((part as f64 / whole as f64 * whole_bar).round() as usize).clamp(1, width * 8);
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((eighths % 8).checked_sub(1).map(|at| EIGHTHS[at]));
    bar
}

/// Everything seen, and every outcome that has packets, as a sum in pieces: `seen 12`, `= counted 3`, `+ banned 9`.
pub(crate) fn accounts(totals: &RecordTotals) -> Vec<String> {
    let mut pieces = vec![
        format!("seen {}", thousands(totals.seen.packets)),
        format!("= counted {}", thousands(totals.counted.packets)),
    ];
    for (name, counts) in [
        ("no room", totals.overflow),
        ("banned", totals.banned),
        ("served", totals.served),
        ("other source", totals.other_source),
        ("malformed", totals.malformed),
        ("not IP", totals.not_ip),
    ] {
        if counts != Counts::default() {
            pieces.push(format!("+ {name} {}", thousands(counts.packets)));
        }
    }
    pieces
}

/// `20s`, `0.1s`.
pub(crate) fn interval(interval: Duration) -> String {
    let milliseconds = interval.subsec_millis();
    if milliseconds == 0 {
        return format!("{}s", interval.as_secs());
    }
    let decimals = format!("{milliseconds:03}");
    format!("{}.{}s", interval.as_secs(), decimals.trim_end_matches('0'))
}

/// A name that the kernel lets anyone choose, with everything that is not plain ASCII replaced.
pub(crate) fn plain(name: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_graphic();
    if name.chars().all(is_plain) {
        return Cow::Borrowed(name);
    }
    name.chars().map(|c| if is_plain(c) { c } else { '?' }).collect()
}

/// `pieces` with a blank between them, broken before a piece that would pass `width`; lines after the first are
/// indented. A piece is one column per character.
pub(crate) fn wrap<'a>(pieces: impl IntoIterator<Item = &'a str>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut used = 0;
    for piece in pieces {
        let columns = piece.chars().count();
        match lines.last_mut() {
            Some(line) if used + 1 + columns <= width => {
                line.push(' ');
                line.push_str(piece);
                used += 1 + columns;
            }
            Some(_) => {
                lines.push(format!("  {piece}"));
                used = 2 + columns;
            }
            None => {
                lines.push(piece.to_owned());
                used = columns;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(thousands(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn bytes_take_the_unit_that_keeps_them_short() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (4_242_000_000, "4.2 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(bit_rate(1_250_000, 10.0), "1.0 Mbit/s");
        assert_eq!(bit_rate(0, 10.0), "0 bit/s");
    }

    #[test]
    fn a_share_that_is_there_is_never_nothing() {
        assert_eq!(share(0, 10), "0.0 %");
        assert_eq!(share(1, 1_000_000), "<0.1 %");
        assert_eq!(share(1, 3), "33.3 %");
        assert_eq!(share(3, 3), "100.0 %");
        assert_eq!(share(0, 0), "");
        assert_eq!(bar(0, 8, 10), "");
        assert_eq!(bar(1, 1_000_000, 10), "▏");
        assert_eq!(bar(1, 2, 5), "██▌");
        assert_eq!(bar(7, 8, 1), "▉");
        assert_eq!(bar(8, 8, 3), "███");
    }

    #[test]
    fn an_interval_reads_as_it_was_given() {
        for (milliseconds, text) in [
            (20_000, "20s"),
            (100, "0.1s"),
            (2500, "2.5s"),
            (300_000, "300s"),
            (1_001, "1.001s"),
        ] {
            assert_eq!(interval(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(plain("eth0.100@x"), "eth0.100@x");
        assert_eq!(plain("e\u{1b}[2J\u{202e}é"), "e?[2J??");
    }

    #[test]
    fn a_line_breaks_between_pieces_only() {
        assert_eq!(
            wrap(["one", "two", "three", "four"], 9),
            ["one two", "  three", "  four"]
        );
        assert_eq!(wrap(["longer than that"], 9), ["longer than that"]);
        assert_eq!(wrap([], 9), Vec::<String>::new());
    }
}
