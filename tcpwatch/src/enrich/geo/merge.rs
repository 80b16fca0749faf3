//! What several files say of one address, made into one place. Pure.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use crate::record::Place;

/// Merged places that are held; beyond it they are forgotten and made anew.
const MOST_HELD: usize = 1 << 16;

/// Few places serve very many addresses, so each pair of them is merged once.
///
/// A pair is known by where its two places lie in memory. They stay there for as long as they are held here, because a
/// merged place is held together with them.
#[derive(Debug, Default)]
pub(super) struct Merged {
    held: HashMap<(usize, usize), [Arc<Place>; 3]>,
}

impl Merged {
    /// `first`, and what `second` adds to it.
    pub(super) fn get(&mut self, first: &Arc<Place>, second: &Arc<Place>) -> Arc<Place> {
        if **second == Place::default() {
            return Arc::clone(first);
        }
        if **first == Place::default() {
            return Arc::clone(second);
        }
        let key = (Arc::as_ptr(first).addr(), Arc::as_ptr(second).addr());
        if let Some([_, _, merged]) = self.held.get(&key) {
            return Arc::clone(merged);
        }
        if self.held.len() >= MOST_HELD {
            self.held = HashMap::new();
        }
        let merged = Arc::new(merge(first, second));
        let held = [Arc::clone(first), Arc::clone(second), Arc::clone(&merged)];
        self.held.insert(key, held);
        merged
    }
}

/// The first file that knows a country decides on it; a later one adds a name and a city, provided that it means the same
/// country. The same holds for the network and its name. It is anycast when any of them says so.
fn merge(first: &Place, second: &Place) -> Place {
    let mut place = first.clone();
    if place.country.is_none() {
        place.country = second.country.clone();
        place.country_name = second.country_name.clone();
        place.city = second.city.clone();
    } else if place.country == second.country {
        place.country_name = place.country_name.or_else(|| second.country_name.clone());
        place.city = place.city.or_else(|| second.city.clone());
    }
    if place.asn.is_none() {
        place.asn = second.asn;
        place.network = second.network.clone();
    } else if place.asn == second.asn {
        place.network = place.network.or_else(|| second.network.clone());
    }
    place.anycast = match (first.anycast, second.anycast) {
        (Some(one), Some(two)) => Some(one || two),
        (one, two) => one.or(two),
    };
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(country: &str, city: &str, asn: u32, network: &str, anycast: Option<bool>) -> Place {
        let text = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
        Place {
            country: text(country),
            country_name: text(country).map(|code| Arc::from(format!("name of {code}"))),
            city: text(city),
            asn: (asn > 0).then_some(asn),
            network: text(network),
            anycast,
        }
    }

    #[test]
    fn gaps_are_filled_and_nothing_is_contradicted() {
        let cases = [
            // A country file and an ASN file.
            (
                place("US", "", 0, "", None),
                place("", "", 15169, "GOOGLE", None),
                place("US", "", 15169, "GOOGLE", None),
            ),
            // The same country: its city is taken. The same network: its name is.
            (
                place("US", "", 64500, "", None),
                place("US", "Denver", 64500, "EXAMPLE", Some(false)),
                place("US", "Denver", 64500, "EXAMPLE", Some(false)),
            ),
            // Another country, another network: nothing of it is.
            (
                place("US", "", 64500, "", Some(false)),
                place("DE", "Berlin", 64501, "OTHER", None),
                place("US", "", 64500, "", Some(false)),
            ),
            // Anycast is what any file says.
            (
                place("US", "", 0, "", Some(false)),
                place("AU", "", 0, "", Some(true)),
                place("US", "", 0, "", Some(true)),
            ),
        ];
        for (first, second, expected) in cases {
            assert_eq!(merge(&first, &second), expected, "{first:?} and {second:?}");
        }
    }

    #[test]
    fn each_pair_is_merged_once_and_an_empty_one_never() {
        let mut merged = Merged::default();
        let (country, network) = (
            Arc::new(place("US", "", 0, "", None)),
            Arc::new(place("", "", 15169, "GOOGLE", None)),
        );
        let one = merged.get(&country, &network);
        assert!(Arc::ptr_eq(&one, &merged.get(&country, &network)));
        let nothing = Arc::new(Place::default());
        assert!(Arc::ptr_eq(&country, &merged.get(&country, &nothing)));
        assert!(Arc::ptr_eq(&country, &merged.get(&nothing, &country)));
        assert_eq!(merged.held.len(), 1);
    }
}
