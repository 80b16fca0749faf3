//! Several sources into one: what is known of each address after all.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use jiff::Timestamp;

use crate::enrich::countries::Country;
use crate::geo::import::source::{Kind, Known, NetworkId, Networks, Source};
use crate::geo::import::steps::Steps;

/// What is known of an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Place {
    pub country: Option<Country>,
    pub network: Option<NetworkId>,
    /// False also where no source says.
    pub anycast: bool,
}

/// Country, network and anycast are merged each for itself: the fresher source decides where it knows anything, and
/// where it does not, the older one's answer stays. The operator's own lines are asked first, the last file before those named
/// earlier.
///
/// A network whose source gives no name has the one that the freshest source with a name gives its number.
pub fn merge(mut sources: Vec<Source>, networks: &Networks) -> Steps<Place> {
    sources.sort_by_key(|source| match source.kind {
        Kind::Table => (true, Timestamp::MIN),
        Kind::Libloc | Kind::Tor => (false, source.date),
    });
    let mut names: HashMap<u32, NetworkId, RandomState> = HashMap::default();
    let mut known = Known::default();
    for source in sources {
        let newer = source.known;
        for run in newer.networks.runs() {
            if let (asn, Some(_)) = networks.get(run.value) {
                names.insert(asn, run.value);
            }
        }
        known.countries = newer.countries.over(&known.countries);
        known.networks = newer.networks.over(&known.networks);
        known.anycast = newer.anycast.over(&known.anycast);
    }
    let named = |network: NetworkId| match networks.get(network) {
        (asn, None) => names.get(&asn).copied().unwrap_or(network),
        (_, Some(_)) => network,
    };
    let where_and_whose = known.countries.zip(&known.networks, |country, network| {
        let place = Place {
            country,
            network: network.map(named),
            anycast: false,
        };
        (place != Place::default()).then_some(place)
    });
    where_and_whose.zip(&known.anycast, |place, anycast| {
        let place = Place {
            anycast: anycast == Some(true),
            ..place.unwrap_or_default()
        };
        (place != Place::default()).then_some(place)
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::geo::import::steps::{Row, key};

    /// A source that says one thing of one range each.
    fn source(
        kind: Kind,
        day: &str,
        countries: &[(&str, &str, &str)],
        of_networks: &[(&str, &str, NetworkId)],
        anycast: &[(&str, &str, bool)],
    ) -> Source {
        Source {
            path: PathBuf::from("x"),
            kind,
            date: format!("{day}T00:00:00Z").parse().unwrap(),
            ranges: 1,
            known: Known {
                countries: painted(countries, |code| {
                    Country::parse(code.as_bytes()).unwrap().unwrap()
                }),
                networks: painted(of_networks, |id| *id),
                anycast: painted(anycast, |flag| *flag),
            },
        }
    }

    fn painted<U, T: Copy + Eq>(ranges: &[(&str, &str, U)], value: impl Fn(&U) -> T) -> Steps<T> {
        let rows: Vec<_> = ranges
            .iter()
            .flat_map(|(first, last, of)| Row::of(first.parse().unwrap(), last.parse().unwrap(), value(of)))
            .collect();
        Steps::paint(&rows)
    }

    fn at(places: &Steps<Place>, networks: &Networks, address: &str) -> (String, u32, String, bool) {
        let place = places.get(key(address.parse().unwrap())).unwrap_or_default();
        let (asn, name) = place.network.map_or((0, None), |id| networks.get(id));
        (
            place
                .country
                .map(|country| country.to_string())
                .unwrap_or_default(),
            asn,
            name.unwrap_or_default().to_owned(),
            place.anycast,
        )
    }

    #[test]
    fn the_fresher_source_decides_field_by_field_and_its_gaps_are_filled() {
        let mut networks = Networks::default();
        let (old, new) = (
            networks.id(1, Some("OLD")).unwrap(),
            networks.id(2, Some("NEW")).unwrap(),
        );
        let older = source(
            Kind::Libloc,
            "2022-10-29",
            &[("192.0.2.0", "192.0.2.255", "DE")],
            &[("192.0.2.0", "192.0.2.255", old)],
            &[
                ("192.0.2.0", "192.0.2.127", true),
                ("192.0.2.128", "192.0.2.255", true),
            ],
        );
        let newer = source(
            Kind::Libloc,
            "2026-06-25",
            &[("192.0.2.0", "192.0.2.99", "FR")],
            &[("192.0.2.50", "192.0.2.59", new)],
            &[("192.0.2.0", "192.0.2.9", false)],
        );
        // Whatever the order in which they are named.
        let places = merge(vec![newer, older], &networks);
        let at = |address| at(&places, &networks, address);
        assert_eq!(at("192.0.2.5"), ("FR".into(), 1, "OLD".into(), false));
        assert_eq!(at("192.0.2.55"), ("FR".into(), 2, "NEW".into(), true));
        assert_eq!(at("192.0.2.100"), ("DE".into(), 1, "OLD".into(), true));
        assert_eq!(at("192.0.3.0"), (String::new(), 0, String::new(), false));
        assert_eq!(
            places.runs().last().unwrap().last,
            key("192.0.2.255".parse().unwrap())
        );
    }

    #[test]
    fn the_operators_lines_are_asked_first_and_the_last_file_before_earlier_ones() {
        let networks = Networks::default();
        let whole = |code| [("192.0.2.0", "192.0.2.255", code)];
        let ours = |day, code| source(Kind::Table, day, &[("192.0.2.1", "192.0.2.1", code)], &[], &[]);
        let tor = source(Kind::Tor, "2026-06-25", &whole("FR"), &[], &[]);
        let places = merge(
            vec![ours("2021-01-01", "AT"), ours("2020-01-01", "CH"), tor],
            &networks,
        );
        assert_eq!(at(&places, &networks, "192.0.2.1").0, "CH");
        assert_eq!(at(&places, &networks, "192.0.2.2").0, "FR");
    }

    #[test]
    fn a_number_without_a_name_has_the_freshest_that_anybody_gives_it() {
        let mut networks = Networks::default();
        let nameless = networks.id(1, None).unwrap();
        let (old, new) = (
            networks.id(1, Some("OLD")).unwrap(),
            networks.id(1, Some("NEW")).unwrap(),
        );
        let unknown = networks.id(3, None).unwrap();
        let whole = |id| [("198.51.100.0", "198.51.100.9", id)];
        let sources = vec![
            source(
                Kind::Table,
                "2020-01-01",
                &[],
                &[
                    ("192.0.2.1", "192.0.2.1", nameless),
                    ("192.0.2.2", "192.0.2.2", unknown),
                ],
                &[],
            ),
            source(Kind::Libloc, "2026-01-01", &[], &whole(new), &[]),
            source(Kind::Libloc, "2022-01-01", &[], &whole(old), &[]),
        ];
        let places = merge(sources, &networks);
        assert_eq!(
            at(&places, &networks, "192.0.2.1"),
            (String::new(), 1, "NEW".into(), false)
        );
        assert_eq!(
            at(&places, &networks, "192.0.2.2"),
            (String::new(), 3, String::new(), false)
        );
    }

    #[test]
    fn anycast_alone_is_worth_a_record_and_its_absence_is_not() {
        let networks = Networks::default();
        let flags = [
            ("192.0.2.0", "192.0.2.9", true),
            ("192.0.2.10", "192.0.2.19", false),
        ];
        let places = merge(
            vec![source(Kind::Libloc, "2022-01-01", &[], &[], &flags)],
            &networks,
        );
        assert_eq!(places.runs().count(), 1);
        assert!(at(&places, &networks, "192.0.2.9").3);
    }
}
