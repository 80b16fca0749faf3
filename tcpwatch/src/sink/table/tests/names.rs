//! Names and connections in the table.

use super::*;

/// The same host, with connections, and with names that were read and that were asked for.
fn with_names() -> Record {
    let mut record = with_networks();
    let rows = std::mem::take(&mut record.destinations);
    let connections = [(41, 12), (7, 0), (0, 3), (2, 0), (1, 0), (0, 0), (0, 0), (1, 0)];
    let rows = rows
        .into_iter()
        .zip(connections)
        .map(|(row, (tcp, quic))| Destination {
            tcp_connections: Some(tcp),
            quic_connections: Some(quic),
            ..row
        });
    record.destinations = rows.collect();
    let named = |row: usize, names: &[(&str, u64)]| sample::named(record.destinations[row].clone(), names);
    let (search, cdn, again) = (
        named(
            0,
            &[
                ("www.youtube.com", 30),
                ("i.ytimg.com", 9),
                ("www.google.com", 4),
                ("fonts.gstatic.com", 2),
            ],
        ),
        named(1, &[("www.example.co.uk", 4), ("static.example.co.uk", 2)]),
        named(7, &[("m.youtube.com", 1)]),
    );
    let asked = sample::asked(
        record.destinations[2].clone(),
        &["one.one.one.one", "cloudflare-dns.com"],
    );
    record.destinations[0] = search;
    record.destinations[1] = cdn;
    record.destinations[2] = asked;
    record.destinations[7] = again;
    record
}

#[test]
fn names_and_connections_have_their_places() {
    let style = Style {
        top: 4,
        by: vec![Grouping::Country, Grouping::Network, Grouping::Destination],
        ..sample::style()
    };
    let expected = "\
12,345 packets · 10.3 MB · 8 destinations · 617 packets/s · 4.1 Mbit/s
  · 52 TCP connections · 15 QUIC connections

COUNTRY                PACKETS     BYTES  CONNS   SHARE
US  United States        9,700    8.2 MB     56  78.6 %  ██████████████████▏
DE  Germany              1,805    1.5 MB      8  14.6 %  ███▍
    private                500  640.0 kB      2   4.1 %  ▉
FI  Finland                200   12.0 kB      1   1.6 %  ▍
2 more countries           140   13.4 kB      0   1.1 %  ▎

NETWORK                PACKETS     BYTES  CONNS   SHARE
AS15169 GOOGLE           9,005    8.1 MB     54  72.9 %  ████████████████▊
AS20940 AKAMAI-ASN1      1,800    1.5 MB      7  14.6 %  ███▍
AS13335 CLOUDFLARENET      700   60.0 kB      3   5.7 %  █▎
private                    500  640.0 kB      2   4.1 %  ▉
2 more networks            340   25.4 kB      1   2.8 %  ▋

TOP DESTINATIONS                                PACKETS     BYTES  CONNS   SHARE
142.250.184.206      www.youtube.com +3 · US…     9,000    8.1 MB     53  72.9 %
95.101.10.10         www.example.co.uk +1 · D…    1,800    1.5 MB      7  14.6 %
1.1.1.1              one.one.one.one +1 · US…       700   60.0 kB      3   5.7 %
10.0.0.7             private                        500  640.0 kB      2   4.1 %
4 more destinations                                 345   25.8 kB      2   2.8 %

BANNED                                          PACKETS     BYTES
203.0.113.0/24                                      590   70.0 kB
";
    let lines = text(&with_names(), style);
    assert!(lines.contains(expected), "{lines}");
}

#[test]
fn rows_by_name_are_domains_with_the_connections_that_were_read() {
    let style = Style {
        by: vec![Grouping::Name],
        ..sample::style()
    };
    // Packets to an address with several names cannot be divided, but connections that were read can.
    let expected = "\
NAME                            PACKETS     BYTES  CONNS   SHARE
google.com, gstatic.com,…         9,000    8.1 MB      8  72.9 %  ██████████▎
example.co.uk                     1,800    1.5 MB      7  14.6 %  ██
no name known                       840  665.4 kB      3   6.8 %  █
cloudflare-dns.com, one.one         700   60.0 kB      3   5.7 %  ▊
youtube.com                           5     400 B     31  <0.1 %  ▏
ytimg.com                             0       0 B      9   0.0 %
google.com                            0       0 B      4   0.0 %
gstatic.com                           0       0 B      2   0.0 %

";
    let lines = text(&with_names(), style);
    assert!(lines.contains(expected), "{lines}");
    assert_eq!(packets_under(&lines, "NAME"), 12_345);
}

#[test]
fn domains_that_look_alike_in_short_are_rows_of_their_own() {
    let mut record = sample::empty();
    let to = |address, packets, last| {
        let names = ["a.com", "b.com", "c.com", last];
        sample::asked(sample::destination(address, packets, 99), &names)
    };
    record.destinations = vec![to("192.0.2.1", 3, "d.com"), to("192.0.2.2", 2, "e.com")];
    let style = Style {
        by: vec![Grouping::Name],
        ..sample::style()
    };
    let lines = text(&record, style);
    assert_eq!(lines.matches("a.com, b.com, c.com +1").count(), 2, "{lines}");
}

#[test]
fn wider_terminals_show_more_of_a_name() {
    let mut record = with_names();
    let long = "rr5---sn-4g5e6nsz-with-a-long-label.googlevideo.com";
    record.destinations[0] = sample::named(record.destinations[0].clone(), &[(long, 1)]);
    let at = |width| {
        text(
            &record,
            Style {
                width,
                ..sample::style()
            },
        )
    };
    assert!(
        at(80).contains("142.250.184.206           rr5---sn-4g5e6nsz-w…  "),
        "{}",
        at(80)
    );
    assert!(at(120).contains(&format!("{long} · US")), "{}", at(120));
    // With an address that leaves little room, shares give way to names.
    record.destinations[0].address = "2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap();
    let lines = text(&record, sample::style());
    assert!(lines.contains("1234:5678  rr5---sn-4g5"), "{lines}");
    assert!(widest_line(&lines) <= 80, "{lines}");
}

#[test]
fn a_name_cannot_do_anything_to_a_terminal() {
    let mut record = with_names();
    let evil = "e\u{1b}[2J\u{202e}\n.example x";
    record.destinations[0] = sample::named(record.destinations[0].clone(), &[(evil, 1), ("b.example", 1)]);
    for by in [Grouping::Destination, Grouping::Name] {
        let lines = text(
            &record,
            Style {
                by: vec![by],
                width: 120,
                ..sample::style()
            },
        );
        assert!(lines.contains("e?[2J??.example"), "{lines}");
        assert!(!lines.contains(['\u{1b}', '\u{202e}']), "{lines}");
    }
}

#[test]
fn of_two_own_sources_the_stronger_evidence_names_an_address() {
    let mut record = sample::empty();
    let mut other = sample::named(sample::destination("192.0.2.1", 2, 99), &[("read.example", 1)]);
    other.source = Some("198.51.100.8".parse().unwrap());
    record.destinations = vec![
        sample::asked(sample::destination("192.0.2.1", 3, 99), &["asked.example"]),
        other,
    ];
    let lines = plain(&record);
    assert!(
        lines.contains("\n192.0.2.1         read.example · documentation "),
        "{lines}"
    );
}

#[test]
fn of_two_own_sources_the_one_whose_connections_were_read_names_an_address() {
    let mut record = sample::empty();
    let mut now = sample::named(sample::destination("192.0.2.1", 2, 99), &[("now.example", 1)]);
    now.source = Some("198.51.100.8".parse().unwrap());
    let before = sample::named(
        sample::destination("192.0.2.1", 3, 99),
        &[("before.example", 0), ("earlier.example", 0)],
    );
    record.destinations = vec![before, now];
    let lines = plain(&record);
    assert!(
        lines.contains("\n192.0.2.1         now.example · documentation "),
        "{lines}"
    );
}
