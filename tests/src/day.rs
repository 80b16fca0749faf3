//! A made-up day of a proxy's traffic, always the same, as a report: 40 networks, some 900 destinations, two evenings' peaks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use tcpwatch::record::{GeoFile, RecordTotals};
use tcpwatch::report::{
    Banned, Bins, Dimension, Facts, Finding, Group, Part, Period, Previous, Proof, Rate, Report, Rest,
    SCHEMA, Section, Snippet, Sort, Sum,
};
use tcpwatch_common::Counts;

/// Half hours of the day.
const STEPS: usize = 48;
const STEP_MS: i64 = 30 * 60 * 1000;

/// Rows of a section.
const TOP: usize = 40;

/// Number, name, packets of the day in thousands, destinations, countries.
type Network = (u32, &'static str, u64, u32, &'static [&'static str]);

const NETWORKS: [Network; 40] = [
    (15169, "GOOGLE", 9_400, 96, &["US", "US", "NL", "DE", "US", "FI"]),
    (13335, "CLOUDFLARENET", 5_200, 80, &["US"]),
    (32934, "FACEBOOK", 3_900, 30, &["IE", "US", "DE"]),
    (62041, "TELEGRAM", 3_100, 12, &["GB", "NL"]),
    (
        16509,
        "AMAZON-02",
        2_700,
        110,
        &["US", "DE", "IE", "JP", "SG", "IN"],
    ),
    (
        8075,
        "MICROSOFT-CORP-MSN-AS-BLOCK",
        2_200,
        60,
        &["US", "NL", "IE"],
    ),
    (2906, "AS-SSI Netflix", 1_900, 14, &["US", "DE"]),
    (20940, "AKAMAI-ASN1", 1_700, 44, &["NL", "DE", "GB", "FR"]),
    (54113, "FASTLY", 1_100, 32, &["US"]),
    (714, "APPLE-ENGINEERING", 960, 22, &["US"]),
    (3320, "DTAG Deutsche Telekom AG", 700, 40, &["DE"]),
    (24940, "HETZNER-AS", 640, 28, &["DE", "FI"]),
    (16276, "OVH", 510, 26, &["FR", "CA", "PL"]),
    (138699, "TIKTOK-AS-AP", 480, 16, &["SG"]),
    (47541, "VKONTAKTE-SPB-AS", 430, 9, &["RU"]),
    (13238, "YANDEX", 400, 18, &["RU"]),
    (12876, "Online SAS", 300, 12, &["FR"]),
    (14061, "DIGITALOCEAN-ASN", 280, 22, &["US", "NL", "SG"]),
    (396982, "GOOGLE-CLOUD-PLATFORM", 260, 24, &["US", "BE"]),
    (45102, "ALIBABA-CN-NET", 210, 14, &["CN", "SG", "HK"]),
    (9009, "M247", 190, 14, &["RO", "GB"]),
    (31898, "ORACLE-BMC-31898", 160, 12, &["US", "BR"]),
    (4134, "CHINANET-BACKBONE", 150, 14, &["CN"]),
    (6939, "HURRICANE", 130, 8, &["US"]),
    (3356, "LEVEL3", 120, 8, &["US"]),
    (7922, "COMCAST-7922", 110, 14, &["US"]),
    (4713, "OCN NTT Communications Corporation", 90, 8, &["JP"]),
    (12389, "ROSTELECOM-AS", 88, 12, &["RU"]),
    (9121, "TTNet", 80, 8, &["TR"]),
    (3215, "Orange S.A.", 76, 9, &["FR"]),
    (28573, "Claro NXT Telecomunicacoes Ltda", 60, 9, &["BR"]),
    (55836, "RELIANCEJIO-IN", 58, 10, &["IN"]),
    (2856, "BT-UK-AS", 50, 7, &["GB"]),
    (1221, "ASN-TELSTRA", 42, 5, &["AU"]),
    (36947, "ALGTEL-AS", 30, 4, &["DZ"]),
    (37963, "ALIBABA-CN-NET Hangzhou", 28, 6, &["CN"]),
    (29049, "Delta Telecom Ltd", 20, 3, &["AZ"]),
    (3741, "IS", 16, 3, &["ZA"]),
    (
        6400,
        "Compa\u{f1}\u{ed}a Dominicana de Tel\u{e9}fonos S. A.",
        9,
        2,
        &["DO"],
    ),
    (12180, "INTERNAP-2BLK", 6, 2, &["US"]),
];

const COUNTRIES: [(&str, &str); 27] = [
    ("AU", "Australia"),
    ("AZ", "Azerbaijan"),
    ("BE", "Belgium"),
    ("BR", "Brazil"),
    ("CA", "Canada"),
    ("CN", "China"),
    ("DE", "Germany"),
    ("DO", "Dominican Republic"),
    ("DZ", "Algeria"),
    ("FI", "Finland"),
    ("FR", "France"),
    ("GB", "United Kingdom"),
    ("HK", "Hong Kong"),
    ("IE", "Ireland"),
    ("IN", "India"),
    ("JP", "Japan"),
    ("NL", "Netherlands"),
    ("PL", "Poland"),
    ("RO", "Romania"),
    ("RU", "Russia"),
    ("SG", "Singapore"),
    ("TR", "T\u{fc}rkiye"),
    ("US", "United States"),
    ("ZA", "South Africa"),
    ("ES", "Spain"),
    ("IT", "Italy"),
    ("SE", "Sweden"),
];

const NAMES: [(u32, &[&str]); 8] = [
    (
        15169,
        &[
            "rr4---sn-4g5e6nzz.googlevideo.com",
            "www.youtube.com",
            "www.google.com",
            "fonts.gstatic.com",
        ],
    ),
    (13335, &["discord.com", "cdn.jsdelivr.net", "chatgpt.com"]),
    (
        32934,
        &["scontent.xx.fbcdn.net", "graph.instagram.com", "web.whatsapp.com"],
    ),
    (16509, &["api.twitch.tv", "d1.awsstatic.com"]),
    (8075, &["outlook.office365.com", "login.microsoftonline.com"]),
    (2906, &["ipv4-c012-fra001-ix.1.oca.nflxvideo.net"]),
    (20940, &["steamcdn-a.akamaihd.net", "www.apple.com"]),
    (54113, &["www.reddit.com", "github.githubassets.com"]),
];

/// Traffic to one destination from one source.
struct Flow {
    network: Option<(u32, &'static str)>,
    country: Option<&'static str>,
    scope: &'static str,
    address: IpAddr,
    source: IpAddr,
    name: Option<&'static str>,
    series: Vec<Sum>,
    sum: Sum,
}

/// The day, all of it.
pub fn day() -> Report {
    report(&flows(), None)
}

/// What the day says of Google.
pub fn question() -> Report {
    let flows = flows();
    let matching = |flow: &Flow| flow.network.is_some_and(|(number, _)| number == 15169);
    let all = total(flows.iter());
    let mut report = report(
        &flows.into_iter().filter(matching).collect::<Vec<_>>(),
        Some("google (AS15169)"),
    );
    report.all = all;
    report.totals = totals(all);
    report.proof = proof(&report.totals);
    report.facts = Some(facts(&report));
    report
}

/// Numbers that look like chance and are always the same (the constants are Knuth's).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

fn flows() -> Vec<Flow> {
    let mut chance = Chance(5);
    let mut flows = Vec::new();
    for (number, network, thousands, destinations, countries) in NETWORKS {
        let names = NAMES
            .iter()
            .find(|(of, _)| *of == number)
            .map_or(&[][..], |(_, names)| names);
        for nth in 0..destinations {
            // The first destinations have most of it.
            let weight = thousands * 1000 / u64::from(nth + 2) / 3 + 1;
            let v6 = chance.below(4) == 0;
            flows.push(flow(
                &mut chance,
                weight,
                Flow {
                    network: Some((number, network)),
                    country: Some(countries[nth as usize % countries.len()]),
                    scope: "global",
                    address: address(number, nth, v6),
                    source: source(v6, nth),
                    name: names.get(nth as usize % (names.len() * 2).max(1)).copied(),
                    series: Vec::new(),
                    sum: Sum::default(),
                },
            ));
        }
    }
    for (scope, address, weight) in [
        ("private", "10.8.0.2", 310_000),
        ("private", "192.168.77.4", 24_000),
        ("multicast", "224.0.0.251", 1_900),
        ("global", "185.220.101.34", 61_000),
    ] {
        let flow_of = Flow {
            network: None,
            country: None,
            scope,
            address: address.parse().expect("an address"),
            source: source(false, 0),
            name: None,
            series: Vec::new(),
            sum: Sum::default(),
        };
        flows.push(flow(&mut chance, weight, flow_of));
    }
    flows
}

/// Spreads about `packets` over the day: few in the early morning, most in the evening.
fn flow(chance: &mut Chance, packets: u64, mut flow: Flow) -> Flow {
    let size = 90 + chance.below(900);
    for step in 0..STEPS {
        // The day begins at eight.
        let hour = (8 + step / 2) % 24;
        let shape = [
            6, 4, 3, 2, 2, 3, 6, 10, 14, 16, 17, 18, 20, 20, 19, 18, 20, 24, 30, 36, 40, 42, 32, 16,
        ][hour];
        let burst = if chance.below(60) == 0 { 4 } else { 1 };
        let amount = packets * shape * (60 + chance.below(80)) * burst / 100 / 840;
        let sum = Sum {
            packets: amount,
            bytes: amount * (size + chance.below(120)),
            tcp_connections: Some(amount / 60),
            quic_connections: Some(
                if flow
                    .network
                    .is_some_and(|network| matches!(network.0, 15169 | 13335 | 32934))
                {
                    amount / 140
                } else {
                    0
                },
            ),
        };
        flow.sum.add(sum);
        flow.series.push(sum);
    }
    flow
}

fn address(number: u32, nth: u32, v6: bool) -> IpAddr {
    if v6 {
        let part = |shift: u32| (number >> shift & 0xffff) as u16;
        IpAddr::V6(Ipv6Addr::new(
            0x2a00,
            part(16),
            part(0),
            0,
            0,
            0,
            0,
            (nth + 1) as u16,
        ))
    } else {
        let block = number.wrapping_mul(2_654_435_761);
        IpAddr::V4(Ipv4Addr::new(
            (block >> 24) as u8 % 180 + 23,
            (block >> 16) as u8,
            (block >> 8) as u8,
            (nth * 7 + 3) as u8,
        ))
    }
}

fn source(v6: bool, nth: u32) -> IpAddr {
    let text = match (v6, nth % 5) {
        (true, _) => "2001:db8:51::10",
        (false, 4) => "203.0.113.7",
        (false, _) => "198.51.100.10",
    };
    text.parse().expect("an address")
}

fn total<'a>(flows: impl Iterator<Item = &'a Flow>) -> Sum {
    let mut total = Sum::default();
    for flow in flows {
        total.add(flow.sum);
    }
    total
}

fn totals(counted: Sum) -> RecordTotals {
    let counts = |packets, bytes| Counts { packets, bytes };
    let mut totals = RecordTotals {
        counted: counts(counted.packets, counted.bytes),
        banned: counts(1_204_417, 963_533_600),
        served: counts(21_450_902, 24_001_554_338),
        other_source: counts(1_771, 141_680),
        not_ip: counts(8_640, 362_880),
        malformed: counts(3, 180),
        ..RecordTotals::default()
    };
    for part in [
        totals.counted,
        totals.banned,
        totals.served,
        totals.other_source,
        totals.not_ip,
        totals.malformed,
    ] {
        totals.seen.packets += part.packets;
        totals.seen.bytes += part.bytes;
    }
    totals
}

fn proof(totals: &RecordTotals) -> Proof {
    Proof {
        rows: totals.counted,
        counted: totals.counted,
        outcomes: totals.seen,
        seen: totals.seen,
        balanced: 4_320,
        holds: true,
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn report(flows: &[Flow], filter: Option<&str>) -> Report {
    let matched = total(flows.iter());
    let totals = totals(matched);
    let period = Period {
        from: time("2026-11-23T07:00:00Z"),
        to: time("2026-11-24T07:00:00Z"),
    };
    let mut series = vec![Sum::default(); STEPS];
    let mut heat = [[0; 24]; 7];
    for (step, sum) in flows.iter().flat_map(|flow| flow.series.iter().enumerate()) {
        series[step].add(*sum);
        // Berlin, from Monday at eight.
        let hour = 8 + step / 2;
        heat[hour / 24][hour % 24] += sum.packets;
    }
    let address = |flow: &Flow| (flow.address.to_string(), flow.address.to_string());
    Report {
        schema: SCHEMA,
        hosts: vec!["proxy-fra-1".to_owned()],
        zone: "Europe/Berlin".to_owned(),
        period,
        asked: None,
        extent: Some(Period {
            from: time("2026-10-02T14:31:20Z"),
            to: period.to,
        }),
        intervals: 4_320,
        recorded_seconds: 86_391.44,
        unbalanced: 0,
        skbs: 9_104_220,
        totals,
        proof: proof(&totals),
        filter: filter.map(str::to_owned),
        matched,
        all: matched,
        destinations: flows.len() as u64,
        sort: Sort::Packets,
        bins: Bins {
            first_ms: period.from.as_millisecond(),
            step_ms: STEP_MS,
            count: STEPS,
        },
        series,
        sections: vec![
            section(Dimension::Country, flows, &|flow| match flow.country {
                Some(code) => {
                    let name = COUNTRIES
                        .iter()
                        .find(|(known, _)| *known == code)
                        .map_or(code, |(_, name)| name);
                    (code.to_owned(), format!("{code} {name}"))
                }
                None => (flow.scope.to_owned(), unknown(flow.scope)),
            }),
            section(Dimension::Network, flows, &|flow| match flow.network {
                Some((number, name)) => (format!("AS{number}"), format!("AS{number} {name}")),
                None => (flow.scope.to_owned(), unknown(flow.scope)),
            }),
            section(Dimension::Name, flows, &|flow| {
                let name = flow.name.unwrap_or("no name known");
                (name.to_owned(), name.to_owned())
            }),
            section(Dimension::Destination, flows, &address),
            section(Dimension::Source, flows, &|flow| {
                (flow.source.to_string(), flow.source.to_string())
            }),
            section(Dimension::Scope, flows, &|flow| {
                (flow.scope.to_owned(), flow.scope.to_owned())
            }),
        ],
        heat,
        heat_unplaced: 0,
        banned: vec![
            Banned {
                prefix: "203.0.113.64/26".to_owned(),
                packets: 1_200_001,
                bytes: 963_000_000,
            },
            Banned {
                prefix: "2001:db8:a::/48".to_owned(),
                packets: 4_416,
                bytes: 533_600,
            },
        ],
        geo: vec![
            GeoFile {
                file: "/var/lib/tcpwatch/dbip-city-lite.mmdb".into(),
                kind: "DBIP-City-Lite".into(),
                built: jiff::civil::date(2026, 11, 1),
            },
            GeoFile {
                file: "/usr/share/GeoIP/GeoLite2-ASN.mmdb".into(),
                kind: "GeoLite2-ASN".into(),
                built: jiff::civil::date(2026, 11, 20),
            },
        ],
        facts: None,
    }
}

fn unknown(scope: &str) -> String {
    match scope {
        "global" => "unknown".to_owned(),
        scope => scope.to_owned(),
    }
}

fn section(by: Dimension, flows: &[Flow], key: &dyn Fn(&Flow) -> (String, String)) -> Section {
    let mut rows: BTreeMap<String, (Group, Vec<IpAddr>)> = BTreeMap::new();
    for flow in flows {
        let (key, label) = key(flow);
        let (group, addresses) = rows.entry(key.clone()).or_insert_with(|| {
            let place = if by == Dimension::Destination {
                let network = flow.network.map_or("", |(_, name)| name);
                format!("{} {network}", flow.country.unwrap_or(flow.scope))
            } else {
                String::new()
            };
            let group = Group {
                key,
                label,
                place,
                country: flow.country.map(Into::into),
                asn: flow.network.map(|(number, _)| number),
                address: matches!(by, Dimension::Destination).then_some(flow.address),
                names: flow
                    .name
                    .filter(|_| by == Dimension::Destination)
                    .map(|name| vec![name.into()])
                    .unwrap_or_default(),
                sum: Sum::default(),
                destinations: 0,
                series: vec![0; STEPS],
            };
            (group, Vec::new())
        });
        group.sum.add(flow.sum);
        for (all, sum) in group.series.iter_mut().zip(&flow.series) {
            *all += sum.packets;
        }
        addresses.push(flow.address);
    }
    let mut groups: Vec<Group> = rows
        .into_values()
        .map(|(mut group, mut addresses)| {
            addresses.sort();
            addresses.dedup();
            group.destinations = addresses.len() as u64;
            group
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.sum.packets));
    let cut = groups.split_off(groups.len().min(TOP));
    let rest = (!cut.is_empty()).then(|| {
        let mut rest = Rest {
            groups: cut.len() as u64,
            sum: Sum::default(),
            series: vec![0; STEPS],
        };
        for group in &cut {
            rest.sum.add(group.sum);
            for (all, packets) in rest.series.iter_mut().zip(&group.series) {
                *all += packets;
            }
        }
        rest
    });
    Section { by, groups, rest }
}

fn facts(report: &Report) -> Facts {
    let rate = |mean: f64| Rate {
        mean,
        peak: mean * 4.37,
        peak_end: time("2026-11-23T20:14:20Z"),
        peak_seconds: 20.0,
    };
    let parts = |by: Dimension| -> Vec<Part> {
        let section = report
            .sections
            .iter()
            .find(|section| section.by == by)
            .expect("a section");
        let part = |group: &Group| Part {
            label: group.label.clone(),
            sum: group.sum,
            share: group.sum.packets as f64 / report.matched.packets as f64,
            destinations: group.destinations,
        };
        section.groups.iter().map(part).collect()
    };
    let minutes = report.recorded_seconds / 60.0;
    let mut previous = report.matched;
    previous.packets = previous.packets * 10 / 13;
    previous.bytes = previous.bytes * 10 / 13;
    Facts {
        packets: rate(report.matched.packets as f64 / minutes),
        tcp_connections: report.matched.tcp_connections.map(|number| rate(number as f64 / minutes)),
        quic_connections: report.matched.quic_connections.map(|number| rate(number as f64 / minutes)),
        sources: parts(Dimension::Source),
        families: Vec::new(),
        hours: [0; 24],
        previous: Some(Previous {
            period: Period {
                from: time("2026-11-22T07:00:00Z"),
                to: time("2026-11-23T07:00:00Z"),
            },
            recorded_seconds: 86_400.0,
            matched: previous,
            all: report.all,
        }),
        domains: parts(Dimension::Name),
        countries: parts(Dimension::Country),
        anycast: Vec::new(),
        findings: vec![
            Finding {
                kind: "sources",
                text: "Three own addresses reach this target: a site that ties a session to one address sees it change.".to_owned(),
            },
            Finding {
                kind: "ipv6",
                text: "A quarter of the packets leave by IPv6 from 2001:db8:51::10, an address in a range that many hosts share."
                    .to_owned(),
            },
        ],
        snippets: vec![Snippet {
            title: "gai.conf",
            purpose: "Prefer IPv4 for names that have both.".to_owned(),
            text: "# /etc/gai.conf\nprecedence ::ffff:0:0/96  100\n".to_owned(),
            packets: report.matched.packets / 4,
            share: 0.25,
        }],
        undecided: Sum::default(),
        unknown: vec!["What the site knows of the accounts that were used.".to_owned()],
    }
}
