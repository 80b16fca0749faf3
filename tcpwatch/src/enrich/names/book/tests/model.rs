//! The book against one that is slow and plain.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Event {
    Wait(u32),
    Connect(u8, u8, u8),
    Answer(u8, Vec<(u8, u32)>),
    Reverse(u8, Vec<u8>, u32),
    Fail(u8, u32),
    Ask(u8, u8),
    End,
}

fn event() -> impl Strategy<Value = Event> {
    let (address, source, name) = (0..4_u8, 0..2_u8, 0..20_u8);
    let life = prop_oneof![Just(0), 1..200_u32, 80_000..90_000_u32];
    prop_oneof![
        1 => prop_oneof![0..100_u32, 1000..5000_u32, 80_000..90_000_u32].prop_map(Event::Wait),
        6 => (source.clone(), address.clone(), name.clone()).prop_map(|(s, a, n)| Event::Connect(s, a, n)),
        6 => (name.clone(), prop::collection::vec((address.clone(), life.clone()), 0..3))
            .prop_map(|(n, list)| Event::Answer(n, list)),
        2 => (address.clone(), prop::collection::vec(name, 0..3), life.clone())
            .prop_map(|(a, names, life)| Event::Reverse(a, names, life)),
        1 => (address.clone(), life).prop_map(|(a, life)| Event::Fail(a, life)),
        6 => (address, source).prop_map(|(a, s)| Event::Ask(a, s)),
        2 => Just(Event::End),
    ]
}

/// What is known of an address: the plain way, by name, with the order of sightings as a number.
#[derive(Default)]
struct Address {
    /// Order and time of the last connection.
    sni: BTreeMap<u8, (u64, u32)>,
    /// Order and time of the last answer, end of its life, when it was last asked for.
    dns: BTreeMap<u8, (u64, u32, u32, Option<u32>)>,
    /// Names and their end.
    ptr: (Vec<u8>, u32),
    /// When to look again.
    again: u32,
}

#[derive(Default)]
struct Model {
    now: u32,
    order: u64,
    began: u32,
    addresses: BTreeMap<u8, Address>,
    counts: BTreeMap<(u8, u8), BTreeMap<u8, u64>>,
}

fn named(name: u8) -> String {
    format!("n{name:02}")
}

fn sixteen<T>(map: &mut BTreeMap<u8, T>, order: impl Fn(&T) -> u64) {
    if map.len() > 16 {
        let first = map
            .iter()
            .min_by_key(|(_, value)| order(value))
            .map(|(name, _)| *name);
        map.remove(&first.unwrap());
    }
}

impl Model {
    fn happens(&mut self, event: &Event) {
        self.order += 1;
        let (now, order) = (self.now, self.order);
        match event {
            Event::Wait(seconds) => self.now += seconds,
            Event::Connect(source, address, name) => {
                let known = self.addresses.entry(*address).or_default();
                known.sni.insert(*name, (order, now));
                sixteen(&mut known.sni, |value| value.0);
                *self
                    .counts
                    .entry((*address, *source))
                    .or_default()
                    .entry(*name)
                    .or_default() += 1;
            }
            Event::Answer(name, list) => {
                for (address, life) in list {
                    self.order += 1;
                    let until = now + (*life).clamp(60, 86_400);
                    let known = self.addresses.entry(*address).or_default();
                    let old = known.dns.get(name).map_or((0, None), |old| (old.2, old.3));
                    known
                        .dns
                        .insert(*name, (self.order, now, until.max(old.0), old.1));
                    sixteen(&mut known.dns, |value| value.0);
                }
            }
            Event::Reverse(address, names, life) => {
                let mut names = names.clone();
                names.sort_unstable();
                names.dedup();
                let until = now + (*life).min(86_400);
                let known = self.addresses.entry(*address).or_default();
                known.ptr = (names, until + 3600);
                known.again = until;
            }
            Event::Fail(address, life) => {
                let known = self.addresses.entry(*address).or_default();
                known.again = now + (*life).min(86_400);
            }
            Event::Ask(..) => {}
            Event::End => {
                self.counts.clear();
                self.began = now;
            }
        }
    }

    fn names(&mut self, address: u8, source: u8) -> String {
        let (now, began) = (self.now, self.began);
        let Some(known) = self.addresses.get_mut(&address) else {
            return "unknown".to_owned();
        };
        known.sni.retain(|_, (_, seen)| now < *seen + 86_400);
        known.dns.retain(|_, (_, learned, until, asked)| {
            now < *learned + 86_400 && (*until > began || asked.is_some_and(|asked| asked + 600 > began))
        });
        for answer in known.dns.values_mut() {
            answer.3 = Some(now);
        }
        if let Some(counts) = self.counts.get_mut(&(address, source)) {
            let mut list: Vec<_> = counts.iter().map(|(name, n)| (u64::MAX - n, *name, *n)).collect();
            list.sort_unstable();
            counts.values_mut().for_each(|n| *n = 0);
            let words = list.iter().map(|(_, name, n)| format!(" {}={n}", named(*name)));
            return format!("sni{}", words.collect::<String>());
        }
        if !known.sni.is_empty() {
            let words = known.sni.keys().map(|name| format!(" {}=0", named(*name)));
            return format!("sni{}", words.collect::<String>());
        }
        let (from, names): (_, Vec<u8>) = if known.dns.is_empty() {
            let live = now < known.ptr.1;
            ("ptr", if live { known.ptr.0.clone() } else { Vec::new() })
        } else {
            ("dns", known.dns.keys().copied().collect())
        };
        if names.is_empty() {
            return "unknown".to_owned();
        }
        let words = names.iter().map(|name| format!(" {}", named(*name)));
        format!("{from}{}", words.collect::<String>())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_book_says_what_the_model_says(events in prop::collection::vec(event(), 1..120)) {
        let mut run = Run::new();
        let mut model = Model::default();
        let address = |number: u8| format!("192.0.2.{number}");
        let source = |number: u8| format!("198.51.100.{number}");
        for event in &events {
            // An interval with more names than are counted is another test's.
            if let Event::Connect(s, a, n) = event
                && model.counts.get(&(*a, *s)).is_some_and(|counts| counts.len() == 16 && !counts.contains_key(n))
            {
                continue;
            }
            model.happens(event);
            match event {
                Event::Wait(_) => { run.at(model.now.into()); }
                Event::Connect(s, a, n) => { run.connects(&source(*s), &address(*a), &named(*n)); }
                Event::Answer(n, list) => {
                    for (a, life) in list {
                        run.answered(&named(*n), &address(*a), (*life).into());
                    }
                }
                Event::Reverse(a, names, life) => {
                    let names: Vec<String> = names.iter().map(|name| named(*name)).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    run.reversed(&address(*a), &names, (*life).into());
                }
                Event::Fail(a, life) => {
                    let life = Duration::from_secs((*life).into());
                    let now = run.now();
                    run.book.learn_reverse(ip(&address(*a)), Outcome::Failed { life }, now);
                }
                Event::Ask(a, s) => {
                    prop_assert_eq!(run.shown(&address(*a), &source(*s)), model.names(*a, *s));
                }
                Event::End => { run.ends(); }
            }
        }
        for a in 0..4 {
            for s in 0..2 {
                prop_assert_eq!(run.shown(&address(a), &source(s)), model.names(a, s));
            }
        }
    }
}
