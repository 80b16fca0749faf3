//! Records for the tests of the encoders.

use std::sync::Arc;

use jiff::tz::TimeZone;
use tcpwatch_common::Counts;

use crate::record::{
    BannedPrefix, Destination, GeoFile, Place, Record, RecordTotals, SCHEMA, Scope, WatchedInterface, sample,
};
use crate::sink::{Encode, PIECE_BYTES, Pieces, Style};

pub(super) fn style() -> Style {
    Style {
        zone: TimeZone::UTC,
        ..Style::default()
    }
}

pub(super) fn counts(packets: u64, bytes: u64) -> Counts {
    Counts { packets, bytes }
}

pub(super) fn empty() -> Record {
    Record {
        schema: SCHEMA,
        host: "h".into(),
        boot_id: "b".into(),
        run: "r".into(),
        seq: 1,
        start: "2026-01-02T03:04:00Z".parse().unwrap(),
        end: "2026-01-02T03:04:20Z".parse().unwrap(),
        seconds: 20.0001,
        partial: false,
        interfaces: vec![WatchedInterface::new("eth0", "tcx")],
        totals: RecordTotals::default(),
        skbs: 0,
        balanced: true,
        drains: 1,
        geo: vec![],
        destinations: vec![],
        banned: vec![],
    }
}

pub(super) fn geo() -> Vec<GeoFile> {
    vec![GeoFile {
        file: "/var/lib/GeoIP/GeoLite2-Country.mmdb".into(),
        kind: "GeoLite2-Country".into(),
        built: jiff::civil::date(2026, 1, 1),
    }]
}

/// To a documentation address.
pub(super) fn destination(address: &str, packets: u64, bytes: u64) -> Destination {
    Destination {
        address: address.parse().unwrap(),
        source: Some("198.51.100.7".parse().unwrap()),
        interface: "eth0".into(),
        packets,
        bytes,
        tcp_connections: None,
        quic_connections: None,
        scope: Scope::Documentation,
        place: Arc::default(),
        names: None,
    }
}

pub(super) fn scoped(address: &str, packets: u64, bytes: u64, scope: Scope) -> Destination {
    Destination {
        scope,
        ..destination(address, packets, bytes)
    }
}

pub(super) fn in_country(address: &str, packets: u64, bytes: u64, code: &str, name: &str) -> Destination {
    let mut destination = scoped(address, packets, bytes, Scope::Global);
    destination.place = Arc::new(Place {
        country: Some(code.into()),
        country_name: Some(name.into()),
        ..Place::default()
    });
    destination
}

/// The same destination, with what is known of its network.
pub(super) fn in_network(
    mut destination: Destination,
    number: u32,
    name: &str,
    anycast: bool,
) -> Destination {
    let place = Arc::make_mut(&mut destination.place);
    place.asn = Some(number);
    place.network = Some(name.into());
    place.anycast = Some(anycast);
    destination
}

/// The same destination, with names that were read and their connections.
pub(super) fn named(destination: Destination, names: &[(&str, u64)]) -> Destination {
    Destination {
        names: sample::read(names),
        ..destination
    }
}

/// The same destination, with names that were asked for.
pub(super) fn asked(destination: Destination, names: &[&str]) -> Destination {
    Destination {
        names: sample::asked(names),
        ..destination
    }
}

pub(super) fn banned(prefix: &str, packets: u64, bytes: u64) -> BannedPrefix {
    BannedPrefix {
        prefix: prefix.parse().unwrap(),
        packets,
        bytes,
    }
}

/// What `encoder` makes of a record.
pub(super) fn encoded(encoder: &dyn Encode, record: &Record) -> String {
    encoded_in(PIECE_BYTES, encoder, record)
}

/// The same, in pieces of another size.
pub(super) fn encoded_in(piece_bytes: usize, encoder: &dyn Encode, record: &Record) -> String {
    let mut bytes = Vec::new();
    let mut take = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    let mut pieces = Pieces::new(piece_bytes, &mut take);
    encoder.encode(record, &mut pieces).unwrap();
    pieces.finish().unwrap();
    String::from_utf8(bytes).unwrap()
}
