//! The tables: one for each section, and the operator's prefixes. A script makes their headings sort; without it they stand as the
//! report sorts.

use crate::report::html::markup::{Markup, put};
use crate::report::html::{Measure, Page, chart, numbers, split, words};
use crate::report::{Banned, Dimension, Group, Section, Sum};

pub(super) fn sections(out: &mut Markup, page: &Page<'_>) {
    out.raw("<div class=\"tables\">\n");
    for section in &page.report.sections {
        table(out, page, section);
    }
    if !page.report.banned.is_empty() {
        banned(out, &page.report.banned);
    }
    out.raw("</div>\n");
}

/// What a table of a section has besides the row's name, packets, share and bytes.
struct Columns {
    tcp: bool,
    quic: bool,
    destinations: bool,
    course: bool,
}

impl Columns {
    fn of(page: &Page<'_>, section: &Section) -> Self {
        let timed = matches!(section.by, Dimension::Hour | Dimension::Day);
        Self {
            tcp: page.report.matched.tcp_connections.is_some(),
            quic: page.report.matched.quic_connections.is_some(),
            destinations: section.by != Dimension::Destination,
            course: !timed && page.report.bins.count > 1,
        }
    }
}

fn table(out: &mut Markup, page: &Page<'_>, section: &Section) {
    let (singular, plural) = words(section.by);
    let columns = Columns::of(page, section);
    let id = plural.to_lowercase().replace(' ', "-");
    let timed = matches!(section.by, Dimension::Hour | Dimension::Day);
    let rest = section.rest.as_ref().map_or(0, |rest| rest.groups);
    let number = section.groups.len() as u64 + rest;
    put!(out; "<section aria-labelledby=\"", (id.as_str()), "\">\n<h2 id=\"", (id.as_str()), "\">", (plural),
        " <span class=\"muted n\">", (numbers::thousands(number)), "</span></h2>\n\
        <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"", (id.as_str()), "\"><table class=\"rows\"><thead><tr>");
    heading(out, singular, "text", timed.then_some("ascending"));
    let sorted = |measure| (!timed && page.measure == measure).then_some("descending");
    heading(out, "Packets", "number", sorted(Measure::Packets));
    let share: &'static str = match page.measure {
        Measure::Packets => "Share",
        Measure::Bytes => "Share of bytes",
        Measure::Connections => "Share of connections",
    };
    heading(out, share, "number", sorted(Measure::Connections));
    heading(out, "Bytes", "number", sorted(Measure::Bytes));
    for (there, label) in [
        (columns.tcp, "TCP"),
        (columns.quic, "QUIC"),
        (columns.destinations, "Destinations"),
    ] {
        if there {
            heading(out, label, "number", None);
        }
    }
    if columns.course {
        out.raw("<th scope=\"col\">Over time</th>");
    }
    out.raw("</tr></thead>\n<tbody>\n");
    for group in &section.groups {
        out.raw("<tr><th scope=\"row\">");
        name(out, section.by, group);
        out.raw("</th>");
        cells(out, page, &columns, &group.sum, Some(group.destinations));
        if columns.course {
            out.raw("<td>");
            chart::sparkline(out, &group.series, "packets over time");
            out.raw("</td>");
        }
        out.raw("</tr>\n");
    }
    out.raw("</tbody>\n<tfoot>\n");
    if let Some(rest) = &section.rest {
        put!(out; "<tr class=\"rest\"><th scope=\"row\">", (numbers::thousands(rest.groups)),
            (if rest.groups == 1 { " other" } else { " others" }), "</th>");
        cells(out, page, &columns, &rest.sum, None);
        if columns.course {
            out.raw("<td>");
            chart::sparkline(out, &rest.series, "packets over time");
            out.raw("</td>");
        }
        out.raw("</tr>\n");
    }
    out.raw("<tr class=\"total\"><th scope=\"row\">Total</th>");
    cells(out, page, &columns, &total(section), None);
    out.raw(if columns.course {
        "<td></td></tr>\n"
    } else {
        "</tr>\n"
    });
    out.raw("</tfoot></table></div>\n</section>\n");
}

/// What all rows come to, added up here and not taken from the report.
fn total(section: &Section) -> Sum {
    let mut total = Sum::default();
    for sum in section
        .groups
        .iter()
        .map(|group| group.sum)
        .chain(section.rest.iter().map(|rest| rest.sum))
    {
        total.add(sum);
    }
    total
}

fn heading(out: &mut Markup, label: &'static str, kind: &'static str, sorted: Option<&'static str>) {
    put!(out; "<th scope=\"col\" data-sort=\"", (kind), "\"");
    out.raw(if kind == "number" { " class=\"n\"" } else { "" });
    if let Some(order) = sorted {
        put!(out; " aria-sort=\"", (order), "\"");
    }
    put!(out; ">", (label), "</th>");
}

/// Cells carry the exact number where they show a rounded one.
fn cells(out: &mut Markup, page: &Page<'_>, columns: &Columns, sum: &Sum, destinations: Option<u64>) {
    let (part, whole) = (
        page.measure.in_sum(sum),
        page.measure.in_sum(&page.report.matched),
    );
    let width = if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    };
    put!(out; "<td class=\"n\" data-v=\"", (sum.packets), "\">", (numbers::thousands(sum.packets)),
        "</td><td class=\"n share\" data-v=\"", (part), "\"><svg class=\"bar\" aria-hidden=\"true\"><rect width=\"",
        (format!("{:.2}", width.min(100.0))), "%\" height=\"100%\"/></svg>", (numbers::share(part, whole)),
        "</td><td class=\"n\" data-v=\"", (sum.bytes), "\" title=\"", (numbers::thousands(sum.bytes)), " bytes\">",
        (numbers::bytes(sum.bytes)), "</td>");
    for (there, counted) in [
        (columns.tcp, sum.tcp_connections),
        (columns.quic, sum.quic_connections),
        (columns.destinations, destinations),
    ] {
        match (there, counted) {
            (false, _) => {}
            (true, Some(counted)) => {
                put!(out; "<td class=\"n\" data-v=\"", (counted), "\">", (numbers::thousands(counted)), "</td>");
            }
            (true, None) => {
                out.raw("<td class=\"n\" data-v=\"-1\"></td>");
            }
        }
    }
}

fn name(out: &mut Markup, by: Dimension, group: &Group) {
    match (by, split(group)) {
        (Dimension::Country | Dimension::Network, (Some(key), rest)) => {
            put!(out; "<span class=\"code\">", (key), "</span> <bdi>", (rest), "</bdi>");
        }
        (Dimension::Destination | Dimension::Prefix | Dimension::Source, _) => {
            put!(out; "<bdi class=\"address\">", (&group.label), "</bdi>");
        }
        _ => {
            put!(out; "<bdi>", (&group.label), "</bdi>");
        }
    }
    if let Some(domains) = group.domains() {
        put!(out; "<span class=\"place\"><bdi>", (&domains), "</bdi></span>");
    }
    if !group.place.is_empty() {
        put!(out; "<span class=\"place\"><bdi>", (&group.place), "</bdi></span>");
    }
}

fn banned(out: &mut Markup, banned: &[Banned]) {
    put!(out; "<section aria-labelledby=\"banned\">\n<h2 id=\"banned\">Banned prefixes <span class=\"muted n\">",
        (numbers::thousands(banned.len() as u64)), "</span></h2>\n<p class=\"muted\">Left out of everything above, as configured; \
        of all traffic, whatever the question.</p>\n\
        <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"banned\"><table class=\"rows few\"><thead><tr>");
    heading(out, "Prefix", "text", None);
    heading(out, "Packets", "number", Some("descending"));
    heading(out, "Bytes", "number", None);
    out.raw("</tr></thead>\n<tbody>\n");
    for prefix in banned {
        put!(out; "<tr><th scope=\"row\"><bdi class=\"address\">", (&prefix.prefix), "</bdi></th><td class=\"n\" data-v=\"",
            (prefix.packets), "\">", (numbers::thousands(prefix.packets)), "</td><td class=\"n\" data-v=\"", (prefix.bytes),
            "\" title=\"", (numbers::thousands(prefix.bytes)), " bytes\">", (numbers::bytes(prefix.bytes)), "</td></tr>\n");
    }
    out.raw("</tbody></table></div>\n</section>\n");
}
