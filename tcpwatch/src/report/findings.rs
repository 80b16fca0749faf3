//! What the numbers of a target show, in words: only what is true of them, and what cannot be known.

use std::net::{IpAddr, Ipv6Addr};

use jiff::tz::TimeZone;

use crate::report::fold::{Fold, Window};
use crate::report::text::{local_time, sentence_share};
use crate::report::{Filter, Finding, Part, Rate};
use crate::sink::text::thousands;

/// From here on a peak is called a burst: so many times the mean.
const BURST: f64 = 10.0;

/// Half of the traffic in this part of the time is "few minutes".
const FEW: f64 = 0.05;

/// With fewer windows than this nothing is said about how traffic is spread over them.
const ENOUGH_WINDOWS: usize = 20;

/// An hour of the day with this part of the mean hour's traffic is no night.
const BUSY_HOUR: f64 = 0.25;

pub(super) struct Numbers<'a> {
    pub(super) packets: &'a Rate,
    pub(super) sources: &'a [Part],
    pub(super) families: &'a [Part],
    pub(super) hours: &'a [u64; 24],
    pub(super) recorded_hours: [bool; 24],
    pub(super) windows: &'a [Window],
    pub(super) recorded_windows: usize,
    /// Packets of which the hour is not known.
    pub(super) unplaced: u64,
    pub(super) zone: &'a TimeZone,
}

pub(super) fn findings(numbers: &Numbers<'_>) -> Vec<Finding> {
    let found = [
        ("several_sources", several_sources(numbers)),
        ("both_families", both_families(numbers)),
        ("shared_range", shared_range(numbers)),
        ("burst", burst(numbers)),
        ("few_minutes", few_minutes(numbers)),
        ("all_hours", all_hours(numbers)),
    ];
    found
        .into_iter()
        .filter_map(|(kind, text)| text.map(|text| Finding { kind, text }))
        .collect()
}

fn own(part: &Part) -> Option<IpAddr> {
    part.label.parse().ok()
}

fn several_sources(numbers: &Numbers<'_>) -> Option<String> {
    let own: Vec<&Part> = numbers
        .sources
        .iter()
        .filter(|part| own(part).is_some())
        .collect();
    if own.len() < 2 {
        return None;
    }
    let split: Vec<String> = own
        .iter()
        .take(4)
        .map(|part| format!("{} {}", part.label, sentence_share(part.share)))
        .collect();
    let more = match own.len() {
        ..=4 => String::new(),
        many => format!(" and {} more", many - 4),
    };
    Some(format!(
        "{} own addresses send to it: {}{more}. To the other side these are as many senders.",
        own.len(),
        split.join(", ")
    ))
}

fn both_families(numbers: &Numbers<'_>) -> Option<String> {
    let share = |label: &str| {
        let part = numbers.families.iter().find(|part| part.label == label)?;
        Some(sentence_share(part.share))
    };
    let (v4, v6) = (share("IPv4")?, share("IPv6")?);
    Some(format!(
        "IPv4 and IPv6 are both used for it: {v4} and {v6}. A client that uses both appears under two addresses."
    ))
}

/// Own IPv6 addresses that lie in one /64: to others they look like one network.
fn shared_range(numbers: &Numbers<'_>) -> Option<String> {
    let network = |part: &Part| match own(part)? {
        IpAddr::V6(v6) => Some(v6.to_bits() & !u128::from(u64::MAX)),
        IpAddr::V4(_) => None,
    };
    let mut networks: Vec<(u128, f64)> = numbers
        .sources
        .iter()
        .filter_map(|part| Some((network(part)?, part.share)))
        .collect();
    networks.sort_by_key(|(network, _)| *network);
    let shared = networks
        .chunk_by(|a, b| a.0 == b.0)
        .max_by_key(|together| together.len())
        .filter(|together| together.len() > 1)?;
    let (prefix, _) = shared.first()?;
    let share: f64 = shared.iter().map(|(_, share)| share).sum();
    Some(format!(
        "{} own IPv6 addresses of {}/64 send to it ({} of its packets). Whoever judges IPv6 by /64 sees one sender in them, \
         and everybody else whose addresses are in that /64.",
        shared.len(),
        Ipv6Addr::from_bits(*prefix),
        sentence_share(share)
    ))
}

fn burst(numbers: &Numbers<'_>) -> Option<String> {
    let Rate {
        mean, peak, peak_end, ..
    } = *numbers.packets;
    (numbers.recorded_windows >= ENOUGH_WINDOWS && peak > BURST * mean).then(|| {
        format!(
            "Bursts: the busiest {} ended {} with {:.0} times the mean.",
            window(numbers),
            local_time(peak_end, numbers.zone),
            peak / mean
        )
    })
}

fn window(numbers: &Numbers<'_>) -> &'static str {
    match numbers.packets.peak_seconds {
        ..=60.0 => "minute",
        ..3000.0 => "interval",
        ..=3600.0 => "hour",
        _ => "day",
    }
}

fn few_minutes(numbers: &Numbers<'_>) -> Option<String> {
    if numbers.recorded_windows < ENOUGH_WINDOWS {
        return None;
    }
    let mut packets: Vec<u64> = numbers.windows.iter().map(|window| window.sum.packets).collect();
    packets.sort_unstable_by(|a, b| b.cmp(a));
    let all: u64 = packets.iter().sum();
    let mut sum = 0;
    let needed = packets
        .iter()
        .take_while(|packets| {
            let more = sum * 2 < all;
            sum += **packets;
            more
        })
        .count();
    (all > 0 && needed as f64 <= FEW * numbers.recorded_windows as f64).then(|| {
        format!(
            "Half of its packets left in {} of {} recorded {}s.",
            thousands(needed as u64),
            thousands(numbers.recorded_windows as u64),
            window(numbers)
        )
    })
}

fn all_hours(numbers: &Numbers<'_>) -> Option<String> {
    if numbers.unplaced > 0 || numbers.recorded_hours.contains(&false) {
        return None;
    }
    let all: u64 = numbers.hours.iter().sum();
    let (hour, least) = numbers
        .hours
        .iter()
        .enumerate()
        .min_by_key(|(_, packets)| **packets)?;
    let mean = all as f64 / 24.0;
    (all > 0 && *least as f64 >= BUSY_HOUR * mean).then(|| {
        format!(
            "Traffic at every hour of the day; the quietest ({hour:02}–{:02} h) has {} of the mean hour's. People sleep; machines, and \
             people in many time zones, look like this.",
            (hour + 1) % 24,
            sentence_share(*least as f64 / mean)
        )
    })
}

/// What cannot be known from here.
pub(super) fn unknown(fold: &Fold<'_>, filter: &Filter, has_names: bool) -> Vec<String> {
    let mut unknown = vec![
        "What the other side makes of this traffic, and whether it treats an address as suspicious."
            .to_owned(),
        "Who sent it: behind a proxy, a VPN or NAT all clients leave from the same own addresses.".to_owned(),
        "What was asked for: contents are encrypted, and so are some names.".to_owned(),
    ];
    if !filter.domains().is_empty() && !has_names {
        unknown.push(
            "Which names were used: none are recorded in this period, so what belongs to its domains in others' networks is missing."
                .to_owned(),
        );
    }
    if fold.matched.connections().is_none() && fold.matched.packets > 0 {
        unknown.push("How many connections there were: they were not counted in this period.".to_owned());
    }
    if fold.undecided.packets > 0 {
        let share = fold.undecided.packets as f64 / fold.all.packets.max(1) as f64;
        unknown.push(format!(
            "Whether {} packets ({} of all) belong to it: too little of their destinations is kept or known.",
            thousands(fold.undecided.packets),
            sentence_share(share)
        ));
    }
    unknown
}
