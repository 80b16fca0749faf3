//! Rows of the history, summed up in one pass for all sections at once.
//!
//! A row refers to what is known of its destination, to its origin and to its names by reference, and there are few of each:
//! everything that depends on them alone is decided once, and found again by number.

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::domain::together;
use crate::enrich::{Enricher, scope};
use crate::history::{Flow, Known, Origin};
use crate::report::axis::{Axis, By, Row};
use crate::report::bins::{DAY, timestamp};
use crate::report::filter::{Filter, Verdict};
use crate::report::{Bins, Sum};

mod numbers;

use numbers::Numbers;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// The parts of rows, by number.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) known: Vec<Known>,
    pub(super) origins: Vec<Origin>,
    /// Number 0: none.
    pub(super) names: Vec<Vec<Arc<str>>>,
    /// The domains of the names of the same number; none: there are none.
    pub(super) domains: Vec<Option<Arc<str>>>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) country_names: HashMap<Arc<str>, Arc<str>>,
    pub(super) network_names: HashMap<u32, Arc<str>>,
}

impl Tables {
    /// The names of a number.
    pub(super) fn names_of(&self, number: u32) -> Vec<Arc<str>> {
        self.names.get(number as usize).cloned().unwrap_or_default()
    }
}

/// What follows from the time of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    end_ms: i64,
    length_ms: i64,
    /// Of the moments that there are.
    pub(super) number: u32,
    pub(super) bin: u16,
    /// When its hour (UTC) begins; none: only the day is kept.
    pub(super) hour_ms: Option<i64>,
    /// Its local day.
    pub(super) date: Date,
    /// Local weekday from Monday, and hour.
    heat: Option<(usize, usize)>,
    /// See [`Window`].
    window: (i64, i64),
}

/// A minute, or a bucket where they are longer: traffic that matches, to find peaks. (An interval belongs to the minute that it
/// ended in, so that one cut short by the program's end makes no peak.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) end_ms: i64,
    pub(super) length_ms: i64,
    pub(super) sum: Sum,
}

/// The sums of a period.
pub(super) struct Fold<'a> {
    bins: Bins,
    zone: TimeZone,
    filter: Option<&'a Filter>,
    /// Whether an answer to `--for` is wanted, and not only a sum.
    in_detail: bool,
    known: Numbers<Known>,
    origins: Numbers<Origin>,
    names: Numbers<Vec<Arc<str>>>,
    addresses: HashMap<IpAddr, u32>,
    /// By number of the address, when it is looked up again.
    places: Vec<u32>,
    /// By number of the place and of the names.
    verdicts: (Vec<Verdict>, Vec<Verdict>),
    moments: Vec<Moment>,
    moment: usize,
    matching: Vec<bool>,
    pub(super) tables: Tables,
    pub(super) axes: Vec<Axis>,
    pub(super) all: Sum,
    pub(super) matched: Sum,
    pub(super) undecided: Sum,
    pub(super) destinations: u64,
    pub(super) series: Vec<Sum>,
    pub(super) heat: [[u64; 24]; 7],
    pub(super) heat_unplaced: u64,
    /// Packets that match, by numbers of address and origin.
    pub(super) pairs: HashMap<(u32, u32), u64>,
    /// In the order in which they came; the same one may be there twice.
    pub(super) windows: Vec<Window>,
}

impl<'a> Fold<'a> {
    pub(super) fn new(
        bins: Bins,
        zone: TimeZone,
        filter: Option<&'a Filter>,
        by: impl IntoIterator<Item = By>,
        in_detail: bool,
    ) -> Self {
        let mut fold = Self {
            bins,
            zone,
            filter,
            in_detail,
            known: Numbers::new(),
            origins: Numbers::new(),
            names: Numbers::new(),
            addresses: HashMap::new(),
            places: Vec::new(),
            verdicts: (Vec::new(), Vec::new()),
            moments: Vec::new(),
            moment: 0,
            matching: Vec::new(),
            tables: Tables::default(),
            axes: by.into_iter().map(Axis::new).collect(),
            all: Sum::default(),
            matched: Sum::default(),
            undecided: Sum::default(),
            destinations: 0,
            series: vec![Sum::default(); bins.count],
            heat: [[0; 24]; 7],
            heat_unplaced: 0,
            pairs: HashMap::new(),
            windows: Vec::new(),
        };
        fold.names.of(&mut fold.tables.names, Vec::new());
        fold.tables.domains.push(None);
        let none = fold.filter.map_or(Verdict::Yes, |filter| filter.of_names(&[]));
        fold.verdicts.1.push(none);
        fold
    }

    /// The steps of its series.
    pub(super) fn bins(&self) -> Bins {
        self.bins
    }

    /// Adds a row; its address, if it was kept, is looked up again in `places`: in the same ones for every row.
    pub(super) fn add(&mut self, flow: &Flow<'_>, places: Option<&mut dyn Enricher>) {
        let sum = Sum {
            packets: flow.counts.packets,
            bytes: flow.counts.bytes,
            tcp_connections: flow.tcp,
            quic_connections: flow.quic,
        };
        self.all.add(sum);
        let place = (std::ptr::from_ref(flow.known).addr(), 0);
        let (mut place, is_new) = self.known.get(
            place,
            &mut self.tables.known,
            |known| known == flow.known,
            || flow.known.clone(),
        );
        if is_new {
            self.learn(place);
        }
        let names = if flow.names.is_empty() {
            0
        } else {
            self.number_names(flow.names)
        };
        let address = flow
            .address
            .map(|address| (self.number_address(address, places), address));
        if let Some((number, _)) = address
            && let Some(again) = self.places.get(number as usize)
        {
            place = *again;
        }
        match self.verdict(place, names, flow) {
            Verdict::Yes => {}
            Verdict::Perhaps => return self.undecided.add(sum),
            Verdict::No => return,
        }
        let origin = (std::ptr::from_ref(flow.origin).addr(), 0);
        let (origin, _) = self.origins.get(
            origin,
            &mut self.tables.origins,
            |origin| origin == flow.origin,
            || flow.origin.clone(),
        );
        let moment = self.moment(flow.end_ms, flow.length_ms);
        self.count(sum, address.map(|(number, _)| number), origin, &moment);
        let Some(known) = self.tables.known.get(place as usize) else {
            return;
        };
        let row = Row {
            place,
            known,
            origin,
            from: flow.origin,
            names,
            domain: self.tables.domains.get(names as usize).and_then(Option::as_ref),
            address,
            moment: &moment,
            sum,
        };
        for axis in &mut self.axes {
            axis.add(&row);
        }
    }

    fn count(&mut self, sum: Sum, address: Option<u32>, origin: u32, moment: &Moment) {
        self.matched.add(sum);
        if let Some(step) = self.series.get_mut(usize::from(moment.bin)) {
            step.add(sum);
        }
        match moment.heat {
            Some((day, hour)) => {
                let cell = self.heat.get_mut(day).and_then(|day| day.get_mut(hour));
                if let Some(cell) = cell {
                    *cell = cell.saturating_add(sum.packets);
                }
            }
            None => self.heat_unplaced = self.heat_unplaced.saturating_add(sum.packets),
        }
        if let Some(number) = address
            && let Some(is) = self.matching.get_mut(number as usize)
            && !*is
        {
            *is = true;
            self.destinations += 1;
        }
        if self.in_detail {
            let (end_ms, length_ms) = moment.window;
            match self.windows.last_mut() {
                Some(window) if window.end_ms == end_ms => window.sum.add(sum),
                Some(_) | None => self.windows.push(Window {
                    end_ms,
                    length_ms,
                    sum,
                }),
            }
            if let Some(number) = address {
                let packets = self.pairs.entry((number, origin)).or_default();
                *packets = packets.saturating_add(sum.packets);
            }
        }
    }

    /// Takes up what a place is called, and whether it matches.
    fn learn(&mut self, number: u32) {
        let Some(known) = self.tables.known.get(number as usize) else {
            return;
        };
        let place = &known.place;
        if let (Some(code), Some(name)) = (&place.country, &place.country_name) {
            self.tables
                .country_names
                .insert(Arc::clone(code), Arc::clone(name));
        }
        if let (Some(asn), Some(name)) = (place.asn, &place.network) {
            self.tables.network_names.insert(asn, Arc::clone(name));
        }
        let verdict = self.filter.map_or(Verdict::Yes, |filter| filter.of_place(known));
        self.verdicts.0.push(verdict);
    }

    fn number_names(&mut self, names: &[Arc<str>]) -> u32 {
        let (number, is_new) = self.names.get(
            (names.as_ptr().addr(), names.len()),
            &mut self.tables.names,
            |other| other.as_slice() == names,
            || names.to_vec(),
        );
        if is_new {
            let verdict = self.filter.map_or(Verdict::Yes, |filter| filter.of_names(names));
            self.verdicts.1.push(verdict);
            let domains = together(names.iter().map(|name| &**name));
            self.tables.domains.push(domains.map(Arc::from));
        }
        number
    }

    fn number_address(&mut self, address: IpAddr, places: Option<&mut dyn Enricher>) -> u32 {
        if let Some(number) = self.addresses.get(&address) {
            return *number;
        }
        let number = u32::try_from(self.tables.addresses.len()).unwrap_or(u32::MAX);
        self.addresses.insert(address, number);
        self.tables.addresses.push(address);
        self.matching.push(false);
        if let Some(places) = places {
            let known = Known {
                scope: scope(address),
                place: (*places.place(address)).clone(),
            };
            let (place, is_new) = self.known.of(&mut self.tables.known, known);
            if is_new {
                self.learn(place);
            }
            self.places.push(place);
        }
        number
    }

    fn verdict(&self, place: u32, names: u32, flow: &Flow<'_>) -> Verdict {
        let Some(filter) = self.filter else {
            return Verdict::Yes;
        };
        let of =
            |verdicts: &[Verdict], number: u32| verdicts.get(number as usize).copied().unwrap_or(Verdict::No);
        let known = self.tables.known.get(place as usize).unwrap_or(flow.known);
        of(&self.verdicts.0, place)
            .max(of(&self.verdicts.1, names))
            .max(filter.of_address(flow.address, known, flow.origin))
    }

    /// What follows from a time. Rows come in the order of time, or nearly so.
    fn moment(&mut self, end_ms: i64, length_ms: i64) -> Moment {
        let is = |moment: &&Moment| moment.end_ms == end_ms && moment.length_ms == length_ms;
        if let Some(moment) = self.moments.get(self.moment).filter(is) {
            return *moment;
        }
        let number = self.moments.len();
        let moment = self.new_moment(end_ms, length_ms, number);
        self.moment = number;
        self.moments.push(moment);
        moment
    }

    fn new_moment(&self, end_ms: i64, length_ms: i64, number: usize) -> Moment {
        // An hour or a day is where its middle is, an interval where it ended.
        let is_bucket = (length_ms == HOUR || length_ms == DAY) && end_ms.rem_euclid(length_ms) == 0;
        let at_ms = if is_bucket {
            end_ms - length_ms / 2
        } else {
            end_ms - 1
        };
        let is_day = is_bucket && length_ms == DAY;
        let hour_ms = (!is_day).then(|| (end_ms - 1).div_euclid(HOUR) * HOUR);
        let heat = hour_ms.map(|hour_ms| {
            let local = self.zone.to_datetime(timestamp(hour_ms));
            let day = local.weekday().to_monday_zero_offset();
            (
                usize::from(day.unsigned_abs()),
                usize::from(local.hour().unsigned_abs()),
            )
        });
        let window = if length_ms < MINUTE {
            (((end_ms - 1).div_euclid(MINUTE) + 1) * MINUTE, MINUTE)
        } else {
            (end_ms, length_ms)
        };
        Moment {
            end_ms,
            length_ms,
            number: u32::try_from(number).unwrap_or(u32::MAX - 2),
            bin: u16::try_from(self.bins.at(at_ms)).unwrap_or(0),
            hour_ms,
            date: self.zone.to_datetime(timestamp(at_ms)).date(),
            heat,
            window,
        }
    }
}
