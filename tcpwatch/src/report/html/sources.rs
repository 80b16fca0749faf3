//! Where the places come from, and under which licence.

use crate::report::html::Page;
use crate::report::html::markup::{Markup, put};

pub(super) fn footer(out: &mut Markup, page: &Page<'_>) {
    out.raw("<footer>\n<h2>Sources</h2>\n");
    if page.report.geo.is_empty() {
        out.raw("<p>No place database was in use.</p>\n");
    } else {
        out.raw(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Place databases\"><table><caption class=\"hidden\">Place \
            databases</caption><thead><tr><th scope=\"col\">Place database</th><th scope=\"col\">Of</th><th scope=\"col\">File</th>\
            <th scope=\"col\">Licence</th></tr></thead>\n<tbody>\n",
        );
        for file in &page.report.geo {
            put!(out; "<tr><th scope=\"row\"><bdi>", (&file.kind), "</bdi></th><td class=\"n\">", (file.built), "</td><td><bdi>",
                (&file.file), "</bdi></td><td>");
            out.raw(licence(&file.kind)).raw("</td></tr>\n");
        }
        out.raw("</tbody></table></div>\n");
    }
    put!(out; "<p>Map: made with Natural Earth (public domain), borders as that shows them; points stand for countries that are too \
        small to be drawn. Packets and bytes are counted in the kernel as they leave the host; places are where the databases say \
        that an address is.</p>\n<p>Made by tcpwatch ", (env!("CARGO_PKG_VERSION")), " from its history, for ",
        (page.local.period(page.report.period)), " (", (page.local.name.as_str()), ").</p>\n</footer>\n");
}

/// By the type, because the files do not name their licence.
fn licence(kind: &str) -> &'static str {
    if kind.starts_with("GeoLite2-") {
        "This product includes GeoLite data created by MaxMind, available from <a href=\"https://www.maxmind.com\">www.maxmind.com</a>"
    } else if kind.starts_with("GeoIP2-") {
        "MaxMind End User License Agreement"
    } else if kind.starts_with("DBIP-") {
        "CC BY 4.0: <a href=\"https://db-ip.com\">IP Geolocation by DB-IP</a>"
    } else if kind.starts_with("tcpwatch-") {
        "that of its sources: <code>tcpwatch geo info</code> names them"
    } else {
        "see its publisher"
    }
}
