//! Weekdays and hours: a table whose cells are shaded, so that it can also be read.

use crate::report::html::markup::{Markup, put};
use crate::report::html::{Page, numbers};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const SHADES: [&str; 7] = [
    "<td class=\"l0\"",
    "<td class=\"l1\"",
    "<td class=\"l2\"",
    "<td class=\"l3\"",
    "<td class=\"l4\"",
    "<td class=\"l5\"",
    "<td class=\"l6\"",
];

pub(super) fn section(out: &mut Markup, page: &Page<'_>) {
    let (heat, unplaced) = (&page.report.heat, page.report.heat_unplaced);
    let most = heat.iter().flatten().copied().max().unwrap_or(0);
    if most == 0 {
        return;
    }
    out.raw(
        "<section aria-labelledby=\"heat\">\n<h2 id=\"heat\">Hours of the week</h2>\n\
        <table class=\"heat\"><caption>Packets by weekday and hour, local time</caption>\n<thead><tr><td></td>",
    );
    for hour in 0..24 {
        put!(out; "<th scope=\"col\">", (format!("{hour:02}")), "</th>");
    }
    out.raw("</tr></thead>\n<tbody>\n");
    let there = page.local.weekdays(page.report.period);
    for ((day, hours), there) in DAYS.into_iter().zip(heat).zip(there) {
        if !there && hours.iter().all(|packets| *packets == 0) {
            continue;
        }
        put!(out; "<tr><th scope=\"row\">", (day), "</th>");
        for (hour, packets) in hours.iter().enumerate() {
            out.raw(SHADES[shade(*packets, most)]);
            put!(out; " title=\"", (day), " ", (format!("{hour:02}")), ":00: ", (numbers::thousands(*packets)),
                " packets\"><span class=\"hidden\">", (numbers::thousands(*packets)), "</span></td>");
        }
        out.raw("</tr>\n");
    }
    put!(out; "</tbody></table>\n<ul class=\"legend steps\">");
    for (class, parts) in ["l0", "l1", "l2", "l3", "l4", "l5", "l6"]
        .into_iter()
        .zip(0..=6_u64)
    {
        out.raw("<li><svg class=\"key\" aria-hidden=\"true\"><rect width=\"100%\" height=\"100%\" class=\"")
            .raw(class)
            .raw("\"/></svg>");
        if parts == 0 {
            out.raw("none</li>");
        } else {
            // The least that has this shade.
            let least = u128::from(most) * u128::from(parts - 1) / 6 + 1;
            put!(out; "from ", (numbers::short(u64::try_from(least).unwrap_or(u64::MAX))), "</li>");
        }
    }
    out.raw("</ul>\n");
    if unplaced > 0 {
        put!(out; "<p class=\"muted\">Without ", (numbers::thousands(unplaced)), " packets of which only the day is kept.</p>\n");
    }
    out.raw("</section>\n");
}

/// Sixths of the most, upwards; none at all is 0.
fn shade(packets: u64, most: u64) -> usize {
    let sixths = (u128::from(packets) * 6).div_ceil(u128::from(most.max(1)));
    usize::try_from(sixths).unwrap_or(6).min(6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_are_sixths_and_none_is_apart() {
        assert_eq!(
            [0, 1, 100, 101, 600].map(|packets| shade(packets, 600)),
            [0, 1, 1, 2, 6]
        );
        assert_eq!(shade(u64::MAX, u64::MAX), 6);
    }
}
