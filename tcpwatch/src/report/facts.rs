//! The answer to `--for`: what the numbers say of the target.

use jiff::tz::TimeZone;

use crate::domain::NO_NAME;
use crate::history::Bucket;
use crate::report::axis::{Axis, By};
use crate::report::bins::{DAY, timestamp};
use crate::report::findings::{self, Numbers};
use crate::report::fold::{Fold, Window};
use crate::report::{Dimension, Facts, Filter, Part, Previous, Rate, Sum, snippets};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// What is grouped by for it.
pub(super) fn axes(filter: &Filter) -> [By; 5] {
    [
        By::Dimension(Dimension::Source),
        By::Family,
        names(filter),
        By::Dimension(Dimension::Country),
        By::Anycast,
    ]
}

/// By domain; of one domain, what is below it.
fn names(filter: &Filter) -> By {
    if filter.is_domain() {
        By::Names
    } else {
        By::Dimension(Dimension::Name)
    }
}

/// Names of the target that are listed; the others are summed up.
const TOP_DOMAINS: usize = 20;

/// What the answer needs besides the sums.
pub(super) struct Basis<'a> {
    pub(super) filter: &'a Filter,
    pub(super) zone: &'a TimeZone,
    pub(super) buckets: &'a [Bucket],
    pub(super) previous: Option<Previous>,
}

pub(super) fn facts(fold: &Fold<'_>, basis: &Basis<'_>) -> Facts {
    let parts = |by: By| -> Vec<Part> {
        let axis: Option<&Axis> = fold.axes.iter().rev().find(|axis| axis.by == by);
        axis.map(|axis| axis.parts(&fold.tables, basis.zone))
            .unwrap_or_default()
    };
    let level = level(&fold.windows);
    let windows = windows(fold, level);
    let recorded: u64 = basis.buckets.iter().map(|bucket| bucket.length_ms).sum();
    let rate = |of: fn(&Sum) -> Option<u64>| rate(&windows, recorded, of);
    let mut domains = parts(names(basis.filter));
    if domains.iter().all(|part| part.label == NO_NAME) {
        domains.clear();
    }
    let left: Vec<Part> = domains.split_off(domains.len().min(TOP_DOMAINS));
    domains.extend(summed_up(&left));
    let mut hours = [0_u64; 24];
    for day in &fold.heat {
        for (sum, packets) in hours.iter_mut().zip(day) {
            *sum = sum.saturating_add(*packets);
        }
    }
    let sources = parts(By::Dimension(Dimension::Source));
    let families = parts(By::Family);
    let packets = rate(|sum| Some(sum.packets)).unwrap_or(Rate {
        mean: 0.0,
        peak: 0.0,
        peak_end: timestamp(basis.buckets.last().map_or(0, |bucket| bucket.end_ms)),
        peak_seconds: 0.0,
    });
    let numbers = Numbers {
        packets: &packets,
        sources: &sources,
        families: &families,
        hours: &hours,
        recorded_hours: recorded_hours(basis),
        windows: &windows,
        recorded_windows: recorded_windows(basis.buckets, level),
        unplaced: fold.heat_unplaced,
        zone: basis.zone,
    };
    Facts {
        findings: findings::findings(&numbers),
        snippets: snippets::snippets(fold, basis.filter, &sources),
        unknown: findings::unknown(fold, basis.filter, !domains.is_empty()),
        tcp_connections: fold
            .matched
            .tcp_connections
            .and_then(|_| rate(|sum| sum.tcp_connections)),
        quic_connections: fold
            .matched
            .quic_connections
            .and_then(|_| rate(|sum| sum.quic_connections)),
        packets,
        sources,
        families,
        hours,
        previous: basis.previous,
        domains,
        countries: parts(By::Dimension(Dimension::Country)),
        anycast: parts(By::Anycast),
        undecided: fold.undecided,
    }
}

fn summed_up(left: &[Part]) -> Option<Part> {
    let mut rest = Part {
        label: format!("{} more", left.len()),
        sum: Sum::default(),
        share: 0.0,
        destinations: 0,
    };
    for part in left {
        rest.sum.add(part.sum);
        rest.share += part.share;
        rest.destinations += part.destinations;
    }
    (!left.is_empty()).then_some(rest)
}

/// The longest buckets of the period, when they are hours or days: peaks are compared among equals, so shorter windows are then joined
/// to as long ones.
fn level(windows: &[Window]) -> Option<i64> {
    let longest = windows.iter().map(|window| window.length_ms).max()?;
    [DAY, HOUR].into_iter().find(|level| longest >= *level)
}

/// The end of the hour or the day that ends at a moment or holds it.
fn end_of(end_ms: i64, level: i64) -> i64 {
    ((end_ms - 1).div_euclid(level) + 1) * level
}

/// Each once.
fn windows(fold: &Fold<'_>, level: Option<i64>) -> Vec<Window> {
    let mut windows = fold.windows.clone();
    if let Some(level) = level {
        for window in windows.iter_mut().filter(|window| window.length_ms < level) {
            window.end_ms = end_of(window.end_ms, level);
            window.length_ms = level;
        }
    }
    windows.sort_by_key(|window| (window.end_ms, window.length_ms));
    windows.dedup_by(|next, window| {
        let same = (next.end_ms, next.length_ms) == (window.end_ms, window.length_ms);
        if same {
            window.sum.add(next.sum);
        }
        same
    });
    windows
}

/// Per minute: over all that was recorded, and in the window with most.
fn rate(windows: &[Window], recorded_ms: u64, of: fn(&Sum) -> Option<u64>) -> Option<Rate> {
    let per_minute = |count: u64, milliseconds: f64| count as f64 * MINUTE as f64 / milliseconds.max(1.0);
    let count = |window: &Window| of(&window.sum).unwrap_or(0);
    let all: u64 = windows.iter().map(count).sum();
    let peak = windows.iter().max_by(|a, b| {
        let rate = |window: &Window| per_minute(count(window), window.length_ms as f64);
        // The first of equal ones.
        rate(a).total_cmp(&rate(b)).then_with(|| b.end_ms.cmp(&a.end_ms))
    })?;
    Some(Rate {
        mean: per_minute(all, recorded_ms as f64),
        peak: per_minute(count(peak), peak.length_ms as f64),
        peak_end: timestamp(peak.end_ms),
        peak_seconds: peak.length_ms as f64 / 1000.0,
    })
}

/// Local hours of the day of which anything was recorded.
fn recorded_hours(basis: &Basis<'_>) -> [bool; 24] {
    let mut recorded = [false; 24];
    for bucket in basis.buckets {
        let local = basis
            .zone
            .to_datetime(timestamp((bucket.end_ms - 1).div_euclid(HOUR) * HOUR));
        if let Some(hour) = recorded.get_mut(usize::from(local.hour().unsigned_abs())) {
            *hour = true;
        }
    }
    recorded
}

/// How many windows there are, with traffic to the target or without.
fn recorded_windows(buckets: &[Bucket], level: Option<i64>) -> usize {
    let mut ends: Vec<i64> = buckets
        .iter()
        .map(|bucket| match level {
            Some(level) => end_of(bucket.end_ms, level),
            None if bucket.length_ms < MINUTE as u64 => end_of(bucket.end_ms, MINUTE),
            None => bucket.end_ms,
        })
        .collect();
    ends.sort_unstable();
    ends.dedup();
    ends.len()
}
