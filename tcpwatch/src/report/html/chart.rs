//! Traffic over time, stacked. Lengths across are in percent, so that the text keeps its size on any screen.

use std::time::Duration;

use crate::report::html::markup::{Markup, put};
use crate::report::html::{Page, numbers, words};
use crate::report::{Dimension, Section};

/// The style sheet's colours for groups; what is left is in that of `REST`.
const COLOURS: [&str; 6] = ["s1", "s2", "s3", "s4", "s5", "s6"];
const REST: &str = "s0";

/// Height of the plot, and of the line of times below it, in pixels.
const HEIGHT: u64 = 176;

/// One colour of a chart.
struct Layer<'a> {
    label: &'a str,
    colour: &'static str,
    series: Vec<u64>,
}

pub(super) fn section(out: &mut Markup, page: &Page<'_>) {
    let bins = page.report.bins;
    let shown = [Dimension::Network, Dimension::Country];
    let sections: Vec<&Section> = shown.into_iter().filter_map(|by| page.section(by)).collect();
    if bins.count < 2 || bins.step_ms <= 0 || page.report.matched.packets == 0 {
        return;
    }
    out.raw("<section aria-labelledby=\"time\">\n<h2 id=\"time\">Over time</h2>\n<div class=\"columns\">\n");
    let steps = step(page);
    if sections.is_empty() {
        figure(out, page, &format!("Packets in {steps}"), &layers(page, None));
    }
    for section in sections {
        let (_, plural) = words(section.by);
        let caption = format!("{plural}, packets in {steps}");
        figure(out, page, &caption, &layers(page, Some(section)));
    }
    out.raw("</div>\n</section>\n");
}

/// `30 min`.
fn step(page: &Page<'_>) -> String {
    numbers::span(Duration::from_millis(page.report.bins.step_ms.unsigned_abs()))
}

/// The largest groups, and everything else, so that the layers come to the report's series.
fn layers<'a>(page: &Page<'a>, section: Option<&'a Section>) -> Vec<Layer<'a>> {
    let count = page.report.bins.count;
    let value = |series: &[u64], at: usize| series.get(at).copied().unwrap_or(0);
    let mut others: Vec<u64> = (0..count)
        .map(|at| page.report.series.get(at).map_or(0, |sum| sum.packets))
        .collect();
    let mut layers = Vec::new();
    let mut groups: Vec<_> = section
        .map(|section| section.groups.iter().collect())
        .unwrap_or_default();
    groups.sort_by_key(|group| std::cmp::Reverse(group.sum.packets));
    for (group, colour) in groups.into_iter().zip(COLOURS) {
        let series: Vec<u64> = (0..count).map(|at| value(&group.series, at)).collect();
        for (rest, taken) in others.iter_mut().zip(&series) {
            *rest = rest.saturating_sub(*taken);
        }
        layers.push(Layer {
            label: &group.label,
            colour,
            series,
        });
    }
    let label = if layers.is_empty() { "all" } else { "all others" };
    if others.iter().any(|rest| *rest > 0) {
        layers.push(Layer {
            label,
            colour: REST,
            series: others,
        });
    }
    layers
}

fn figure(out: &mut Markup, page: &Page<'_>, caption: &str, layers: &[Layer<'_>]) {
    put!(out; "<figure class=\"chart\"><figcaption>", (caption), "</figcaption>\n");
    plot(out, page, caption, layers);
    let whole: u64 = layers.iter().flat_map(|layer| &layer.series).sum();
    out.raw("<ul class=\"legend\">");
    for layer in layers {
        out.raw("<li><svg class=\"key\" aria-hidden=\"true\"><rect width=\"100%\" height=\"100%\" class=\"");
        put!(out; (layer.colour), "\"/></svg><bdi>", (layer.label), "</bdi> <span class=\"n\">",
            (numbers::share(layer.series.iter().sum(), whole)), "</span></li>");
    }
    out.raw("</ul>\n");
    as_table(out, page, caption, layers);
    out.raw("</figure>\n");
}

fn plot(out: &mut Markup, page: &Page<'_>, caption: &str, layers: &[Layer<'_>]) {
    let bins = page.report.bins;
    let total = |at: usize| layers.iter().map(|layer| layer.series[at]).sum::<u64>();
    let top = round_up((0..bins.count).map(total).max().unwrap_or(0));
    let height = |value: u64| value as f64 * HEIGHT as f64 / top as f64;
    let percent = |at: usize| at as f64 * 100.0 / bins.count as f64;
    put!(out; "<div class=\"plot\"><svg class=\"scale\" width=\"40\" height=\"206\" aria-hidden=\"true\">");
    for part in 0..=4_u64 {
        let y = 6 + HEIGHT - HEIGHT * part / 4;
        put!(out; "<text x=\"34\" y=\"", (y + 4), "\">", (numbers::short(top / 4 * part)), "</text>");
    }
    put!(out; "</svg><svg width=\"100%\" height=\"206\" role=\"img\" aria-label=\"", (caption),
        ": stacked bars; the figures are in the table below\">\n");
    for part in 0..=4_u64 {
        let y = 6 + HEIGHT - HEIGHT * part / 4;
        put!(out; "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"", (y), "\" y2=\"", (y), "\"/>");
    }
    let wide = format!("{:.2}", 82.0 / bins.count as f64);
    for at in 0..bins.count {
        let x = format!("{:.2}", percent(at) + 9.0 / bins.count as f64);
        out.raw("<g class=\"bin\"><title>");
        put!(out; (step_title(page, at)), ": ", (numbers::thousands(total(at))), " packets</title>");
        put!(out; "<rect class=\"hit\" x=\"", (format!("{:.2}", percent(at))), "%\" y=\"6\" width=\"",
            (format!("{:.2}", 100.0 / bins.count as f64)), "%\" height=\"", (HEIGHT), "\"/>");
        let mut below = 0;
        for layer in layers {
            let value = layer.series[at];
            below += value;
            if height(value) >= 0.05 {
                put!(out; "<rect class=\"", (layer.colour), "\" x=\"", (x.as_str()), "%\" y=\"",
                    (format!("{:.1}", 6.0 + HEIGHT as f64 - height(below))), "\" width=\"", (wide.as_str()),
                    "%\" height=\"", (format!("{:.1}", height(value).max(0.1))), "\"/>");
            }
        }
        out.raw("</g>\n");
    }
    for (nth, (at, text)) in page
        .local
        .marks(bins.first_ms, bins.step_ms, bins.count)
        .into_iter()
        .enumerate()
    {
        let x = format!("{:.2}", percent(at));
        out.raw(if nth % 2 == 0 {
            "<g class=\"mark\">"
        } else {
            "<g class=\"mark second\">"
        });
        put!(out; "<line x1=\"", (x.as_str()), "%\" x2=\"", (x.as_str()), "%\" y1=\"182\" y2=\"188\"/><text x=\"", (x.as_str()),
            "%\" y=\"201\">", (text), "</text></g>");
    }
    out.raw("</svg></div>\n");
}

fn step_title(page: &Page<'_>, at: usize) -> String {
    let bins = page.report.bins;
    let first = bins
        .first_ms
        .saturating_add(bins.step_ms.saturating_mul(at as i64));
    page.local.step(first, bins.step_ms)
}

/// The least of 4, 8, 12, 16, 20, 24, 32, 40, 80 ... that is not less: a quarter of it is a whole, short number.
fn round_up(most: u64) -> u64 {
    let mut power = 4_u64;
    loop {
        for factor in [1, 2, 3, 4, 5, 6, 8] {
            let top = power.saturating_mul(factor);
            if top >= most || top == u64::MAX {
                return top;
            }
        }
        power = power.saturating_mul(10);
    }
}

/// The same in numbers.
fn as_table(out: &mut Markup, page: &Page<'_>, caption: &str, layers: &[Layer<'_>]) {
    put!(out; "<details><summary>The figures as a table</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"",
        (caption), "\"><table><caption class=\"hidden\">", (caption), "</caption><thead><tr><th scope=\"col\">Time</th>");
    for layer in layers {
        put!(out; "<th scope=\"col\" class=\"n\"><bdi>", (layer.label), "</bdi></th>");
    }
    out.raw("</tr></thead><tbody>\n");
    for at in 0..page.report.bins.count {
        put!(out; "<tr><th scope=\"row\">", (step_title(page, at)), "</th>");
        for layer in layers {
            put!(out; "<td class=\"n\">", (numbers::thousands(layer.series[at])), "</td>");
        }
        out.raw("</tr>\n");
    }
    out.raw("</tbody></table></div></details>\n");
}

/// A row's own course over time, as high as its own highest step.
pub(super) fn sparkline(out: &mut Markup, series: &[u64], label: &str) {
    let most = series.iter().copied().max().unwrap_or(0).max(1);
    put!(out; "<svg class=\"spark\" viewBox=\"0 0 ", (series.len()), " 20\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"",
        (label), "\"><path d=\"M0 20");
    let mut at = None;
    for value in series {
        let y = (20.0 - *value as f64 * 20.0 / most as f64).round() as u64;
        // A step that is there shows.
        let y = if *value > 0 { y.min(19) } else { y };
        if at != Some(y) {
            put!(out; "V", (y));
            at = Some(y);
        }
        out.raw("h1");
    }
    out.raw("V20z\"/></svg>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_short_number_above_the_highest_bar() {
        assert_eq!(round_up(0), 4);
        assert_eq!(round_up(9), 12);
        assert_eq!(round_up(12_001), 16_000);
        assert_eq!(round_up(u64::MAX), u64::MAX);
    }
}
