//! A run's books against the counters of the devices themselves, which know nothing of tcpwatch.
//!
//! A device counts what it was handed: packets where it, or the kernel before it, has cut super-packets into segments, socket
//! buffers where nobody has (veth, tun). So its count lies between the two. It is not the same to the packet: queues behind the hook
//! drop, packet sockets can go around it, and the counters are read a moment after the tables were switched.

use std::sync::Arc;

use crate::record::Record;

/// What may be missing or too much: one in so many packets,
const ONE_IN: u64 = 50;
/// and so many in any case, as what was sent between two moments.
const SLACK: u64 = 1000;

/// One run, as far as its interfaces stay the same.
#[derive(Debug, Default)]
pub(super) struct Devices {
    /// Names and counters at the end of the first record; none: one of them has no counter.
    first: Option<Vec<(Arc<str>, u64)>>,
    /// Number of that record.
    since: u64,
    packets: u64,
    skbs: u64,
    /// The largest interval: as much may be sent between two moments.
    largest: u64,
    said: bool,
}

impl Devices {
    pub(super) fn begin(record: &Record) -> Self {
        Self {
            first: counters(record),
            since: record.seq,
            ..Self::default()
        }
    }

    /// Takes in the record that follows; says what does not fit, once.
    pub(super) fn take(&mut self, record: &Record) -> Option<String> {
        let (Some(first), Some(now)) = (&self.first, counters(record)) else {
            *self = Self::begin(record);
            return None;
        };
        let same = first.len() == now.len()
            && first
                .iter()
                .zip(&now)
                .all(|((name, before), (same, after))| name == same && before <= after);
        if !same {
            // An interface went or came, or its counters began anew.
            *self = Self::begin(record);
            return None;
        }
        let seen = record.totals.seen.packets;
        self.packets = self.packets.saturating_add(seen);
        self.skbs = self.skbs.saturating_add(record.skbs);
        self.largest = self.largest.max(seen);
        let sent: u64 = first
            .iter()
            .zip(&now)
            .map(|((_, before), (_, after))| after - before)
            .fold(0, u64::saturating_add);
        let slack = SLACK.saturating_add(self.largest);
        let least = (self.skbs - self.skbs / ONE_IN).saturating_sub(slack);
        let most = self
            .packets
            .saturating_add(self.packets / ONE_IN)
            .saturating_add(slack);
        if (least..=most).contains(&sent) || std::mem::replace(&mut self.said, true) {
            return None;
        }
        Some(format!(
            "the devices have sent {sent} packets since number {}, tcpwatch has seen {} in {} socket buffers",
            self.since, self.packets, self.skbs
        ))
    }
}

fn counters(record: &Record) -> Option<Vec<(Arc<str>, u64)>> {
    record
        .interfaces
        .iter()
        .map(|interface| Some((Arc::clone(&interface.name), interface.tx_packets?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;
    use tcpwatch_common::Counts;

    /// A record, by what was seen and what the device's counter was at its end.
    fn record(seq: u64, packets: u64, skbs: u64, device: Option<u64>) -> Record {
        let mut record = sample::record("r", seq, seq as i64 * 20_000, vec![]);
        record.totals.seen = Counts {
            packets,
            bytes: packets * 100,
        };
        record.skbs = skbs;
        record.interfaces[0].tx_packets = device;
        record
    }

    fn said(records: &[Record]) -> Vec<String> {
        let mut devices = Devices::begin(&records[0]);
        records[1..]
            .iter()
            .filter_map(|record| devices.take(record))
            .collect()
    }

    #[test]
    fn a_device_counts_segments_or_socket_buffers_and_a_few_less_or_more() {
        for device in [2_000_000, 100_000, 99_000, 2_030_000] {
            let records = [
                record(1, 5, 5, Some(7)),
                record(2, 1_000_000, 50_000, Some(7 + device / 2)),
                record(3, 1_000_000, 50_000, Some(7 + device)),
            ];
            assert_eq!(said(&records), Vec::<String>::new(), "{device}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said_once() {
        let records = |device: u64| -> Vec<Record> {
            (0..10)
                .map(|n| record(n + 1, 100_000, 100_000, Some(n * device)))
                .collect()
        };
        assert_eq!(said(&records(100_000)), Vec::<String>::new());
        assert_eq!(
            said(&records(250_000)),
            [
                "the devices have sent 250000 packets since number 1, tcpwatch has seen 100000 in 100000 socket buffers"
            ]
        );
        assert_eq!(said(&records(50_000)).len(), 1);
    }

    #[test]
    fn counters_that_are_not_there_or_begin_anew_say_nothing() {
        let none = [record(1, 5, 5, None), record(2, 9_000, 9_000, None)];
        assert_eq!(said(&none), Vec::<String>::new());
        let anew = [
            record(1, 5, 5, Some(1_000_000)),
            record(2, 9_000, 9_000, Some(9_000)),
            record(3, 9_000, 9_000, Some(18_000)),
        ];
        assert_eq!(said(&anew), Vec::<String>::new());
    }
}
