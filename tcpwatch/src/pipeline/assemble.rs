//! A tally becomes a record: names, places and order. Pure but for the enricher's own look-ups.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tcpwatch_common::{Address, Counts, Traffic};

use crate::enrich::{Enricher, scope};
use crate::kernel::drain::Moment;
use crate::kernel::policy::to_ip;
use crate::record::{BannedPrefix, Destination, Names, Record, RecordTotals, SCHEMA, WatchedInterface};
use crate::tally::Tally;

/// What `source` holds for a packet that was let through by `--source any` from an address that is not ours.
const NO_SOURCE: Address = [0; 16];

/// Who is speaking: the same in every record of a run.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The host's name.
    pub host: Arc<str>,
    /// The kernel's identifier of this boot.
    pub boot_id: Arc<str>,
    /// Identifier of this run.
    pub run: Arc<str>,
}

/// What a record says of its interval, besides the counts.
#[derive(Debug)]
pub struct Interval<'a> {
    /// Number of the record.
    pub seq: u64,
    /// When it began.
    pub start: Moment,
    /// When it ended.
    pub end: Moment,
    /// Whether it was cut short.
    pub partial: bool,
    /// What is watched.
    pub interfaces: Vec<WatchedInterface>,
    /// Interface names by number.
    pub names: &'a HashMap<u32, Arc<str>>,
}

/// Puts the record together. `names` answers what is known of a destination and the own source it was sent from;
/// it is asked in the order of the rows.
pub fn record(
    identity: &Identity,
    interval: Interval<'_>,
    tally: Tally,
    enricher: &mut dyn Enricher,
    names: &mut dyn FnMut(IpAddr, Option<IpAddr>) -> Option<Arc<Names>>,
) -> Record {
    let mut destinations: Vec<Destination> = tally
        .destinations
        .into_iter()
        .map(|(key, traffic)| {
            let Traffic {
                counts: Counts { packets, bytes },
                tcp_connections,
                quic_connections,
            } = traffic;
            let address = to_ip(key.destination);
            let interface = interval
                .names
                .get(&key.ifindex)
                .map_or_else(|| Arc::from(key.ifindex.to_string()), Arc::clone);
            let source = (key.source != NO_SOURCE).then(|| to_ip(key.source));
            Destination {
                address,
                source,
                interface,
                packets,
                bytes,
                tcp_connections: Some(tcp_connections),
                quic_connections: Some(quic_connections),
                scope: scope(address),
                place: enricher.place(address),
                names: None,
            }
        })
        .collect();
    destinations.sort_unstable_by(|a, b| {
        b.packets
            .cmp(&a.packets)
            .then_with(|| a.address.cmp(&b.address))
            .then_with(|| a.source.cmp(&b.source))
            .then_with(|| a.interface.cmp(&b.interface))
    });
    // In their order: of rows that differ in the interface only, the first has the connections of the names.
    for destination in &mut destinations {
        destination.names = names(destination.address, destination.source);
    }
    Record {
        schema: SCHEMA,
        host: Arc::clone(&identity.host),
        boot_id: Arc::clone(&identity.boot_id),
        run: Arc::clone(&identity.run),
        seq: interval.seq,
        start: interval.start.wall,
        end: interval.end.wall,
        seconds: interval
            .end
            .monotonic
            .saturating_duration_since(interval.start.monotonic)
            .as_secs_f64(),
        partial: interval.partial,
        interfaces: interval.interfaces,
        totals: RecordTotals::from(&tally.totals),
        skbs: tally.totals.skbs,
        balanced: tally.balanced,
        drains: tally.drains,
        geo: enricher.files(),
        destinations,
        banned: banned(tally.bans),
    }
}

fn banned(bans: impl IntoIterator<Item = (IpNet, Counts)>) -> Vec<BannedPrefix> {
    let mut banned: Vec<BannedPrefix> = bans
        .into_iter()
        .map(|(prefix, Counts { packets, bytes })| BannedPrefix {
            prefix,
            packets,
            bytes,
        })
        .collect();
    banned.sort_by(|a, b| b.packets.cmp(&a.packets).then_with(|| a.prefix.cmp(&b.prefix)));
    banned
}
