//! The map: countries shaded by their share.

use std::collections::BTreeMap;

use crate::report::html::markup::{Markup, put};
use crate::report::html::{Page, numbers};
use crate::report::{Dimension, Group};

/// Made by `tests/examples/outlines.rs`.
const WORLD: &str = include_str!("world.txt");

/// From which part of the whole on a country has which shade, in thousandths; the words are the legend's.
const SHADES: [(u64, &str, &str); 6] = [
    (0, "l1", "< 0.1 %"),
    (1, "l2", "0.1 %"),
    (10, "l3", "1 %"),
    (50, "l4", "5 %"),
    (150, "l5", "15 %"),
    (300, "l6", "30 % and more"),
];

/// A country's outline, or the point that stands for it.
enum Shape {
    Path(&'static str),
    Point(&'static str, &'static str),
}

pub(super) fn section(out: &mut Markup, page: &Page<'_>) {
    let Some(section) = page.section(Dimension::Country) else {
        return;
    };
    let whole = page.measure.in_sum(&page.report.matched);
    if whole == 0 {
        return;
    }
    let mut countries: BTreeMap<&str, &Group> = BTreeMap::new();
    let mut shown = 0_u64;
    let outlines = shapes();
    for group in &section.groups {
        if let Some(code) = group
            .country
            .as_deref()
            .filter(|code| outlines.contains_key(code))
        {
            countries.insert(code, group);
            shown = shown.saturating_add(page.measure.in_sum(&group.sum));
        }
    }
    put!(out; "<section aria-labelledby=\"map\">\n<h2 id=\"map\">Where it goes</h2>\n<figure class=\"map\">\n<figcaption>Share of all ",
        (page.measure.word()), " by country</figcaption>\n<svg viewBox=\"", (bounds()), "\" role=\"img\" aria-label=\"World map: ",
        (numbers::counted(countries.len() as u64, "country has", "countries have")),
        " traffic; the figures are in the table of countries\">\n");
    // Those with traffic are drawn last, so that their outlines are whole.
    for (code, shape) in &outlines {
        if let (Shape::Path(path), false) = (shape, countries.contains_key(code)) {
            out.raw("<path class=\"l0\" d=\"").raw(path).raw("\"/>\n");
        }
    }
    for (code, group) in &countries {
        let amount = page.measure.in_sum(&group.sum);
        let shade = SHADES
            .iter()
            .rev()
            .find(|shade| u128::from(amount) * 1000 >= u128::from(whole) * u128::from(shade.0));
        let class = shade.map_or("l1", |shade| shade.1);
        match &outlines[code] {
            Shape::Path(path) => out.raw("<path class=\"").raw(class).raw("\" d=\"").raw(path),
            Shape::Point(x, y) => out
                .raw("<circle class=\"")
                .raw(class)
                .raw("\" r=\"9\" cx=\"")
                .raw(x)
                .raw("\" cy=\"")
                .raw(y),
        };
        put!(out; "\"><title>", (&group.label), ": ", (page.share(&group.sum)), ", ", (page.measure.amount(&group.sum)), "</title>");
        out.raw(if matches!(outlines[code], Shape::Path(_)) {
            "</path>\n"
        } else {
            "</circle>\n"
        });
    }
    out.raw("</svg>\n<ul class=\"legend steps\">");
    for (from, class, words) in [(0, "l0", "none")].into_iter().chain(SHADES) {
        out.raw("<li><svg class=\"key\" aria-hidden=\"true\"><rect width=\"100%\" height=\"100%\" class=\"")
            .raw(class)
            .raw("\"/></svg>");
        put!(out; (if from > 0 && from < 300 { "from " } else { "" }), (words), "</li>");
    }
    out.raw("</ul>\n");
    if shown < whole {
        put!(out; "<p class=\"muted\">Not on the map: ", (numbers::share(whole - shown, whole)),
            ", of which the place is unknown or which stays in local networks, or which is in rows that are not shown one by one.</p>\n");
    }
    out.raw("</figure>\n</section>\n");
}

/// By code.
fn shapes() -> BTreeMap<&'static str, Shape> {
    let lines = WORLD
        .lines()
        .filter(|line| line.as_bytes().first().is_some_and(u8::is_ascii_uppercase));
    lines
        .filter_map(|line| {
            let (code, shape) = line.split_once(' ')?;
            let shape = match shape.strip_prefix('@') {
                Some(point) => {
                    let (x, y) = point.split_once(',')?;
                    Shape::Point(x, y)
                }
                None => Shape::Path(shape),
            };
            Some((code, shape))
        })
        .collect()
}

/// The `viewBox`.
fn bounds() -> String {
    let size = WORLD
        .lines()
        .find(|line| line.as_bytes().first().is_some_and(u8::is_ascii_digit));
    format!("0 0 {}", size.unwrap_or("2000 1000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_has_every_country_and_nothing_but_outlines() {
        let shapes = shapes();
        let paths = shapes
            .values()
            .filter(|shape| matches!(shape, Shape::Path(_)))
            .count();
        assert_eq!((paths, shapes.len() - paths), (175, 70));
        for (code, shape) in &shapes {
            assert!(
                code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase()),
                "{code}"
            );
            let (text, allowed) = match shape {
                Shape::Path(path) => (format!("{path} "), "Mlz- 0123456789"),
                Shape::Point(x, y) => (format!("{x} {y}"), " 0123456789"),
            };
            assert!(
                text.chars().all(|character| allowed.contains(character)),
                "{code}: {text}"
            );
        }
        for code in ["US", "DE", "CN", "RU", "SG", "HK", "TW", "XK", "MT", "GI"] {
            assert!(shapes.contains_key(code), "{code}");
        }
        assert!(WORLD.len() < 80_000);
    }
}
