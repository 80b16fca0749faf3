//! What the page begins with: of which hosts and which time it tells, and how much there was.

use std::time::Duration;

use crate::report::html::markup::{Markup, put};
use crate::report::html::{Page, numbers};
use crate::report::{Report, Sum};

pub(super) fn heading(out: &mut Markup, page: &Page<'_>) {
    let report = page.report;
    put!(out; "<header>\n<p class=\"eyebrow\">tcpwatch report</p>\n<h1>");
    match &report.filter {
        Some(filter) => {
            put!(out; "Traffic to <bdi>", (filter), "</bdi> from <bdi>", (page.hosts()), "</bdi>");
        }
        None => {
            put!(out; "Outgoing traffic of <bdi>", (page.hosts()), "</bdi>");
        }
    }
    put!(out; "</h1>\n<p class=\"period\"><strong>", (page.local.period(report.period)), "</strong> <span class=\"muted\">(",
        (page.local.zone(report.period)), ")</span></p>\n<p class=\"muted\">", (recorded(report)), "</p>\n");
    if let Some(asked) = report.asked {
        put!(out; "<p class=\"muted\">Asked for: ", (page.local.period(asked)),
            ". Of its ends only whole hours or days are kept, so the period is wider.</p>\n");
    }
    if let Some(extent) = report.extent.filter(|extent| extent.from > report.period.from) {
        put!(out; "<p class=\"muted\">The history begins ", (page.local.moment(extent.from)), ".</p>\n");
    }
    out.raw("</header>\n");
}

/// `4,320 intervals, 23 h 59 min recorded of 1 d (99.9 %)`.
fn recorded(report: &Report) -> String {
    let seconds = report.recorded_seconds.clamp(0.0, 1e12);
    let length = report.period.to.duration_since(report.period.from);
    let length = Duration::try_from(length).unwrap_or_default();
    format!(
        "{}, {} recorded of {} ({})",
        numbers::counted(report.intervals, "interval", "intervals"),
        numbers::span(Duration::from_secs_f64(seconds)),
        numbers::span(length),
        numbers::share((seconds * 1000.0).round() as u64, length.as_millis() as u64),
    )
}

pub(super) fn figures(out: &mut Markup, page: &Page<'_>) {
    let report = page.report;
    let seconds = report.recorded_seconds;
    let sum = &report.matched;
    out.raw("<dl class=\"figures\">\n");
    let of_all = |part: u64, whole: u64| {
        report
            .filter
            .as_ref()
            .map(|_| format!("{} of all", numbers::share(part, whole)))
    };
    figure(
        out,
        "Packets",
        &numbers::thousands(sum.packets),
        &[
            of_all(sum.packets, report.all.packets),
            Some(format!(
                "{}/s on average",
                numbers::rate(sum.packets as f64 / seconds)
            )),
            busiest(page, |sum| sum.packets).map(|(most, when)| {
                let step = report.bins.step_ms as f64 / 1000.0;
                format!("{}/s {when}", numbers::rate(most as f64 / step))
            }),
        ],
    );
    figure(
        out,
        "Bytes",
        &numbers::bytes(sum.bytes),
        &[
            of_all(sum.bytes, report.all.bytes),
            Some(format!("{} on average", numbers::bit_rate(sum.bytes, seconds))),
            busiest(page, |sum| sum.bytes).map(|(most, when)| {
                format!(
                    "{} {when}",
                    numbers::bit_rate(most, report.bins.step_ms as f64 / 1000.0)
                )
            }),
        ],
    );
    for (label, counted, all) in [
        ("TCP connections", sum.tcp_connections, report.all.tcp_connections),
        (
            "QUIC connections",
            sum.quic_connections,
            report.all.quic_connections,
        ),
    ] {
        if let Some(counted) = counted {
            let minute = numbers::rate(counted as f64 * 60.0 / seconds);
            figure(
                out,
                label,
                &numbers::thousands(counted),
                &[
                    of_all(counted, all.unwrap_or(0)),
                    Some(format!("{minute}/min on average")),
                    None,
                ],
            );
        }
    }
    let per_destination = (report.destinations > 0).then(|| {
        let packets = sum.packets as f64 / report.destinations as f64;
        format!("{} packets each on average", numbers::rate(packets))
    });
    figure(
        out,
        "Destinations",
        &numbers::thousands(report.destinations),
        &[Some("distinct addresses".to_owned()), per_destination, None],
    );
    out.raw("</dl>\n");
}

fn figure(out: &mut Markup, label: &'static str, value: &str, notes: &[Option<String>; 3]) {
    put!(out; "<div><dt>", (label), "</dt><dd><span class=\"value\">", (value), "</span>");
    for note in notes.iter().flatten() {
        put!(out; "<span class=\"note\">", (note), "</span>");
    }
    out.raw("</dd></div>\n");
}

/// How much the busiest step had, and which it was.
fn busiest(page: &Page<'_>, of: fn(&Sum) -> u64) -> Option<(u64, String)> {
    let bins = page.report.bins;
    if bins.count < 2 || bins.step_ms <= 0 {
        return None;
    }
    let steps = page.report.series.iter().map(of).enumerate();
    let (at, most) = steps.max_by_key(|&(at, amount)| (amount, std::cmp::Reverse(at)))?;
    let first = bins
        .first_ms
        .saturating_add(bins.step_ms.saturating_mul(at as i64));
    (most > 0).then(|| (most, format!("at most, {}", page.local.step(first, bins.step_ms))))
}
