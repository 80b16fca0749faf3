//! The answer to `--for`, in words.

use crate::report::text::Page;
use crate::report::text::words::{clean, fill, local_time, rate, sentence_share, spark};
use crate::report::{Facts, Part, Previous, Rate};
use crate::sink::text::{bytes, share, thousands};

/// Columns of what stands before a fact.
const HEAD: usize = 20;

/// Parts that are listed in a line.
const TOP: usize = 8;

pub(super) fn lines(page: &Page<'_>) -> Vec<String> {
    let Some(facts) = &page.report.facts else {
        return Vec::new();
    };
    let mut lines = page.bold(&[String::new(), "WHAT THE NUMBERS SAY".to_owned()]);
    for (head, text) in sayings(page, facts) {
        lines.extend(fill(&format!("{head:HEAD$}"), &text, page.width));
    }
    let list = |title: &str, texts: Vec<String>| {
        let mut lines = page.bold(&[String::new(), title.to_owned()]);
        for text in texts {
            lines.extend(fill("- ", &text, page.width));
        }
        lines
    };
    if !facts.findings.is_empty() {
        let texts = facts
            .findings
            .iter()
            .map(|finding| clean(&finding.text))
            .collect();
        lines.extend(list("PATTERNS IN IT", texts));
    }
    if !facts.snippets.is_empty() {
        lines.extend(page.bold(&[
            String::new(),
            "CONFIGURATION TO COPY (nothing of it is applied)".to_owned(),
        ]));
        for snippet in &facts.snippets {
            let text = format!(
                "{}; would have moved {} packets, {} of the target's",
                snippet.purpose,
                thousands(snippet.packets),
                sentence_share(snippet.share)
            );
            lines.extend(fill(&format!("{}: ", snippet.title), &text, page.width));
            // As it is, so that it can be copied: a line may be longer than the terminal is wide.
            lines.extend(snippet.text.lines().map(|line| format!("    {}", clean(line))));
        }
    }
    lines.extend(list(
        "WHAT CANNOT BE KNOWN FROM HERE",
        facts.unknown.iter().map(|text| clean(text)).collect(),
    ));
    lines
}

fn sayings(page: &Page<'_>, facts: &Facts) -> Vec<(&'static str, String)> {
    let report = page.report;
    let mut said = vec![("packets a minute", per_minute(page, &facts.packets))];
    for (head, rate) in [
        ("TCP a minute", &facts.tcp_connections),
        ("QUIC a minute", &facts.quic_connections),
    ] {
        said.extend(rate.as_ref().map(|rate| (head, per_minute(page, rate))));
    }
    if report.all.packets > 0 {
        said.push((
            "share of all",
            format!(
                "{} of packets, {} of bytes",
                share(report.matched.packets, report.all.packets),
                share(report.matched.bytes, report.all.bytes)
            ),
        ));
    }
    for (head, parts) in [
        ("from", &facts.sources),
        ("families", &facts.families),
        ("countries", &facts.countries),
        ("anycast", &facts.anycast),
        ("names", &facts.domains),
    ] {
        if !parts.is_empty() {
            said.push((head, listed(parts)));
        }
    }
    if facts.hours.iter().any(|packets| *packets > 0) {
        let blocks = spark(&facts.hours).replace(' ', "·");
        let busiest = facts
            .hours
            .iter()
            .enumerate()
            .max_by_key(|(hour, packets)| (**packets, 24 - hour));
        let busiest = busiest.map_or(0, |(hour, _)| hour);
        let note = if report.heat_unplaced > 0 {
            "; of a part only the day is kept"
        } else {
            ""
        };
        said.push((
            "hours of the day",
            format!(
                "{blocks} from 00 to 23 h {}, most at {busiest:02} h{note}",
                report.zone
            ),
        ));
    }
    said.push(("period before", before(page, facts.previous.as_ref())));
    said
}

fn per_minute(page: &Page<'_>, of: &Rate) -> String {
    if of.peak == 0.0 {
        return "none in all that was recorded".to_owned();
    }
    let bucket = match of.peak_seconds {
        60.0 => "minute".to_owned(),
        ..3000.0 => format!("interval of {:.0} s", of.peak_seconds),
        ..=3600.0 => "hour (no shorter time was looked at)".to_owned(),
        _ => "day (no shorter time is kept)".to_owned(),
    };
    format!(
        "mean {}, peak {} in the {bucket} that ended {}",
        rate(of.mean),
        rate(of.peak),
        local_time(of.peak_end, &page.look.zone)
    )
}

fn listed(parts: &[Part]) -> String {
    let mut texts: Vec<String> = parts
        .iter()
        .take(TOP)
        .map(|part| format!("{} {}", clean(&part.label), sentence_share(part.share)))
        .collect();
    if let Some(left) = parts.len().checked_sub(TOP).filter(|left| *left > 0) {
        let share: f64 = parts.iter().skip(TOP).map(|part| part.share).sum();
        texts.push(format!("{left} more {}", sentence_share(share)));
    }
    texts.join(", ")
}

fn before(page: &Page<'_>, previous: Option<&Previous>) -> String {
    let Some(previous) = previous else {
        return "nothing was recorded then".to_owned();
    };
    let report = page.report;
    let minutes = |seconds: f64| (seconds / 60.0).max(1.0 / 60.0);
    let (then, now) = (
        previous.matched.packets as f64 / minutes(previous.recorded_seconds),
        report.matched.packets as f64 / minutes(report.recorded_seconds),
    );
    let change = if then > 0.0 {
        format!("{:+.1} %", (now / then - 1.0) * 100.0)
    } else if now > 0.0 {
        "new".to_owned()
    } else {
        "none then, none now".to_owned()
    };
    format!(
        "{change}: {} packets a minute in {} ({} packets, {})",
        rate(then),
        page.period(previous.period),
        thousands(previous.matched.packets),
        bytes(previous.matched.bytes)
    )
}
