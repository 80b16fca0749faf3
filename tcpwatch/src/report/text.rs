//! The report as text for people: fits a width, and nothing that came from outside can move the cursor.

use jiff::tz::TimeZone;

use crate::report::{Period, Report, Sum};
use crate::sink::text::{accounts, bit_rate, bytes, thousands};

mod answer;
mod grid;
mod words;

use words::{clean, duration, fill, spark, step};
pub(super) use words::{local_time, sentence_share};

/// Below, the largest numbers have no room.
const LEAST_WIDTH: usize = 60;

/// Banned prefixes that are shown.
const TOP_BANNED: usize = 5;

const BOLD: &str = "1";
const GREEN: &str = "32";
const RED: &str = "1;31";

/// How the text looks.
#[derive(Clone, Debug)]
pub struct Look {
    /// Columns; less than 60 is taken as 60.
    pub width: usize,
    /// Whether to use colours.
    pub colour: bool,
    /// The zone of times.
    pub zone: TimeZone,
}

/// The report, whole lines.
pub fn text(report: &Report, look: &Look) -> String {
    let page = Page {
        report,
        look,
        width: look.width.max(LEAST_WIDTH),
    };
    let mut lines = page.head();
    if report.intervals == 0 {
        lines.extend(page.nothing());
    } else {
        lines.push(String::new());
        lines.extend(page.summary());
        lines.extend(page.sections());
        if report.facts.is_some() {
            lines.extend(answer::lines(&page));
        }
        lines.push(String::new());
        lines.extend(page.accounts());
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

struct Page<'a> {
    report: &'a Report,
    look: &'a Look,
    width: usize,
}

impl Page<'_> {
    fn paint(&self, colour: &str, text: &str) -> String {
        if self.look.colour && !text.is_empty() {
            format!("\u{1b}[{colour}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(&self, lines: &[String]) -> Vec<String> {
        lines.iter().map(|line| self.paint(BOLD, line)).collect()
    }

    /// When, where, and how much of the time was recorded.
    fn head(&self) -> Vec<String> {
        let report = self.report;
        let mut pieces = vec![format!("tcpwatch report · {}", self.period(report.period))];
        if !report.hosts.is_empty() {
            let hosts: Vec<String> = report.hosts.iter().map(|host| clean(host)).collect();
            pieces.push(format!("· {}", hosts.join(", ")));
        }
        let mut lines = self.bold(&self.wrap(&pieces));
        if let Some(asked) = report.asked {
            let line = format!(
                "widened from {}: only whole hours or days are kept of its ends",
                self.period(asked)
            );
            lines.extend(fill("", &line, self.width));
        }
        if let Some(filter) = &report.filter {
            lines.extend(fill("for ", &clean(filter), self.width));
        }
        lines
    }

    fn nothing(&self) -> Vec<String> {
        let line = match self.report.extent {
            Some(extent) => format!(
                "nothing was recorded in this period; the history has {}",
                self.period(extent)
            ),
            None => "nothing was recorded in this period; the history is empty".to_owned(),
        };
        fill("", &line, self.width)
    }

    /// What was counted, how fast it went, and when.
    fn summary(&self) -> Vec<String> {
        let report = self.report;
        let Sum {
            packets, bytes: size, ..
        } = report.matched;
        let mut pieces = vec![
            format!("{} packets", thousands(packets)),
            format!("· {}", bytes(size)),
            format!("· {} destinations", thousands(report.destinations)),
        ];
        if let Some(connections) = report.matched.connections() {
            pieces.push(format!("· {} connections", thousands(connections)));
        }
        if report.recorded_seconds > 0.0 {
            pieces.push(format!(
                "· {} packets/s",
                words::rate(packets as f64 / report.recorded_seconds)
            ));
            pieces.push(format!("· {}", bit_rate(size, report.recorded_seconds)));
        }
        let mut lines = self.wrap(&pieces);
        lines.extend(self.recorded());
        let series: Vec<u64> = report.series.iter().map(|sum| sum.packets).collect();
        if series.len() > 1 {
            let most = series.iter().max().copied().unwrap_or(0);
            let caption = format!(
                "  per {}, at most {} packets",
                step(report.bins.step_ms),
                thousands(most)
            );
            let room = self.width.saturating_sub(caption.chars().count());
            if series.len() <= room {
                lines.push(format!("{}{caption}", spark(&series)));
            } else {
                lines.push(spark(&series));
                lines.push(caption);
            }
        }
        lines
    }

    fn recorded(&self) -> Vec<String> {
        let report = self.report;
        let length = report.period.seconds();
        let missing = (length - report.recorded_seconds).max(0.0);
        let mut pieces = vec![format!(
            "{} recorded in {} intervals",
            duration(report.recorded_seconds),
            thousands(report.intervals)
        )];
        if missing >= 1.0 && missing >= length / 2000.0 {
            pieces.push(format!(
                "· {} of {} missing ({})",
                duration(missing),
                duration(length),
                sentence_share(missing / length)
            ));
        }
        self.wrap(&pieces)
    }

    fn sections(&self) -> Vec<String> {
        let mut grids: Vec<grid::Grid> = self
            .report
            .sections
            .iter()
            .map(|section| grid::of(self.report, section))
            .collect();
        grids.extend(grid::banned(self.report, TOP_BANNED));
        let mut lines = Vec::new();
        for drawn in grid::draw(&grids, self.width, self.report.bins.step_ms) {
            let mut drawn = drawn.into_iter();
            lines.push(String::new());
            lines.extend(drawn.next().map(|heading| self.paint(BOLD, &heading)));
            lines.extend(drawn);
        }
        lines
    }

    /// Every outcome that has packets, and whether it all adds up.
    fn accounts(&self) -> Vec<String> {
        let proof = &self.report.proof;
        let mut lines = self.wrap(&accounts(&self.report.totals));
        let sign = |equal: bool| if equal { "=" } else { "≠" };
        let rows = proof.rows == proof.counted;
        let outcomes = proof.outcomes == proof.seen;
        let pieces = [
            format!(
                "sum of rows {} {} counted {}",
                thousands(proof.rows.packets),
                sign(rows),
                thousands(proof.counted.packets)
            ),
            format!(
                "· outcomes {} {} seen",
                thousands(proof.outcomes.packets),
                sign(outcomes)
            ),
            format!(
                "· {} of {} intervals balanced",
                thousands(proof.balanced),
                thousands(self.report.intervals)
            ),
            format!(
                "· {}",
                if proof.holds {
                    "balanced ✓"
                } else {
                    "NOT BALANCED"
                }
            ),
        ];
        let colour = if proof.holds { GREEN } else { RED };
        let proven = self.wrap(&pieces);
        lines.extend(proven.iter().map(|line| self.paint(colour, line)));
        lines
    }

    /// `2026-01-02 00:00 – 03:04 CET`.
    fn period(&self, period: Period) -> String {
        let zone = &self.look.zone;
        let (from, to) = (
            period.from.to_zoned_datetime(zone.clone()),
            period.to.to_zoned_datetime(zone.clone()),
        );
        let zones = (from.strftime("%Z").to_string(), to.strftime("%Z").to_string());
        let seconds = from.second() != 0 || to.second() != 0;
        let time = if seconds { "%H:%M:%S" } else { "%H:%M" };
        let zone_of_from = if zones.0 == zones.1 { "" } else { " %Z" };
        let first = from
            .strftime(&format!("%Y-%m-%d {time}{zone_of_from}"))
            .to_string();
        let last = if from.date() == to.date() {
            to.strftime(&format!("{time} %Z")).to_string()
        } else {
            to.strftime(&format!("%Y-%m-%d {time} %Z")).to_string()
        };
        format!("{first} – {last}")
    }

    fn wrap(&self, pieces: &[String]) -> Vec<String> {
        crate::sink::text::wrap(pieces.iter().map(String::as_str), self.width)
    }
}
