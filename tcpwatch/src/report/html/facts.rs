//! The answer to a question about one target: facts, patterns, what could be done, and what cannot be known.

use crate::report::html::markup::{Markup, put};
use crate::report::html::{Page, numbers};
use crate::report::{Facts, Part, Rate};

pub(super) fn section(out: &mut Markup, page: &Page<'_>) {
    let Some(facts) = &page.report.facts else {
        return;
    };
    out.raw(
        "<section class=\"facts\" aria-labelledby=\"facts\">\n<h2 id=\"facts\">What the numbers show</h2>\n",
    );
    if facts.findings.is_empty() {
        out.raw("<p>None of the known patterns.</p>\n");
    } else {
        out.raw("<ul class=\"findings\">\n");
        for finding in &facts.findings {
            out.raw("<li>").prose(&finding.text).raw("</li>\n");
        }
        out.raw("</ul>\n");
    }
    rates(out, page, facts);
    out.raw("<div class=\"columns\">\n");
    for (title, parts) in [
        ("From which of my addresses", &facts.sources),
        ("IPv4 and IPv6", &facts.families),
        ("Domains", &facts.domains),
        ("Countries of the target", &facts.countries),
        ("Anycast", &facts.anycast),
    ] {
        if !parts.is_empty() {
            self::parts(out, title, parts);
        }
    }
    out.raw("</div>\n");
    snippets(out, facts);
    if facts.undecided.packets > 0 {
        put!(out; "<p class=\"muted\">", (numbers::thousands(facts.undecided.packets)), " packets (",
            (numbers::bytes(facts.undecided.bytes)),
            ") do not match by what is kept of them, and may belong to it all the same.</p>\n");
    }
    if !facts.unknown.is_empty() {
        out.raw("<h3>What cannot be known from here</h3>\n<ul>\n");
        for line in &facts.unknown {
            out.raw("<li>").prose(line).raw("</li>\n");
        }
        out.raw("</ul>\n");
    }
    out.raw("</section>\n");
}

fn rates(out: &mut Markup, page: &Page<'_>, facts: &Facts) {
    out.raw(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"A minute\"><table><caption class=\"hidden\">A minute</caption>\
        <thead><tr><th scope=\"col\">A minute</th><th scope=\"col\" class=\"n\">Average</th><th scope=\"col\" class=\"n\">At most</th>\
        <th scope=\"col\">In the bucket that ended</th></tr></thead>\n<tbody>\n",
    );
    let mut row = |label: &'static str, rate: &Rate| {
        put!(out; "<tr><th scope=\"row\">", (label), "</th><td class=\"n\">", (numbers::rate(rate.mean)), "</td><td class=\"n\">",
            (numbers::rate(rate.peak)), "</td><td>", (page.local.moment(rate.peak_end)), "</td></tr>\n");
    };
    row("Packets", &facts.packets);
    if let Some(rate) = &facts.tcp_connections {
        row("TCP connections", rate);
    }
    if let Some(rate) = &facts.quic_connections {
        row("QUIC connections", rate);
    }
    out.raw("</tbody></table></div>\n");
    match &facts.previous {
        None => {
            out.raw("<p class=\"muted\">Nothing was recorded in the period before this one.</p>\n");
        }
        Some(previous) => {
            let now = page.report.matched.packets as f64 / page.report.recorded_seconds;
            let then = previous.matched.packets as f64 / previous.recorded_seconds;
            let change = (now / then - 1.0) * 100.0;
            put!(out; "<p>In the period before (", (page.local.period(previous.period)), "): ",
                (numbers::thousands(previous.matched.packets)), " packets, ", (numbers::bytes(previous.matched.bytes)), ", ",
                (numbers::share(previous.matched.packets, previous.all.packets)), " of all");
            if change.is_finite() {
                put!(out; "; packets a minute changed by <strong class=\"n\">", (format!("{change:+.1} %").replace('-', "\u{2212}")),
                    "</strong>");
            }
            out.raw(".</p>\n");
        }
    }
}

fn parts(out: &mut Markup, title: &'static str, parts: &[Part]) {
    put!(out; "<table class=\"parts\"><caption>", (title), "</caption><thead class=\"hidden\"><tr><th scope=\"col\">Which</th>\
        <th scope=\"col\">Share of packets</th><th scope=\"col\">Packets</th><th scope=\"col\">Destinations</th></tr></thead><tbody>\n");
    for part in parts.iter().take(12) {
        put!(out; "<tr><th scope=\"row\"><bdi>", (&part.label), "</bdi></th><td class=\"n share\"><svg class=\"bar\" aria-hidden=\"true\">\
            <rect width=\"", (format!("{:.2}", (part.share * 100.0).clamp(0.0, 100.0))), "%\" height=\"100%\"/></svg>",
            (format!("{:.1} %", part.share * 100.0)), "</td><td class=\"n\">", (numbers::thousands(part.sum.packets)),
            "</td><td class=\"n muted\">", (numbers::counted(part.destinations, "address", "addresses")), "</td></tr>\n");
    }
    out.raw("</tbody></table>\n");
    if parts.len() > 12 {
        put!(out; "<p class=\"muted\">and ", (numbers::thousands(parts.len() as u64 - 12)), " more</p>\n");
    }
}

fn snippets(out: &mut Markup, facts: &Facts) {
    if facts.snippets.is_empty() {
        return;
    }
    out.raw("<h3>What could be changed</h3>\n<p class=\"muted\">Offered for copying; tcpwatch changes nothing.</p>\n");
    for snippet in &facts.snippets {
        put!(out; "<details class=\"snippet\"><summary><strong>", (snippet.title), "</strong> <span>");
        out.prose(&snippet.purpose);
        put!(out; "</span> <span class=\"muted\">would have moved ", (numbers::thousands(snippet.packets)), " packets, ",
            (format!("{:.1} %", snippet.share * 100.0)), " of the target\u{2019}s</span></summary><pre tabindex=\"0\">");
        out.prose(&snippet.text).raw("</pre></details>\n");
    }
}
