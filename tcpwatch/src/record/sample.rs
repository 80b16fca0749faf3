//! Records for tests, with their books in order.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use tcpwatch_common::Counts;

use super::{
    BannedPrefix, Destination, Evidence, GeoFile, Name, Names, Place, Record, RecordTotals, SCHEMA, Scope,
    WatchedInterface,
};

/// Of 20 seconds.
pub(crate) fn record(run: &str, seq: u64, end_ms: i64, destinations: Vec<Destination>) -> Record {
    let mut record = Record {
        schema: SCHEMA,
        host: "proxy1".into(),
        boot_id: "b".into(),
        run: run.into(),
        seq,
        start: Timestamp::from_millisecond(end_ms - 20_000).unwrap(),
        end: Timestamp::from_millisecond(end_ms).unwrap(),
        seconds: 20.0,
        partial: false,
        interfaces: vec![WatchedInterface::new("eth0", "tcx")],
        totals: RecordTotals::default(),
        skbs: 0,
        balanced: true,
        drains: 1,
        geo: vec![GeoFile {
            file: "/var/lib/GeoIP/a.mmdb".into(),
            kind: "DBIP-Country-Lite".into(),
            built: jiff::civil::date(2026, 1, 1),
        }],
        destinations,
        banned: Vec::new(),
    };
    balance(&mut record);
    record
}

/// Sorts it, and makes totals of what it has.
pub(crate) fn balance(record: &mut Record) {
    record.destinations.sort_by_key(|row| {
        (
            Reverse(row.packets),
            row.address,
            row.source,
            Arc::clone(&row.interface),
        )
    });
    record
        .banned
        .sort_by_key(|row| (Reverse(row.packets), row.prefix));
    let (mut counted, mut banned) = (Counts::default(), Counts::default());
    for Destination { packets, bytes, .. } in &record.destinations {
        counted.add(Counts {
            packets: *packets,
            bytes: *bytes,
        });
    }
    for BannedPrefix { packets, bytes, .. } in &record.banned {
        banned.add(Counts {
            packets: *packets,
            bytes: *bytes,
        });
    }
    let mut seen = counted;
    seen.add(banned);
    record.totals = RecordTotals {
        seen,
        counted,
        banned,
        ..RecordTotals::default()
    };
    record.skbs = seen.packets;
}

/// Known to no database.
pub(crate) fn destination(address: impl Into<IpAddr>, packets: u64, bytes: u64) -> Destination {
    Destination {
        address: address.into(),
        source: Some([198, 51, 100, 7].into()),
        interface: "eth0".into(),
        packets,
        bytes,
        tcp_connections: None,
        quic_connections: None,
        scope: Scope::Global,
        place: Arc::default(),
        names: None,
    }
}

/// Everything known.
pub(crate) fn place(country: &str, asn: u32) -> Arc<Place> {
    Arc::new(Place {
        country: Some(country.into()),
        country_name: Some(format!("The land of {country}").into()),
        city: Some(format!("{country} City").into()),
        asn: Some(asn),
        network: Some(format!("NET-{asn}").into()),
        anycast: Some(asn.is_multiple_of(2)),
    })
}

/// Names that were asked for.
pub(crate) fn asked(names: &[&str]) -> Option<Arc<Names>> {
    Names::new(Evidence::Dns, names.iter().map(|name| Arc::from(*name))).map(Arc::new)
}

/// Names that were read, with their connections.
pub(crate) fn read(names: &[(&str, u64)]) -> Option<Arc<Names>> {
    let name = |(name, connections): &(&str, u64)| Name {
        name: Arc::from(*name),
        connections: Some(*connections),
    };
    Some(Arc::new(Names {
        from: Evidence::Sni,
        list: names.iter().map(name).collect(),
    }))
}

/// With something in every field.
pub(crate) fn full() -> Record {
    let known = Destination {
        tcp_connections: Some(3),
        quic_connections: Some(0),
        place: place("US", 15169),
        names: read(&[("dns.google", 2), ("dns64.dns.google", 1)]),
        ..destination([8, 8, 8, 8], 30, 4242)
    };
    let unknown = Destination {
        source: None,
        scope: Scope::LinkLocal,
        ..destination([169, 254, 0, 1], 20, 2000)
    };
    let mut record = record("r", 7, 1_700_000_000_000, vec![known, unknown]);
    record.banned.push(BannedPrefix {
        prefix: "203.0.113.0/24".parse().unwrap(),
        packets: 9,
        bytes: 999,
    });
    balance(&mut record);
    record
}
