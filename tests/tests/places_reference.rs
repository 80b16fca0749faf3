//! A database made of Debian's data against the readers of those who make the data and the form: libloc's own program,
//! Tor's ranges, `mmdblookup`. What may differ, and why, is in docs/places.md, and is repeated here as code.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;

use tcpwatch_tests::invocation::binary;
use tcpwatch_tests::readers::{self, Answer, Libloc, Tor};
use tcpwatch_tests::{note, places};

/// Addresses that are compared, of each family.
const AT_LEAST: usize = 5000;

/// How many of them are also asked of `mmdblookup`, which takes one at a time.
const ONE_BY_ONE: usize = 1000;

/// Imports files into a database, which is returned.
fn import(directory: &Path, name: &str, files: &[&Path]) -> maxminddb::Reader<Vec<u8>> {
    let path = directory.join(name);
    let output = Command::new(binary())
        .args(["geo", "import", "--output"])
        .arg(&path)
        .args(files)
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    note(format_args!("{}", said.lines().next().unwrap()));
    maxminddb::Reader::open_readfile(path).unwrap()
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// An address, `by` further, where there is one.
fn shifted(address: IpAddr, by: i8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => Some(Ipv4Addr::from_bits(v4.to_bits().checked_add_signed(by.into())?).into()),
        IpAddr::V6(v6) => Some(Ipv6Addr::from_bits(v6.to_bits().checked_add_signed(by.into())?).into()),
    }
}

/// Both ends of a range, and the addresses before and behind it: where a mistake in a boundary shows.
fn edges((first, last): (IpAddr, IpAddr)) -> impl Iterator<Item = IpAddr> {
    [shifted(first, -1), Some(first), Some(last), shifted(last, 1)]
        .into_iter()
        .flatten()
}

/// Edges of random ranges of Tor, and of libloc's networks there and at random addresses.
fn sample(libloc: &Libloc, tor: &Tor) -> Vec<IpAddr> {
    let mut random = Random(0x7463_7077_6174_6368);
    let v6_begin = tor.ranges.partition_point(|(first, _, _)| first.is_ipv4());
    let mut chosen = BTreeSet::new();
    for (begin, end, count) in [(0, v6_begin, 900), (v6_begin, tor.ranges.len(), 1500)] {
        for _ in 0..count {
            let (first, last, _) = &tor.ranges[begin + random.below(end - begin)];
            chosen.extend(edges((*first, *last)));
        }
    }
    for _ in 0..600 {
        chosen.insert(Ipv4Addr::from_bits(random.next() as u32).into());
    }
    let inside: Vec<IpAddr> = chosen.iter().copied().collect();
    for answer in libloc.lookup(&inside) {
        chosen.extend(answer.network.into_iter().flat_map(edges));
    }
    // Rule: the form shows IPv4 addresses there.
    let aliased: [ipnet::Ipv6Net; 3] = ["::/96", "2001::/32", "2002::/16"].map(|net| net.parse().unwrap());
    chosen.retain(|address| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !aliased.iter().any(|net| net.contains(v6)),
    });
    chosen.into_iter().collect()
}

/// What the sources come to by the rules.
fn expected(libloc: Answer, tor: Option<&str>) -> Answer {
    let country = tor
        .map(str::to_owned)
        .or(libloc.country)
        .map(|code| match code.as_str() {
            // Rule: the registries' slip.
            "UK" => "GB".to_owned(),
            _ => code,
        });
    Answer {
        // Rule: kinds of networks are not countries.
        country: country.filter(|code| !["A1", "A2", "A3", "T1", "XD", "XX", "ZZ"].contains(&code.as_str())),
        // Rule: no control characters in names.
        network: libloc
            .network
            .map(|name| name.chars().filter(|c| !c.is_control()).collect()),
        ..libloc
    }
}

/// The addresses at which a database and the sources differ, with both answers.
fn differences(
    addresses: &[(IpAddr, Answer)],
    ours: impl Fn(IpAddr) -> Answer,
) -> Vec<(IpAddr, Answer, Answer)> {
    addresses
        .iter()
        .filter_map(|(address, expected)| {
            let found = ours(*address);
            (found != *expected).then(|| (*address, found, expected.clone()))
        })
        .collect()
}

#[test]
fn a_database_of_debians_data_answers_as_libloc_and_tor_do() {
    let data = readers::data();
    let directory = tempfile::tempdir().unwrap();
    let files = ["location.db", "geoip", "geoip6"].map(|name| data.join(name));
    let files = files.each_ref().map(|path| path.as_path());
    let reader = import(directory.path(), "places.mmdb", &files);
    let file = directory.path().join("places.mmdb");

    let (libloc, tor) = (Libloc::new(&data), Tor::new(&data));
    let addresses = sample(&libloc, &tor);
    let answers: Vec<(IpAddr, Answer)> = addresses
        .iter()
        .zip(libloc.lookup(&addresses))
        .map(|(address, found)| (*address, expected(found.answer, tor.country(*address))))
        .collect();
    let count =
        |what: &dyn Fn(&(IpAddr, Answer)) -> bool| answers.iter().filter(|answer| what(answer)).count();
    let (v4, v6) = (
        count(&|(address, _)| address.is_ipv4()),
        count(&|(address, _)| address.is_ipv6()),
    );
    assert!(v4 >= AT_LEAST && v6 >= AT_LEAST, "{v4} of IPv4, {v6} of IPv6");
    // The sample has some of everything that could be wrong.
    let (networks, anycast) = (
        count(&|(_, answer)| answer.network.is_some()),
        count(&|(_, answer)| answer.anycast),
    );
    let unknown = count(&|(_, answer)| *answer == Answer::default());
    assert!(
        networks > AT_LEAST && anycast > 20 && unknown > 20,
        "{networks}, {anycast}, {unknown}"
    );
    note(format_args!(
        "{v4} addresses of IPv4, {v6} of IPv6: {networks} in named networks, {anycast} anycast, {unknown} unknown"
    ));

    let differing = differences(&answers, |address| readers::maxminddb(&reader, address));
    assert!(
        differing.is_empty(),
        "{} differ: {:#?}",
        differing.len(),
        &differing[..differing.len().min(5)]
    );

    let some: Vec<_> = answers
        .iter()
        .step_by(answers.len() / ONE_BY_ONE)
        .cloned()
        .collect();
    let differing = differences(&some, |address| readers::mmdblookup(&file, address));
    assert!(
        differing.is_empty(),
        "{} differ: {:#?}",
        differing.len(),
        &differing[..differing.len().min(5)]
    );

    // Negative control: a database that is wrong at one address of each family, in country, network and all, is
    // found out, at these addresses and no other.
    let mut known = answers.iter().filter(|(_, answer)| answer.network.is_some());
    let (first, last) = (known.next().unwrap(), known.next_back().unwrap());
    let wrong = [first.0, last.0];
    assert!(wrong[0].is_ipv4() && wrong[1].is_ipv6());
    let lines: String = wrong
        .iter()
        .map(|address| format!("{address},AQ,4294967294,WRONG\n"))
        .collect();
    let lines = places::write(directory.path(), "wrong.csv", lines.as_bytes());
    let mut files = files.to_vec();
    files.push(&lines);
    let reader = import(directory.path(), "wrong.mmdb", &files);
    let differing = differences(&answers, |address| readers::maxminddb(&reader, address));
    let found: Vec<IpAddr> = differing.iter().map(|(address, _, _)| *address).collect();
    assert_eq!(found, wrong);
    let wrong_file = directory.path().join("wrong.mmdb");
    assert_ne!(readers::mmdblookup(&wrong_file, first.0), first.1);
}
