//! JSON lines: the record as it is.

use std::io::{self, Write as _};

use crate::record::Record;
use crate::sink::{Encode, Pieces};

/// One JSON object per line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Encode for Json {
    fn encode(&self, record: &Record, to: &mut Pieces<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut *to, record)?;
        to.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::record::{Destination, Evidence, Name, Names, Place, Scope};
    use crate::sink::sample;

    #[test]
    fn a_record_is_one_line_in_the_form_of_the_contract() {
        let mut record = sample::empty();
        record.seq = 7;
        record.geo = sample::geo();
        record.totals.seen = sample::counts(12, 5241);
        record.totals.counted = sample::counts(3, 4242);
        record.totals.banned = sample::counts(9, 999);
        record.skbs = 11;
        record.destinations = vec![sample::destination("192.0.2.1", 3, 4242)];
        record.banned = vec![sample::banned("203.0.113.0/24", 9, 999)];
        let expected = concat!(
            r#"{"schema":1,"host":"h","boot_id":"b","run":"r","seq":7,"#,
            r#""start":"2026-01-02T03:04:00.000Z","end":"2026-01-02T03:04:20.000Z","seconds":20.0,"partial":false,"#,
            r#""interfaces":[{"name":"eth0","attach":"tcx","tx_packets":null,"tx_bytes":null}],"#,
            r#""totals":{"seen":{"packets":12,"bytes":5241},"counted":{"packets":3,"bytes":4242},"#,
            r#""overflow":{"packets":0,"bytes":0},"banned":{"packets":9,"bytes":999},"#,
            r#""served":{"packets":0,"bytes":0},"other_source":{"packets":0,"bytes":0},"#,
            r#""malformed":{"packets":0,"bytes":0},"not_ip":{"packets":0,"bytes":0}},"#,
            r#""skbs":11,"balanced":true,"drains":1,"#,
            r#""geo":[{"file":"/var/lib/GeoIP/GeoLite2-Country.mmdb","type":"GeoLite2-Country","built":"2026-01-01"}],"#,
            r#""destinations":[{"address":"192.0.2.1","source":"198.51.100.7","interface":"eth0","packets":3,"#,
            r#""bytes":4242,"tcp_connections":null,"quic_connections":null,"scope":"documentation","country":null,"#,
            r#""country_name":null,"city":null,"asn":null,"network":null,"anycast":null,"#,
            r#""names":null,"names_from":null,"name_connections":null}],"#,
            r#""banned":[{"prefix":"203.0.113.0/24","packets":9,"bytes":999}]}"#,
            "\n"
        );
        assert_eq!(sample::encoded(&Json, &record), expected);
    }

    #[test]
    fn names_have_their_evidence_and_their_connections() {
        let mut record = sample::empty();
        record.destinations = vec![
            sample::named(
                sample::destination("192.0.2.1", 3, 4242),
                &[("www.example.com", 4), ("a.example", 2)],
            ),
            sample::asked(sample::destination("192.0.2.2", 3, 4242), &["b.example"]),
        ];
        let line = sample::encoded(&Json, &record);
        for names in [
            r#""names":["www.example.com","a.example"],"names_from":"sni","name_connections":[4,2]}"#,
            r#""names":["b.example"],"names_from":"dns","name_connections":null}"#,
        ] {
            assert!(line.contains(names), "{line}");
        }
    }

    #[test]
    fn a_line_break_in_a_text_does_not_break_the_line() {
        let mut record = sample::empty();
        record.host = "a\nb\u{2028}\"".into();
        let line = sample::encoded(&Json, &record);
        assert_eq!(line.matches('\n').count(), 1);
        let back: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(back["host"], "a\nb\u{2028}\"");
    }

    fn any_destination() -> impl Strategy<Value = Destination> {
        let text = || proptest::option::of(any::<String>().prop_map(Arc::<str>::from));
        let names = proptest::collection::vec((any::<String>(), any::<Option<u64>>()), 1..3);
        let counts = (any::<u64>(), any::<u64>(), any::<Option<u64>>());
        let place = (
            text(),
            text(),
            text(),
            any::<Option<u32>>(),
            text(),
            any::<Option<bool>>(),
        );
        (
            any::<std::net::IpAddr>(),
            text(),
            counts,
            place,
            proptest::option::of(names),
        )
            .prop_map(|(address, interface, counts, place, names)| Destination {
                address,
                source: Some(address),
                interface: interface.unwrap_or_default(),
                packets: counts.0,
                bytes: counts.1,
                tcp_connections: counts.2,
                quic_connections: counts.2,
                scope: Scope::LinkLocal,
                place: Arc::new(Place {
                    country: place.0,
                    country_name: place.1,
                    city: place.2,
                    asn: place.3,
                    network: place.4,
                    anycast: place.5,
                }),
                names: names.map(|list| {
                    let list = list.into_iter().map(|(name, connections)| Name {
                        name: name.into(),
                        connections,
                    });
                    Arc::new(Names {
                        from: Evidence::Sni,
                        list: list.collect(),
                    })
                }),
            })
    }

    proptest! {
        #[test]
        fn the_pieces_of_a_line_come_to_the_record_as_serde_makes_it_at_once(
            host: String,
            seconds: f64,
            destinations in proptest::collection::vec(any_destination(), 0..20),
            piece_bytes in 1_usize..2000,
        ) {
            let mut record = sample::empty();
            record.host = host.into();
            record.seconds = seconds;
            record.destinations = destinations;
            record.banned = vec![sample::banned("203.0.113.0/24", 9, 999)];
            let expected = serde_json::to_string(&record).unwrap() + "\n";
            prop_assert_eq!(sample::encoded_in(piece_bytes, &Json, &record), expected);
        }
    }
}
