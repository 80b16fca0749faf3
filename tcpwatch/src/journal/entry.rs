//! What a journal file consists of: a line that names its version, then entries, each behind its length.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tcpwatch_common::{Address, Counts, FlowKey, OUTCOMES, Totals, Traffic};

use crate::kernel::drain::Moment;
use crate::record::WatchedInterface;
use crate::tally::Drained;

/// What every file begins with.
pub(super) const MAGIC: &[u8] = b"tcpwatch journal 1\n";

/// A point in time that another process of this boot understands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stamp {
    wall: Timestamp,
    /// Nanoseconds of CLOCK_MONOTONIC.
    monotonic: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Entry {
    /// The interval's beginning: the first entry.
    Begin { start: Stamp },
    /// Names by number, in addition to those before.
    Interfaces(Vec<(u32, Arc<str>)>),
    /// A generation of the kernel tables that have this name.
    Drain {
        tables: String,
        epoch: u64,
        retired: Stamp,
        counts: Kept,
    },
    /// The interval's end and its record: the last entry.
    End {
        run: Arc<str>,
        seq: u64,
        end: Stamp,
        partial: bool,
        interfaces: Vec<WatchedInterface>,
    },
}

type Pair = (u64, u64);

/// [`Drained`], in a form of its own: the kernel's structs may change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    skbs: u64,
    seen: Pair,
    outcomes: Vec<Pair>,
    destinations: Vec<Row>,
    bans: Vec<(IpNet, Pair)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    destination: Address,
    source: Address,
    ifindex: u32,
    counts: Pair,
    tcp_connections: u64,
    quic_connections: u64,
}

const fn pair(counts: Counts) -> Pair {
    (counts.packets, counts.bytes)
}

const fn counts((packets, bytes): Pair) -> Counts {
    Counts { packets, bytes }
}

impl From<&Drained> for Kept {
    fn from(drained: &Drained) -> Self {
        let row = |(key, traffic): &(FlowKey, Traffic)| Row {
            destination: key.destination,
            source: key.source,
            ifindex: key.ifindex,
            counts: pair(traffic.counts),
            tcp_connections: traffic.tcp_connections,
            quic_connections: traffic.quic_connections,
        };
        Self {
            skbs: drained.totals.skbs,
            seen: pair(drained.totals.seen),
            outcomes: drained
                .totals
                .outcomes
                .iter()
                .map(|outcome| pair(*outcome))
                .collect(),
            destinations: drained.destinations.iter().map(row).collect(),
            bans: drained
                .bans
                .iter()
                .map(|(net, counts)| (*net, pair(*counts)))
                .collect(),
        }
    }
}

impl From<Kept> for Drained {
    fn from(kept: Kept) -> Self {
        let mut outcomes = [Counts::default(); OUTCOMES];
        for (outcome, kept) in outcomes.iter_mut().zip(kept.outcomes) {
            *outcome = counts(kept);
        }
        let row = |row: Row| {
            let key = FlowKey {
                destination: row.destination,
                source: row.source,
                ifindex: row.ifindex,
            };
            let traffic = Traffic {
                counts: counts(row.counts),
                tcp_connections: row.tcp_connections,
                quic_connections: row.quic_connections,
            };
            (key, traffic)
        };
        Self {
            totals: Totals {
                skbs: kept.skbs,
                seen: counts(kept.seen),
                outcomes,
            },
            destinations: kept.destinations.into_iter().map(row).collect(),
            bans: kept
                .bans
                .into_iter()
                .map(|(net, kept)| (net, counts(kept)))
                .collect(),
        }
    }
}

fn monotonic_now() -> (Instant, Duration) {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
    (Instant::now(), Duration::new(seconds, nanos))
}

impl Stamp {
    pub(super) fn of(moment: Moment) -> Self {
        let (now, clock) = monotonic_now();
        let ago = now.saturating_duration_since(moment.monotonic);
        Self {
            wall: moment.wall,
            monotonic: u64::try_from(clock.saturating_sub(ago).as_nanos()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn moment(self) -> Moment {
        let (now, clock) = monotonic_now();
        let ago = clock.saturating_sub(Duration::from_nanos(self.monotonic));
        Moment {
            wall: self.wall,
            monotonic: now.checked_sub(ago).unwrap_or(now),
        }
    }
}

/// An entry behind its length.
pub(super) fn to_bytes(entry: &Entry) -> io::Result<Vec<u8>> {
    let bytes = postcard::to_extend(entry, vec![0; 4]).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    let mut bytes = bytes;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// The whole entries at the beginning of a file, and how many bytes they are, with the line before them.
pub(super) fn read_all(bytes: &[u8]) -> (Vec<Entry>, usize) {
    let mut entries = Vec::new();
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        return (entries, 0);
    };
    while let Some((length, behind)) = rest.split_first_chunk::<4>()
        && let Some((entry, behind)) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)
        && let Ok(entry) = postcard::from_bytes(entry)
    {
        entries.push(entry);
        rest = behind;
    }
    (entries, bytes.len() - rest.len())
}
