//! The options of the history, which several commands have.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use jiff::{Span, SpanRelativeTo};

use crate::history::{Bounds, Detail, usual_path};

/// Stands for no history.
const NONE: &str = "none";

/// The smallest history: less holds not even an hour of a busy host.
const SMALLEST: u64 = 1_000_000;

/// The longest time that something is kept: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The most destinations of an interval that are kept one by one.
const MOST: u64 = 1_000_000;

/// Which history, and what is kept in it.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// Keep a history in this file, or none. Default: /var/lib/tcpwatch/history.db, or ~/.local/state/tcpwatch/history.db
    #[arg(long, value_name = "FILE|none", env = "TCPWATCH_HISTORY")]
    pub history: Option<PathBuf>,

    /// What the history keeps of a destination
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub history_detail: Detail,

    /// How long the history keeps intervals, hours and days
    #[arg(
        long = "history-keep",
        value_name = "INTERVALS/HOURS/DAYS",
        default_value = "48h/30d/730d"
    )]
    pub history_keep: Keep,

    /// Size of the history from which on the oldest intervals go before their time
    #[arg(long, value_name = "SIZE", default_value = "2GB")]
    pub history_size: Size,

    /// Destinations of an interval, an hour or a day that the history keeps one by one; the others are summed up by country and network
    #[arg(long, value_name = "N", default_value_t = 5000)]
    pub history_top: u64,
}

/// A history as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The file.
    pub path: PathBuf,
    /// It was asked for: that it cannot be opened is an error.
    pub named: bool,
    /// What is kept.
    pub bounds: Bounds,
}

/// What is wrong with an option.
#[derive(Debug, thiserror::Error)]
pub enum HistoryConfigError {
    /// Too many, or none.
    #[error("--history-top {0}: must be between 1 and {MOST}")]
    Top(u64),
}

impl HistoryArgs {
    /// The history; none: there is to be none.
    ///
    /// # Errors
    /// The first value that is wrong.
    pub fn history(&self) -> Result<Option<History>, HistoryConfigError> {
        if self.history_top == 0 || self.history_top > MOST {
            return Err(HistoryConfigError::Top(self.history_top));
        }
        let named = self.history.is_some();
        let path = match &self.history {
            Some(path) if path.as_os_str() == NONE || path.as_os_str().is_empty() => None,
            Some(path) => Some(path.clone()),
            None => usual_path(),
        };
        let [intervals, hours, days] = self.history_keep.0;
        let bounds = Bounds {
            top: usize::try_from(self.history_top).unwrap_or(usize::MAX),
            intervals,
            hours,
            days,
            bytes: self.history_size.0,
            detail: self.history_detail,
        };
        Ok(path.map(|path| History { path, named, bounds }))
    }
}

/// How long intervals, hours and days are kept; none longer than the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep([Duration; 3]);

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let times: Vec<Duration> = text.split('/').map(time).collect::<Result<_, _>>()?;
        let [intervals, hours, days] = times[..] else {
            return Err("give three times: for intervals, hours and days, like 48h/30d/730d".to_owned());
        };
        if intervals > hours || hours > days {
            return Err("intervals cannot be kept longer than hours, nor hours longer than days".to_owned());
        }
        Ok(Self([intervals, hours, days]))
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write it like 48h, 30d or 2y");
    let span: Span = text.trim().parse().map_err(|_no_time: jiff::Error| wrong())?;
    // Years and months have no length of their own; a year is 365 days.
    let days =
        i64::from(span.get_years()) * 365 + i64::from(span.get_months()) * 30 + i64::from(span.get_days());
    let rest = span
        .years(0)
        .months(0)
        .days(0)
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_no_time: jiff::Error| wrong())?;
    let all = rest
        .as_secs()
        .checked_add(days.saturating_mul(86_400))
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map(Duration::from_secs);
    all.filter(|time| *time <= LONGEST).ok_or_else(wrong)
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size: write it like 500MB, 2GB or 1GiB");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
        let unit = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1e3,
            "m" | "mb" => 1e6,
            "g" | "gb" => 1e9,
            "t" | "tb" => 1e12,
            "kib" => 1024.0,
            "mib" => 1_048_576.0,
            "gib" => 1_073_741_824.0,
            "tib" => 1_099_511_627_776.0,
            _ => return Err(wrong()),
        };
        let bytes = digits.parse::<f64>().map_err(|_no_number| wrong())? * unit;
        if !bytes.is_finite() || bytes > 1e15 {
            return Err(wrong());
        }
        if bytes < SMALLEST as f64 {
            return Err("a history has at least 1MB".to_owned());
        }
        Ok(Self(bytes as u64))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        history: HistoryArgs,
    }

    fn history(line: &str) -> Result<Option<History>, String> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.history.history().map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_as_it_is_documented() {
        let found = history("--history /x.db").unwrap().unwrap();
        assert_eq!(found.bounds, Bounds::default());
        assert!(found.named && found.path.to_str() == Some("/x.db"));
        assert_eq!(history("--history none").unwrap(), None);
    }

    #[test]
    fn times_are_of_three_kinds_in_order() {
        let of = |text: &str| text.parse::<Keep>();
        assert_eq!(of("48h/30d/730d"), Ok(Keep([2 * DAY, 30 * DAY, 730 * DAY])));
        assert_eq!(of("0s/1w/2y"), Ok(Keep([Duration::ZERO, 7 * DAY, 730 * DAY])));
        for text in [
            "",
            "48h",
            "48h/30d",
            "48h/30d/x",
            "31d/30d/40d",
            "1d/3d/2d",
            "-1h/1d/1d",
            "1h/1d/101y",
            "1h/1d/1d/1d",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        let of = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(of("2GB"), Ok(2_000_000_000));
        assert_eq!(of("1.5 gib"), Ok(1_610_612_736));
        assert_eq!(of("1000000"), Ok(1_000_000));
        for text in [
            "",
            "GB",
            "2 furlongs",
            "10kB",
            "-1GB",
            "1e400GB",
            "NaN",
            "inf",
            "2é",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_are_bounded() {
        for line in [
            "--history-top 0",
            "--history-top 1000001",
            "--history-detail street",
        ] {
            assert!(history(line).is_err(), "{line}");
        }
    }
}
