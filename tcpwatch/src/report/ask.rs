//! A question to a history, and the report that answers it.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::HashMap;
use tcpwatch_common::Counts;

use crate::enrich::Enricher;
use crate::history::{Bucket, HistoryError, Plan, Reader, Resolution};
use crate::record::{GeoFile, RecordTotals};
use crate::report::axis::By;
use crate::report::bins::{DAY, timestamp};
use crate::report::facts::{self, Basis};
use crate::report::fold::Fold;
use crate::report::{Banned, Bins, Dimension, Filter, Period, Previous, Proof, Report, SCHEMA, Sort};

const HOUR: i64 = 3_600_000;

/// Up to here a period is answered for interval by interval.
const SHORT_MS: i64 = 6 * HOUR;

/// Up to here it is answered for by hours.
const MEDIUM_MS: i64 = 96 * HOUR;

/// As many bytes of intervals are read to find the peaks of a longer period: some millions of rows.
const MOST_BYTES: u64 = 60_000_000;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// About when.
    pub period: Period,
    /// The sections, in order.
    pub by: Vec<Dimension>,
    /// About what; none: all traffic.
    pub filter: Option<Filter>,
    /// The order of rows.
    pub sort: Sort,
    /// Rows of each section, as asked for; none: `usual`, and hours and days all.
    pub top: Option<usize>,
    /// Rows of each section when nothing was asked for.
    pub usual: usize,
    /// The zone of days and hours.
    pub zone: TimeZone,
    /// Whether the report is for a page: hours are wanted where they are kept, for the heat map, however long the period is, and
    /// all countries, for the map.
    pub hours: bool,
}

/// Asks. With `places`, addresses that were kept are looked up again.
///
/// # Errors
/// The history cannot be read.
pub fn ask(
    reader: &Reader,
    question: &Question,
    mut places: Option<&mut dyn Enricher>,
) -> Result<Report, HistoryError> {
    let Question {
        period, filter, zone, ..
    } = question;
    let (from_ms, to_ms) = (period.from.as_millisecond(), period.to.as_millisecond());
    let plan = reader.plan(from_ms, to_ms, coarsest(reader, question)?);
    let buckets = reader.buckets(&plan)?;
    let bins = bins(&plan, &buckets, zone);
    let dimensions = question.by.iter().copied().map(By::Dimension);
    let details = filter.iter().flat_map(facts::axes);
    let by: Vec<By> = dimensions.chain(details).collect();
    let regeo = places.as_ref().map(|places| places.files());
    let mut fold = Fold::new(bins, zone.clone(), filter.as_ref(), by, filter.is_some());
    reader.flows(&plan, &mut |flow| fold.add(&flow, again(&mut places)))?;
    let facts = match filter {
        Some(filter) => {
            let before = Period {
                from: period.before().from,
                to: timestamp(plan.from_ms),
            };
            Some(facts::facts(
                &fold,
                &Basis {
                    filter,
                    zone,
                    buckets: &buckets,
                    previous: previous(reader, before, question, again(&mut places))?,
                },
            ))
        }
        None => None,
    };
    let (hosts, geo) = reader.sources()?;
    let banned = reader.banned(&plan)?;
    let extent = reader.extent()?;
    let mut report = assemble(&fold, question, &plan, &buckets);
    report.hosts = hosts;
    report.extent = extent.map(|(first, last)| Period {
        from: timestamp(first),
        to: timestamp(last),
    });
    report.geo = regeo.unwrap_or_else(|| geo.map(|json| geo_files(&json)).unwrap_or_default());
    report.banned = banned
        .into_iter()
        .map(|(prefix, Counts { packets, bytes })| Banned {
            prefix,
            packets,
            bytes,
        })
        .collect();
    report.facts = facts;
    Ok(report)
}

/// The longest buckets that answer well enough.
fn coarsest(reader: &Reader, question: &Question) -> Result<Resolution, HistoryError> {
    let Question { period, by, .. } = question;
    let (from_ms, to_ms) = (period.from.as_millisecond(), period.to.as_millisecond());
    let length = to_ms - from_ms;
    if length <= SHORT_MS {
        return Ok(Resolution::Interval);
    }
    // Peaks are those of minutes where that is no great effort.
    if question.filter.is_some() && reader.weight(from_ms, to_ms)? <= MOST_BYTES {
        return Ok(Resolution::Interval);
    }
    let is_utc = question
        .zone
        .to_fixed_offset()
        .is_ok_and(|offset| offset.seconds() == 0);
    let hours = question.hours
        || question.filter.is_some()
        || by.contains(&Dimension::Hour)
        || (by.contains(&Dimension::Day) && !is_utc);
    if length <= MEDIUM_MS || hours {
        Ok(Resolution::Hour)
    } else {
        Ok(Resolution::Day)
    }
}

fn bins(plan: &Plan, buckets: &[Bucket], zone: &TimeZone) -> Bins {
    let bucket_ms = match plan.coarsest() {
        Some(Resolution::Day) => DAY,
        Some(Resolution::Hour) => HOUR,
        Some(Resolution::Interval) | None => {
            // The usual length; a run's last interval is shorter, and a clock ticks a little fast or slow.
            let mut lengths: Vec<u64> = buckets.iter().map(|bucket| bucket.length_ms).collect();
            lengths.sort_unstable();
            let usual = lengths.get(lengths.len() / 2).copied().unwrap_or(1000);
            i64::try_from((usual + 50) / 100 * 100).unwrap_or(HOUR)
        }
    };
    Bins::new(plan.from_ms, plan.to_ms, bucket_ms, zone)
}

/// The period before; none: nothing was recorded then.
fn previous(
    reader: &Reader,
    period: Period,
    question: &Question,
    mut places: Option<&mut dyn Enricher>,
) -> Result<Option<Previous>, HistoryError> {
    let (from_ms, to_ms) = (period.from.as_millisecond(), period.to.as_millisecond());
    let coarsest = if to_ms - from_ms <= SHORT_MS {
        Resolution::Interval
    } else if to_ms - from_ms <= MEDIUM_MS {
        Resolution::Hour
    } else {
        Resolution::Day
    };
    let mut plan = reader.plan(from_ms, to_ms, coarsest);
    // An hour or a day that reaches into the period itself belongs to that.
    for length in [HOUR, DAY] {
        if plan.to_ms > to_ms {
            plan = reader.plan(from_ms, to_ms.div_euclid(length) * length, coarsest);
        }
    }
    let buckets = reader.buckets(&plan)?;
    if buckets.is_empty() {
        return Ok(None);
    }
    let bins = Bins::new(
        plan.from_ms,
        plan.to_ms,
        plan.to_ms - plan.from_ms,
        &question.zone,
    );
    let mut fold = Fold::new(bins, question.zone.clone(), question.filter.as_ref(), [], false);
    reader.flows(&plan, &mut |flow| fold.add(&flow, again(&mut places)))?;
    Ok(Some(Previous {
        period: Period {
            from: timestamp(plan.from_ms),
            to: timestamp(plan.to_ms),
        },
        recorded_seconds: recorded_seconds(&buckets),
        matched: fold.matched,
        all: fold.all,
    }))
}

/// The same for another row.
fn again<'a>(places: &'a mut Option<&mut dyn Enricher>) -> Option<&'a mut dyn Enricher> {
    match places {
        Some(places) => Some(&mut **places),
        None => None,
    }
}

fn recorded_seconds(buckets: &[Bucket]) -> f64 {
    let milliseconds: u64 = buckets.iter().map(|bucket| bucket.length_ms).sum();
    milliseconds as f64 / 1000.0
}

fn assemble(fold: &Fold<'_>, question: &Question, plan: &Plan, buckets: &[Bucket]) -> Report {
    let totals = totals(buckets);
    let intervals = buckets.iter().map(|bucket| bucket.intervals).sum();
    let unbalanced = buckets.iter().map(|bucket| bucket.unbalanced).sum();
    let period = Period {
        from: timestamp(plan.from_ms),
        to: timestamp(plan.to_ms),
    };
    let Period { from, to } = question.period;
    let asked = (from.as_millisecond(), to.as_millisecond());
    let top = |by: Dimension| match (question.top, by) {
        (Some(top), _) => top,
        (None, Dimension::Hour | Dimension::Day) => usize::MAX,
        // There are no more than 300, and the map shows those that are in the section.
        (None, Dimension::Country) if question.hours => usize::MAX,
        (None, _) => question.usual,
    };
    let sections = question
        .by
        .iter()
        .zip(&fold.axes)
        .map(|(by, axis)| {
            axis.section(
                *by,
                question.sort,
                top(*by),
                &fold.tables,
                &question.zone,
                fold.series.len(),
            )
        })
        .collect();
    Report {
        schema: SCHEMA,
        hosts: Vec::new(),
        zone: zone_name(&question.zone, period),
        period,
        // A history counts in milliseconds.
        asked: (asked != (plan.from_ms, plan.to_ms)).then_some(question.period),
        extent: None,
        intervals,
        recorded_seconds: recorded_seconds(buckets),
        unbalanced,
        skbs: buckets.iter().map(|bucket| bucket.skbs).sum(),
        proof: proof(fold, &totals, intervals, unbalanced),
        totals,
        filter: question.filter.as_ref().map(Filter::words),
        matched: fold.matched,
        all: fold.all,
        destinations: fold.destinations,
        sort: question.sort,
        bins: fold.bins(),
        series: fold.series.clone(),
        sections,
        heat: fold.heat,
        heat_unplaced: fold.heat_unplaced,
        banned: Vec::new(),
        geo: Vec::new(),
        facts: None,
    }
}

fn zone_name(zone: &TimeZone, period: Period) -> String {
    zone.iana_name().map_or_else(
        || {
            let end = period.to.to_zoned_datetime(zone.clone());
            end.strftime("%Z").to_string()
        },
        str::to_owned,
    )
}

fn totals(buckets: &[Bucket]) -> RecordTotals {
    let mut sum = RecordTotals::default();
    for Bucket { totals, .. } in buckets {
        sum.seen.add(totals.seen);
        sum.counted.add(totals.counted);
        sum.overflow.add(totals.overflow);
        sum.banned.add(totals.banned);
        sum.served.add(totals.served);
        sum.other_source.add(totals.other_source);
        sum.malformed.add(totals.malformed);
        sum.not_ip.add(totals.not_ip);
    }
    sum
}

fn proof(fold: &Fold<'_>, totals: &RecordTotals, intervals: u64, unbalanced: u64) -> Proof {
    let rows = Counts {
        packets: fold.all.packets,
        bytes: fold.all.bytes,
    };
    let mut outcomes = Counts::default();
    for counts in totals.outcomes() {
        outcomes.add(counts);
    }
    Proof {
        rows,
        counted: totals.counted,
        outcomes,
        seen: totals.seen,
        balanced: intervals.saturating_sub(unbalanced),
        holds: rows == totals.counted && outcomes == totals.seen && unbalanced == 0,
    }
}

/// As the record has them. What cannot be read is left out.
fn geo_files(json: &str) -> Vec<GeoFile> {
    let Ok(files) = serde_json::from_str::<Vec<HashMap<String, String>>>(json) else {
        return Vec::new();
    };
    files
        .into_iter()
        .filter_map(|file| {
            Some(GeoFile {
                file: file.get("file")?.as_str().into(),
                kind: file.get("type")?.as_str().into(),
                built: file.get("built")?.parse::<Date>().ok()?,
            })
        })
        .collect()
}
