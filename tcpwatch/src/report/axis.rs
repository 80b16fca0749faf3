//! One way to group the traffic: which group a row belongs to, what groups add up to, and the section they make.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::history::{Known, Origin};
use crate::record::Scope;
use crate::report::fold::{Moment, Tables};
use crate::report::{Dimension, Group, Part, Rest, Section, Sort, Sum};

mod label;

use label::{names, place};

/// No group yet.
const NONE: u32 = u32::MAX;

/// Groups whose addresses are in networks or countries of their own.
const MIXED: u32 = u32::MAX - 1;

/// What is grouped by: what `--by` has, and what only an answer to `--for` needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Dimension(Dimension),
    Family,
    Anycast,
    /// Names as they are, and not their domains.
    Names,
}

/// What rows have in common when they are in one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Country(Arc<str>),
    Network(u32),
    City(Arc<str>, Option<Arc<str>>),
    /// Nothing else is known.
    Scope(Scope),
    Source(Option<IpAddr>),
    Interface(Arc<str>),
    Address(IpAddr),
    Prefix(IpNet),
    /// The sum of destinations that were not kept one by one.
    NotKept,
    /// Domains of names; none: no names.
    Name(Option<Arc<str>>),
    /// By number; 0: no names.
    Names(u32),
    /// Its beginning.
    Hour(i64),
    /// A day of which no hours are kept.
    WholeDay(Date),
    Day(Date),
    /// 4 or 6.
    Family(Option<u8>),
    Anycast(Option<bool>),
}

/// A row of the history, by numbers of what it refers to.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) place: u32,
    pub(super) known: &'a Known,
    pub(super) origin: u32,
    pub(super) from: &'a Origin,
    pub(super) names: u32,
    /// Of the names.
    pub(super) domain: Option<&'a Arc<str>>,
    pub(super) address: Option<(u32, IpAddr)>,
    pub(super) moment: &'a Moment,
    pub(super) sum: Sum,
}

struct Accumulated {
    key: Key,
    sum: Sum,
    destinations: u64,
    /// Packets by step; steps without are missing, one may be there twice.
    series: Vec<(u16, u64)>,
    /// Its place; see [`NONE`] and [`MIXED`].
    place: u32,
    /// The last ones; 0: none.
    names: u32,
}

pub(super) struct Axis {
    pub(super) by: By,
    index: HashMap<Key, u32>,
    groups: Vec<Accumulated>,
    /// Groups by the number of what decides on them (place, origin, names or address).
    cached: Vec<u32>,
    /// By the number of an address: the group that it was first met in.
    first: Vec<u32>,
    /// Further groups that an address was met in.
    further: HashSet<(u32, u32)>,
}

impl Axis {
    pub(super) fn new(by: By) -> Self {
        Self {
            by,
            index: HashMap::new(),
            groups: Vec::new(),
            cached: Vec::new(),
            first: Vec::new(),
            further: HashSet::new(),
        }
    }

    pub(super) fn add(&mut self, row: &Row<'_>) {
        let at = self.group(row);
        let by_address = matches!(self.by, By::Dimension(Dimension::Destination | Dimension::Prefix));
        let is_new = row.address.is_some_and(|(number, _)| self.is_new(number, at));
        let Some(group) = self.groups.get_mut(at as usize) else {
            return;
        };
        group.sum.add(row.sum);
        group.destinations += u64::from(is_new);
        let bin = row.moment.bin;
        match group.series.last_mut() {
            Some((last, packets)) if *last == bin => *packets = packets.saturating_add(row.sum.packets),
            Some(_) | None => group.series.push((bin, row.sum.packets)),
        }
        if by_address && row.address.is_some() {
            let same_group = self.by == By::Dimension(Dimension::Prefix)
                && group.place != NONE
                && group.place != row.place;
            group.place = if same_group { MIXED } else { row.place };
        }
        if row.names > 0 && self.by == By::Dimension(Dimension::Destination) {
            group.names = row.names;
        }
    }

    fn is_new(&mut self, address: u32, group: u32) -> bool {
        let at = address as usize;
        if self.first.len() <= at {
            self.first.resize((at + 1).next_power_of_two(), NONE);
        }
        match self.first.get_mut(at) {
            Some(first) if *first == NONE => {
                *first = group;
                true
            }
            Some(first) if *first == group => false,
            Some(_) | None => self.further.insert((address, group)),
        }
    }

    fn group(&mut self, row: &Row<'_>) -> u32 {
        let number = match self.by {
            By::Anycast => row.place,
            By::Names => row.names,
            By::Family => {
                let address = row.address.map(|(_, address)| address).or(row.from.source);
                address.map_or(2, |address| u32::from(address.is_ipv6()))
            }
            By::Dimension(by) => match by {
                Dimension::Country | Dimension::Network | Dimension::City | Dimension::Scope => row.place,
                Dimension::Source | Dimension::Interface => row.origin,
                Dimension::Name => row.names,
                Dimension::Destination | Dimension::Prefix => {
                    row.address.map_or(0, |(number, _)| number.saturating_add(1))
                }
                Dimension::Hour | Dimension::Day => row.moment.number,
            },
        } as usize;
        if self.cached.len() <= number {
            self.cached.resize((number + 1).next_power_of_two(), NONE);
        }
        if let Some(group) = self.cached.get(number).filter(|group| **group != NONE) {
            return *group;
        }
        let key = self.key(row);
        let groups = &mut self.groups;
        let group = *self.index.entry(key).or_insert_with_key(|key| {
            groups.push(Accumulated {
                key: key.clone(),
                sum: Sum::default(),
                destinations: 0,
                series: Vec::new(),
                place: NONE,
                names: 0,
            });
            u32::try_from(groups.len() - 1).unwrap_or(NONE)
        });
        if let Some(cached) = self.cached.get_mut(number) {
            *cached = group;
        }
        group
    }

    fn key(&self, row: &Row<'_>) -> Key {
        let place = &row.known.place;
        let known = match self.by {
            By::Anycast => Some(Key::Anycast(place.anycast)),
            By::Names => Some(Key::Names(row.names)),
            By::Family => {
                let address = row.address.map(|(_, address)| address).or(row.from.source);
                Some(Key::Family(
                    address.map(|address| if address.is_ipv6() { 6 } else { 4 }),
                ))
            }
            By::Dimension(by) => match by {
                Dimension::Country => place.country.clone().map(Key::Country),
                Dimension::Network => place.asn.map(Key::Network),
                Dimension::City => place
                    .city
                    .clone()
                    .map(|city| Key::City(city, place.country.clone())),
                Dimension::Scope => None,
                Dimension::Destination => Some(
                    row.address
                        .map_or(Key::NotKept, |(_, address)| Key::Address(address)),
                ),
                Dimension::Prefix => Some(
                    row.address
                        .map_or(Key::NotKept, |(_, address)| Key::Prefix(prefix(address))),
                ),
                Dimension::Source => Some(Key::Source(row.from.source)),
                Dimension::Interface => Some(Key::Interface(Arc::clone(&row.from.interface))),
                Dimension::Name => Some(Key::Name(row.domain.cloned())),
                Dimension::Hour => Some(
                    row.moment
                        .hour_ms
                        .map_or(Key::WholeDay(row.moment.date), Key::Hour),
                ),
                Dimension::Day => Some(Key::Day(row.moment.date)),
            },
        };
        known.unwrap_or(Key::Scope(row.known.scope))
    }

    /// The groups as parts of a whole, most packets first.
    pub(super) fn parts(&self, tables: &Tables, zone: &TimeZone) -> Vec<Part> {
        let whole: u64 = self.groups.iter().map(|group| group.sum.packets).sum();
        let mut parts: Vec<Part> = self
            .groups
            .iter()
            .map(|group| Part {
                label: names(&group.key, self.by, tables, zone).1,
                sum: group.sum,
                share: group.sum.packets as f64 / whole.max(1) as f64,
                destinations: group.destinations,
            })
            .collect();
        parts.sort_by(|a, b| {
            b.sum
                .packets
                .cmp(&a.sum.packets)
                .then_with(|| a.label.cmp(&b.label))
        });
        parts
    }

    /// The section: `top` rows and what is left; one row more is shown rather than summed up.
    pub(super) fn section(
        &self,
        by: Dimension,
        sort: Sort,
        top: usize,
        tables: &Tables,
        zone: &TimeZone,
        steps: usize,
    ) -> Section {
        let weight = |group: &Accumulated| match sort {
            Sort::Packets => group.sum.packets,
            Sort::Bytes => group.sum.bytes,
            Sort::Connections => group.sum.connections().unwrap_or(group.sum.packets),
        };
        let mut order: Vec<&Accumulated> = self
            .groups
            .iter()
            .filter(|group| group.key != Key::NotKept)
            .collect();
        let by_weight = |group: &&Accumulated| (Reverse(weight(group)), Reverse(group.sum.packets));
        order.sort_by(|a, b| {
            by_weight(a)
                .cmp(&by_weight(b))
                .then_with(|| self.order(a, b, tables))
        });
        let left = if order.len() > top.saturating_add(1) {
            order.split_off(top)
        } else {
            Vec::new()
        };
        if matches!(by, Dimension::Hour | Dimension::Day) {
            order.sort_by_key(|group| beginning(&group.key, zone));
        }
        let not_kept = self.groups.iter().filter(|group| group.key == Key::NotKept);
        let groups = order
            .into_iter()
            .chain(not_kept)
            .map(|group| self.row(group, tables, zone, steps))
            .collect();
        let rest = (!left.is_empty()).then(|| {
            let mut rest = Rest {
                groups: left.len() as u64,
                sum: Sum::default(),
                series: vec![0; steps],
            };
            for group in left {
                rest.sum.add(group.sum);
                spread(&group.series, &mut rest.series);
            }
            rest
        });
        Section { by, groups, rest }
    }

    /// Between groups with as much traffic.
    fn order(&self, a: &Accumulated, b: &Accumulated, tables: &Tables) -> std::cmp::Ordering {
        match (&a.key, &b.key) {
            (Key::Address(a), Key::Address(b)) => a.cmp(b),
            (Key::Prefix(a), Key::Prefix(b)) => a.cmp(b),
            (Key::Hour(a), Key::Hour(b)) => a.cmp(b),
            (Key::Network(a), Key::Network(b)) => a.cmp(b),
            _ => {
                let label = |group: &Accumulated| names(&group.key, self.by, tables, &TimeZone::UTC);
                label(a).cmp(&label(b))
            }
        }
    }

    fn row(&self, group: &Accumulated, tables: &Tables, zone: &TimeZone, steps: usize) -> Group {
        let (key, label) = names(&group.key, self.by, tables, zone);
        let known = tables.known.get(group.place as usize);
        let (mut country, mut asn) = (None, None);
        match &group.key {
            Key::Country(code) => country = Some(Arc::clone(code)),
            Key::City(_, code) => country.clone_from(code),
            Key::Network(number) => asn = Some(*number),
            _ => {
                if let Some(known) = known {
                    country.clone_from(&known.place.country);
                    asn = known.place.asn;
                }
            }
        }
        let mut series = vec![0; steps];
        spread(&group.series, &mut series);
        Group {
            key,
            label,
            place: known.map(place).unwrap_or_default(),
            country,
            asn,
            address: match group.key {
                Key::Address(address) => Some(address),
                Key::Source(source) => source,
                _ => None,
            },
            names: tables.names_of(group.names),
            sum: group.sum,
            destinations: group.destinations,
            series,
        }
    }
}

fn spread(sparse: &[(u16, u64)], series: &mut [u64]) {
    for (bin, packets) in sparse {
        if let Some(step) = series.get_mut(usize::from(*bin)) {
            *step = step.saturating_add(*packets);
        }
    }
}

fn beginning(key: &Key, zone: &TimeZone) -> i64 {
    match key {
        Key::Hour(ms) => *ms,
        Key::Day(date) | Key::WholeDay(date) => date
            .to_zoned_datetime(zone.clone())
            .map_or(0, |time| time.timestamp().as_millisecond()),
        _ => 0,
    }
}

/// /24 or /48: what one customer or site usually has.
pub(super) fn prefix(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), 24))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), 48))
        }
    }
}
