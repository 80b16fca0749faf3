//! What a table's section groups the counted packets by. The rows of a section come to everything that was counted.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use crate::domain::{NO_NAME, registrable, shortened, together};
use crate::record::{Destination, Name, Names, Record, Scope};
use crate::sink::table::cut;
use crate::sink::table::grid::Row;
use crate::sink::{Amount, Sent, text};

/// What rows of a table stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Grouping {
    /// Countries.
    Country,
    /// Networks: autonomous systems.
    Network,
    /// Cities, where a database has them.
    City,
    /// Kinds of addresses: global, private, multicast and so on.
    Scope,
    /// The server's own addresses that packets left from.
    Source,
    /// Interfaces that packets left through.
    Interface,
    /// Names that destinations were called by, by the domains that somebody registered.
    Name,
    /// Destination addresses.
    Destination,
}

/// What two destinations have in common when they are in one row.
#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Country(&'a str),
    Network(u32),
    City(&'a str, Option<&'a str>),
    Source(Option<IpAddr>),
    Interface(&'a str),
    /// A domain, or several that packets cannot be divided among; none: no name is known.
    Name(Option<Cow<'a, str>>),
    /// Nothing else is known of it.
    Scope(Scope),
}

impl Grouping {
    /// The heading of the section.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Country => "COUNTRY",
            Self::Network => "NETWORK",
            Self::City => "CITY",
            Self::Scope => "SCOPE",
            Self::Source => "OWN SOURCE",
            Self::Interface => "INTERFACE",
            Self::Name => "NAME",
            Self::Destination => "TOP DESTINATIONS",
        }
    }

    /// What its rows are called when they are summed up.
    pub(super) const fn plural(self) -> &'static str {
        match self {
            Self::Country => "countries",
            Self::Network => "networks",
            Self::City => "cities",
            Self::Scope => "scopes",
            Self::Source => "own sources",
            Self::Interface => "interfaces",
            Self::Name => "names",
            Self::Destination => "destinations",
        }
    }

    /// Whether a database has to say something for it.
    pub(super) const fn needs_places(self) -> bool {
        matches!(self, Self::Country | Self::Network | Self::City)
    }

    /// Whether any destination has what it groups by.
    pub(super) fn is_known(self, record: &Record) -> bool {
        match self {
            Self::Network => record.destinations.iter().any(|row| row.place.asn.is_some()),
            Self::City => record.destinations.iter().any(|row| row.place.city.is_some()),
            _ => true,
        }
    }

    fn key(self, row: &Destination) -> Key<'_> {
        let place = &row.place;
        let known = match self {
            Self::Country => place.country.as_deref().map(Key::Country),
            Self::Network => place.asn.map(Key::Network),
            Self::City => place
                .city
                .as_deref()
                .map(|city| Key::City(city, place.country.as_deref())),
            Self::Source => Some(Key::Source(row.source)),
            Self::Interface => Some(Key::Interface(&row.interface)),
            Self::Name => Some(Key::Name(
                row.names.as_deref().and_then(|names| together(names.texts())),
            )),
            Self::Scope | Self::Destination => None,
        };
        known.unwrap_or(Key::Scope(row.scope))
    }

    /// `row` is one of those in the group.
    fn label(self, key: &Key<'_>, row: &Destination) -> String {
        match key {
            Key::Country(code) => {
                format!(
                    "{code}  {}",
                    row.place.country_name.as_deref().unwrap_or_default()
                )
            }
            Key::Network(number) => match row.place.network.as_deref() {
                Some(name) => format!("AS{number} {name}"),
                None => format!("AS{number}"),
            },
            Key::City(city, country) => format!("{city}, {}", country.unwrap_or("??")),
            Key::Source(Some(source)) => source.to_string(),
            Key::Source(None) => "not an own address".to_owned(),
            Key::Interface(name) => text::plain(name).into_owned(),
            Key::Name(Some(domains)) => {
                let domains = shortened(domains);
                let domains: Vec<_> = domains.split(' ').map(text::plain).collect();
                domains.join(" ")
            }
            Key::Name(None) => NO_NAME.to_owned(),
            Key::Scope(scope) => {
                let indent = if self == Self::Country { "    " } else { "" };
                match scope {
                    Scope::Global if self != Self::Scope => format!("{indent}unknown"),
                    scope => format!("{indent}{}", word(*scope)),
                }
            }
        }
    }

    /// The `top` rows with most packets and the sum of the others. For [`Grouping::Destination`], those that were merged
    /// by address.
    pub(super) fn rows(self, record: &Record, sent: &[Sent<'_>], top: usize) -> Vec<Row> {
        if self == Self::Destination {
            return cut(
                sent.iter(),
                top,
                self.plural(),
                |sent| sent.amount,
                |sent, amount| destination(sent, amount, record),
            );
        }
        let mut groups: HashMap<Key<'_>, Row> = HashMap::new();
        let mut add = |key, row, amount| {
            let group = match groups.get_mut(&key) {
                Some(group) => group,
                None => {
                    let label = self.label(&key, row);
                    groups.entry(key).or_insert(Row::new(label, Amount::default()))
                }
            };
            group.amount.add(amount);
        };
        for row in &record.destinations {
            let mut amount = Amount::of(row);
            if self == Self::Name {
                divide(row, &mut amount, &mut add);
            }
            add(self.key(row), row, amount);
        }
        let mut rows: Vec<Row> = groups.into_values().collect();
        let most = |row: &Row| Reverse((row.amount.packets, row.amount.connections));
        rows.sort_unstable_by(|a, b| most(a).cmp(&most(b)).then_with(|| a.label.cmp(&b.label)));
        cut(
            rows.into_iter(),
            top,
            self.plural(),
            |row| row.amount,
            |row, _| row,
        )
    }
}

/// Connections whose name was read belong to that name's domain, also where packets cannot be divided; `amount` keeps the others.
fn divide<'a>(
    row: &'a Destination,
    amount: &mut Amount,
    add: &mut impl FnMut(Key<'a>, &'a Destination, Amount),
) {
    for Name { name, connections } in row.names.iter().flat_map(|names| &names.list) {
        if let Some(connections) = connections.filter(|read| *read > 0) {
            let key = Key::Name(Some(registrable(name).into()));
            let read = Amount {
                connections: Some(connections),
                ..Amount::default()
            };
            add(key, row, read);
            // A name can be read in the interval after the one that its connection was begun in.
            amount.connections = amount.connections.map(|all| all.saturating_sub(connections));
        }
    }
}

/// An address, and in few words what it belongs to.
fn destination(sent: &Sent<'_>, amount: Amount, record: &Record) -> Row {
    let place = &sent.row.place;
    let network = match (place.asn, &place.network) {
        (_, Some(name)) => Some(Cow::Borrowed(&**name)),
        (Some(number), None) => Some(Cow::Owned(format!("AS{number}"))),
        (None, None) => None,
    };
    let country = place
        .country
        .as_ref()
        .map(|code: &Arc<str>| Cow::Borrowed(&**code));
    let mut words: Vec<Cow<'_, str>> = country.into_iter().chain(network).collect();
    if words.is_empty() && sent.row.scope != Scope::Global {
        words.push(word(sent.row.scope).into());
    } else if words.is_empty() && !record.geo.is_empty() && sent.names.is_none() {
        words.push("unknown".into());
    }
    if place.anycast == Some(true) {
        words.push("anycast".into());
    }
    Row {
        label: sent.row.address.to_string(),
        name: sent.names.map(best).unwrap_or_default(),
        place: words.join(" "),
        amount,
    }
}

/// The best name, and how many more there are.
fn best(names: &Names) -> String {
    match &names.list[..] {
        [] => String::new(),
        [name] => text::plain(&name.name).into_owned(),
        [first, others @ ..] => format!("{} +{}", text::plain(&first.name), others.len()),
    }
}

fn word(scope: Scope) -> String {
    scope.word().replace('_', "-")
}
