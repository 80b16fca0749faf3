//! Every packet in exactly one place, and whether it adds up.

use tcpwatch_common::Counts;

use crate::report::html::markup::{Markup, put};
use crate::report::html::{Page, numbers};

pub(super) fn section(out: &mut Markup, page: &Page<'_>) {
    let report = page.report;
    let (proof, totals) = (&report.proof, &report.totals);
    put!(out; "<section class=\"proof\" aria-labelledby=\"proof\">\n<h2 id=\"proof\">Proof</h2>\n");
    if proof.holds {
        out.raw("<p class=\"verdict holds\"><span class=\"mark\" aria-hidden=\"true\">\u{2713}</span> Everything adds up</p>\n");
    } else {
        out.raw("<p class=\"verdict broken\"><span class=\"mark\" aria-hidden=\"true\">\u{2717}</span> It does not add up</p>\n");
    }
    out.raw("<div class=\"columns\">\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"What became of every packet\">\
        <table class=\"outcomes\"><caption>What became of every packet</caption>\
        <thead><tr><th scope=\"col\">Outcome</th><th scope=\"col\" class=\"n\">Packets</th>\
        <th scope=\"col\" class=\"n\">Bytes</th></tr></thead>\n<tbody>\n");
    let outcomes: [(&'static str, &'static str, Counts); 7] = [
        ("counted", "in the tables below", totals.counted),
        ("served", "answers to clients", totals.served),
        ("banned", "to the operator\u{2019}s prefixes", totals.banned),
        ("other source", "not from an own address", totals.other_source),
        ("not IP", "neither IPv4 nor IPv6", totals.not_ip),
        ("malformed", "IP by name, but unreadable", totals.malformed),
        ("overflow", "no room left in the kernel table", totals.overflow),
    ];
    for (at, (label, meaning, counts)) in outcomes.into_iter().enumerate() {
        put!(out; "<tr><th scope=\"row\">");
        out.raw(if at == 0 {
            ""
        } else {
            "<span class=\"sign\">+</span> "
        });
        put!(out; (label), " <span class=\"meaning\">", (meaning), "</span></th>");
        cells(out, counts);
        out.raw("</tr>\n");
    }
    out.raw("</tbody>\n<tfoot><tr><th scope=\"row\"><span class=\"sign\">=</span> seen</th>");
    cells(out, proof.outcomes);
    out.raw("</tr></tfoot></table></div>\n<ul class=\"checks\">\n");
    let whole = |counts: Counts| {
        let (packets, bytes) = (counts.packets, counts.bytes);
        format!(
            "{} packets, {} bytes",
            numbers::thousands(packets),
            numbers::thousands(bytes)
        )
    };
    check(
        out,
        proof.seen == proof.outcomes,
        "Seen is the sum of all outcomes",
        &[
            ("seen", whole(proof.seen)),
            ("sum of outcomes", whole(proof.outcomes)),
        ],
    );
    check(
        out,
        proof.counted == proof.rows,
        "Counted is the sum of all rows of the history",
        &[
            ("counted", whole(proof.counted)),
            ("sum of rows", whole(proof.rows)),
        ],
    );
    check(
        out,
        report.unbalanced == 0 && proof.balanced == report.intervals,
        "Every interval\u{2019}s own books balance",
        &[(
            "balanced",
            format!(
                "{} of {}",
                numbers::thousands(proof.balanced),
                numbers::counted(report.intervals, "interval", "intervals")
            ),
        )],
    );
    if let Some(filter) = &report.filter {
        put!(out; "<li><div>Of what was counted, <bdi>", (filter), "</bdi> is ",
            (numbers::thousands(report.matched.packets)), " packets, ", (numbers::thousands(report.matched.bytes)),
            " bytes. The tables below come to this.</div></li>\n");
    }
    out.raw("</ul>\n</div>\n</section>\n");
}

fn cells(out: &mut Markup, counts: Counts) {
    put!(out; "<td class=\"n\">", (numbers::thousands(counts.packets)), "</td><td class=\"n\">",
        (numbers::thousands(counts.bytes)), "</td>");
}

fn check(out: &mut Markup, holds: bool, claim: &'static str, sides: &[(&'static str, String)]) {
    out.raw(if holds {
        "<li class=\"holds\"><span class=\"mark\" aria-hidden=\"true\">\u{2713}</span><div><strong>"
    } else {
        "<li class=\"broken\"><span class=\"mark\" aria-hidden=\"true\">\u{2717}</span><div><strong>"
    });
    put!(out; (claim), "</strong>: ");
    out.raw(if holds { "yes" } else { "no" });
    out.raw("<dl>");
    for (label, value) in sides {
        put!(out; "<div><dt>", (label), "</dt><dd>", (value), "</dd></div>");
    }
    out.raw("</dl></div></li>\n");
}
