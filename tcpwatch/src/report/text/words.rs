//! Numbers, times and texts in the columns that they have.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::report::Dimension;
use crate::sink::text::thousands;

/// `2026-01-02 03:04`.
pub(in crate::report) fn local_time(time: Timestamp, zone: &TimeZone) -> String {
    let local = time.to_zoned_datetime(zone.clone());
    let form = if local.second() == 0 {
        "%Y-%m-%d %H:%M"
    } else {
        "%Y-%m-%d %H:%M:%S"
    };
    local.strftime(form).to_string()
}

/// `12.3 %` of a share from 0 to 1.
pub(in crate::report) fn sentence_share(part: f64) -> String {
    let percent = part * 100.0;
    if percent > 0.0 && percent < 0.05 {
        "<0.1 %".to_owned()
    } else {
        format!("{percent:.1} %")
    }
}

/// `12,345`, `12.3`, `0.05`: as many digits as say something.
pub(super) fn rate(per: f64) -> String {
    if per >= 99.95 {
        thousands(per.round() as u64)
    } else if per >= 0.95 || per == 0.0 {
        format!("{per:.1}")
    } else {
        format!("{per:.2}")
    }
}

/// `20 s`, `5 min`, `2 h`, `1 d`: how long a step is.
pub(super) fn step(milliseconds: i64) -> String {
    let seconds = milliseconds as f64 / 1000.0;
    for (length, unit) in [(86400.0, "d"), (3600.0, "h"), (60.0, "min")] {
        let count = seconds / length;
        if count >= 1.0 && count.fract() == 0.0 {
            return format!("{count:.0} {unit}");
        }
    }
    format!("{seconds} s")
}

/// `3 d 4 h`, `23 h 58 min`, `59 s`: the two largest units.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let seconds = seconds.round() as u64;
    let units = [
        (seconds / 86400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let from = units.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown: Vec<String> = units
        .iter()
        .skip(from)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    shown.join(" ")
}

/// One block for each number, as high as it is of the largest one; a number that is not 0 shows.
pub(super) fn spark(series: &[u64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = series.iter().max().copied().unwrap_or(0);
    series
        .iter()
        .map(|number| {
            if *number == 0 {
                return ' ';
            }
            let height = (*number as f64 / most as f64 * 8.0).ceil() as usize;
            BLOCKS.get(height.clamp(1, 8) - 1).copied().unwrap_or(' ')
        })
        .collect()
}

/// What a dimension's rows are called.
pub(super) fn plural(by: Dimension) -> &'static str {
    match by {
        Dimension::Country => "countries",
        Dimension::Network => "networks",
        Dimension::City => "cities",
        Dimension::Scope => "scopes",
        Dimension::Destination => "destinations",
        Dimension::Prefix => "prefixes",
        Dimension::Source => "own sources",
        Dimension::Interface => "interfaces",
        Dimension::Name => "names",
        Dimension::Hour => "hours",
        Dimension::Day => "days",
    }
}

pub(super) fn title(by: Dimension) -> &'static str {
    match by {
        Dimension::Country => "COUNTRY",
        Dimension::Network => "NETWORK",
        Dimension::City => "CITY",
        Dimension::Scope => "SCOPE",
        Dimension::Destination => "DESTINATION",
        Dimension::Prefix => "PREFIX",
        Dimension::Source => "OWN SOURCE",
        Dimension::Interface => "INTERFACE",
        Dimension::Name => "NAME",
        Dimension::Hour => "HOUR",
        Dimension::Day => "DAY",
    }
}

/// A text from outside with everything replaced that is not one visible column or more: controls, marks that join others, and those
/// that change the direction of writing.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() || c.width().unwrap_or(0) == 0 {
                '?'
            } else {
                c
            }
        })
        .collect()
}

/// The beginning of a text that fits, with an ellipsis where something was cut; filled up with blanks.
pub(super) fn cell(text: &str, width: usize) -> String {
    let natural = text.width();
    if natural <= width {
        return format!("{text}{:1$}", "", width - natural);
    }
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        let columns = c.width().unwrap_or(0);
        if used + columns + 1 > width {
            break;
        }
        cut.push(c);
        used += columns;
    }
    if width > 0 {
        cut.push('…');
        used += 1;
    }
    format!("{cut}{:1$}", "", width.saturating_sub(used))
}

/// Words in lines of at most `width` columns behind `head`; further lines are indented by as much.
pub(super) fn fill(head: &str, text: &str, width: usize) -> Vec<String> {
    let indent = head.width();
    let mut lines = vec![head.to_owned()];
    let mut used = indent;
    let mut is_first = true;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let columns = word.width();
        // A number stays with its per cent.
        let glued = word.starts_with('%');
        if !is_first && !glued && used + 1 + columns > width {
            lines.push(" ".repeat(indent));
            used = indent;
            is_first = true;
        }
        if let Some(line) = lines.last_mut() {
            if !is_first {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
        }
        used += columns;
        is_first = false;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_there_shows() {
        assert_eq!(spark(&[0, 1, 4, 8, 1_000_000]), " ▁▁▁█");
        assert_eq!(spark(&[1, 2, 3, 4, 5, 6, 7, 8]), "▁▂▃▄▅▆▇█");
        assert_eq!(spark(&[0, 0]), "  ");
        assert_eq!(spark(&[u64::MAX, 1]), "█▁");
    }

    #[test]
    fn times_are_said_in_few_words() {
        for (seconds, said) in [
            (0.0, "0.0 s"),
            (59.6, "1 min"),
            (86400.0, "1 d"),
            (86_280.0, "23 h 58 min"),
            (273_600.0, "3 d 4 h"),
            (3601.0, "1 h"),
        ] {
            assert_eq!(duration(seconds), said);
        }
        for (ms, said) in [
            (20_000, "20 s"),
            (300_000, "5 min"),
            (7_200_000, "2 h"),
            (86_400_000, "1 d"),
            (500, "0.5 s"),
        ] {
            assert_eq!(step(ms), said);
        }
        for (per, said) in [
            (0.0, "0.0"),
            (0.049, "0.05"),
            (12.34, "12.3"),
            (99.97, "100"),
            (12345.6, "12,346"),
        ] {
            assert_eq!(rate(per), said);
        }
        assert_eq!(sentence_share(0.0001), "<0.1 %");
        assert_eq!(sentence_share(1.0), "100.0 %");
    }

    #[test]
    fn what_comes_from_outside_cannot_move_the_cursor() {
        assert_eq!(clean("a\u{1b}[2J\u{202e}b\u{200b}c\u{301}\n"), "a?[2J?b?c??");
        assert_eq!(clean("Telefónica 日本"), "Telefónica 日本");
    }

    #[test]
    fn a_cell_is_as_wide_as_its_column() {
        assert_eq!(cell("abc", 5), "abc  ");
        assert_eq!(cell("abcdef", 5), "abcd…");
        assert_eq!(cell("日本語", 5), "日本…");
        assert_eq!(cell("日本語", 4), "日… ");
        assert_eq!(cell("abc", 0), "");
    }

    #[test]
    fn words_are_filled_into_lines() {
        assert_eq!(
            fill("- ", "one two three four", 10),
            ["- one two", "  three", "  four"]
        );
        assert_eq!(fill("", "unbreakable-word", 5), ["unbreakable-word"]);
        assert_eq!(fill("x ", "", 5), ["x "]);
    }
}
