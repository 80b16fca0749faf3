//! The tally: the drains of one interval merged, and the check that no packet is missing from them.
//!
//! Pure arithmetic. It knows neither the kernel, nor the clock, nor any place to write to.

use std::fmt;

use foldhash::{HashMap, HashMapExt as _};
use ipnet::IpNet;
use tcpwatch_common::{Counts, FlowKey, Outcome, Totals, Traffic};

/// What one drain took out of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Totals of all CPUs, summed.
    pub totals: Totals,
    /// Counts by destination. A key may come up more than once (several CPUs, front table and spill).
    pub destinations: Vec<(FlowKey, Traffic)>,
    /// Counts of those banned prefixes that were met, each once.
    pub bans: Vec<(IpNet, Counts)>,
}

impl Drained {
    /// The first identity of the accounting that does not hold, exact to the packet and the byte.
    ///
    /// Sums wrap at 2^64 as the kernel's counters do, so the identities hold across a wrap too.
    pub fn imbalance(&self) -> Option<Imbalance> {
        let of = |outcome: Outcome| self.totals.outcomes[outcome as usize];
        [
            Imbalance {
                identity: Identity::Seen,
                total: self.totals.seen,
                sum: sum(self.totals.outcomes),
            },
            Imbalance {
                identity: Identity::Counted,
                total: of(Outcome::Counted),
                sum: sum(self.destinations.iter().map(|(_, traffic)| traffic.counts)),
            },
            Imbalance {
                identity: Identity::Banned,
                total: of(Outcome::Banned),
                sum: sum(self.bans.iter().map(|(_, counts)| *counts)),
            },
        ]
        .into_iter()
        .find(|identity| identity.total != identity.sum)
    }
}

/// An identity that must hold for every drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// `seen` is the sum of the outcomes.
    Seen,
    /// `counted` is the sum over the destinations.
    Counted,
    /// `banned` is the sum over the banned prefixes.
    Banned,
}

/// An identity that does not hold: counts were lost or doubled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imbalance {
    /// Which one.
    pub identity: Identity,
    /// What was counted as a whole.
    pub total: Counts,
    /// What the parts come to.
    pub sum: Counts,
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (total, parts) = match self.identity {
            Identity::Seen => ("seen", "the outcomes"),
            Identity::Counted => ("counted", "the destinations"),
            Identity::Banned => ("banned", "the banned prefixes"),
        };
        write!(
            f,
            "{total} is {} packets and {} bytes, but {parts} come to {} packets and {} bytes",
            self.total.packets, self.total.bytes, self.sum.packets, self.sum.bytes
        )
    }
}

/// One interval so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Every packet, by what became of it.
    pub totals: Totals,
    /// Counts by destination and own source.
    pub destinations: HashMap<FlowKey, Traffic>,
    /// Counts of those banned prefixes that were met. The list of bans may change from one drain to the next.
    pub bans: HashMap<IpNet, Counts>,
    /// How many drains are in it.
    pub drains: u32,
    /// Whether every identity held at every one of them.
    pub balanced: bool,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            totals: Totals::default(),
            destinations: HashMap::new(),
            bans: HashMap::new(),
            drains: 0,
            balanced: true,
        }
    }
}

impl Tally {
    /// Adds a drain. Yields what was wrong with it, if anything was; its counts are in the tally all the same.
    pub fn add(&mut self, drained: Drained) -> Option<Imbalance> {
        let imbalance = drained.imbalance();
        self.balanced &= imbalance.is_none();
        self.drains += 1;

        self.totals.add(&drained.totals);
        if self.destinations.is_empty() {
            self.destinations.reserve(drained.destinations.len());
        }
        for (key, traffic) in drained.destinations {
            self.destinations.entry(key).or_default().add(traffic);
        }
        for (prefix, counts) in drained.bans {
            self.bans.entry(prefix).or_default().add(counts);
        }
        imbalance
    }

    /// Ends the interval: yields the tally and leaves an empty one.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

fn sum(parts: impl IntoIterator<Item = Counts>) -> Counts {
    let mut sum = Counts::default();
    for part in parts {
        sum.add(part);
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;
    use tcpwatch_common::{OUTCOMES, mapped};

    use super::*;

    fn counts(packets: u64, bytes: u64) -> Counts {
        Counts { packets, bytes }
    }

    /// Each packet opens a TCP connection.
    fn traffic(packets: u64, bytes: u64) -> Traffic {
        Traffic {
            tcp_connections: packets,
            ..Traffic::of(counts(packets, bytes))
        }
    }

    fn key(last: u8) -> FlowKey {
        FlowKey {
            destination: mapped([192, 0, 2, last]),
            source: mapped([198, 51, 100, 7]),
            ifindex: 2,
        }
    }

    /// 203.0.113.`n`.
    fn ban(n: u8) -> IpNet {
        IpNet::from(IpAddr::from([203, 0, 113, n]))
    }

    fn drained() -> Drained {
        let mut totals = Totals {
            skbs: 4,
            seen: counts(13, 1300),
            ..Totals::default()
        };
        totals.outcomes[Outcome::NotIp as usize] = counts(1, 100);
        totals.outcomes[Outcome::Banned as usize] = counts(5, 500);
        totals.outcomes[Outcome::Counted as usize] = counts(7, 700);
        Drained {
            totals,
            destinations: vec![
                (key(1), traffic(4, 400)),
                (key(2), traffic(2, 200)),
                (key(1), traffic(1, 100)),
            ],
            bans: vec![(ban(2), counts(5, 500))],
        }
    }

    #[test]
    fn a_drain_whose_parts_come_to_the_whole_is_balanced() {
        assert_eq!(drained().imbalance(), None);
        assert_eq!(Drained::default().imbalance(), None);
    }

    #[test]
    fn one_packet_or_one_byte_missing_anywhere_is_an_imbalance_that_names_its_identity() {
        let mut seen = drained();
        seen.totals.seen.packets += 1;
        assert_eq!(
            seen.imbalance().unwrap().to_string(),
            "seen is 14 packets and 1300 bytes, but the outcomes come to 13 packets and 1300 bytes"
        );
        let mut counted = drained();
        counted.destinations[1].1.counts.bytes -= 1;
        assert_eq!(
            counted.imbalance().unwrap().to_string(),
            "counted is 7 packets and 700 bytes, but the destinations come to 7 packets and 699 bytes"
        );
        let mut banned = drained();
        banned.bans.pop();
        assert_eq!(
            banned.imbalance().unwrap().to_string(),
            "banned is 5 packets and 500 bytes, but the banned prefixes come to 0 packets and 0 bytes"
        );
    }

    #[test]
    fn identities_hold_across_a_wrap_of_the_counters() {
        let mut wrapped = drained();
        wrapped.destinations.push((key(3), traffic(u64::MAX, u64::MAX)));
        wrapped.destinations.push((key(4), traffic(1, 1)));
        assert_eq!(wrapped.imbalance(), None);
    }

    #[test]
    fn drains_are_summed_by_destination_and_by_ban() {
        let mut tally = Tally::default();
        assert_eq!(tally.add(drained()), None);
        let mut longer = drained();
        longer.bans = vec![(ban(1), counts(1, 100)), (ban(2), counts(4, 400))];
        assert_eq!(tally.add(longer), None);

        assert_eq!(tally.totals.skbs, 8);
        assert_eq!(tally.totals.seen, counts(26, 2600));
        assert_eq!(tally.totals.outcomes[Outcome::Counted as usize], counts(14, 1400));
        assert_eq!(tally.destinations.len(), 2);
        assert_eq!(tally.destinations[&key(1)], traffic(10, 1000));
        assert_eq!(tally.destinations[&key(2)], traffic(4, 400));
        assert_eq!(tally.bans.len(), 2);
        assert_eq!(tally.bans[&ban(1)], counts(1, 100));
        assert_eq!(tally.bans[&ban(2)], counts(9, 900));
        assert_eq!(tally.drains, 2);
        assert!(tally.balanced);
    }

    #[test]
    fn one_unbalanced_drain_marks_the_whole_interval_and_none_after_it() {
        let mut tally = Tally::default();
        let mut wrong = drained();
        wrong.totals.seen.bytes += 1;
        assert!(tally.add(wrong).is_some());
        assert!(tally.add(drained()).is_none());
        let taken = tally.take();
        assert!(!taken.balanced);
        assert_eq!(taken.totals.seen, counts(26, 2601));

        assert_eq!(tally, Tally::default());
        tally.add(drained());
        assert!(tally.balanced);
    }

    proptest! {
        #[test]
        fn a_tally_of_balanced_drains_keeps_every_identity(
            drains in proptest::collection::vec(
                proptest::collection::vec((0_u8..20, 0_u64..u64::MAX, 0_u64..u64::MAX), 0..30), 0..8)
        ) {
            let mut tally = Tally::default();
            for parts in drains {
                let mut drained = Drained::default();
                for (last, packets, bytes) in parts {
                    let counts = counts(packets, bytes);
                    let outcome = usize::from(last) % OUTCOMES;
                    drained.totals.seen.add(counts);
                    drained.totals.outcomes[outcome].add(counts);
                    if outcome == Outcome::Counted as usize {
                        drained.destinations.push((key(last), Traffic::of(counts)));
                    } else if outcome == Outcome::Banned as usize {
                        drained.bans.push((ban(last), counts));
                    }
                }
                prop_assert_eq!(tally.add(drained), None);
            }
            let whole = Drained {
                totals: tally.totals,
                destinations: tally.destinations.into_iter().collect(),
                bans: tally.bans.into_iter().collect(),
            };
            prop_assert_eq!(whole.imbalance(), None);
        }
    }
}
