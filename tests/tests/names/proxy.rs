//! A server between its clients and their targets, with everything on.

use tcpwatch_tests::named::{Named, named, names_of, only, opened};
use tcpwatch_tests::names_lab::hello::Request;
use tcpwatch_tests::names_lab::quic::Client;
use tcpwatch_tests::names_lab::{CLIENT_V4, HTTPS, NamesLab, PAGE, PROXY_PORT, RESOLVER, SERVER_V4, tools};
use tcpwatch_tests::records::{self, Counts};
use tcpwatch_tests::web::Authority;

use crate::{API, WWW};

const WEB: &str = "192.0.2.10";
const QUIC: &str = "192.0.2.20";

#[test]
fn a_request_by_tcp_and_one_by_quic_are_one_connection_each_to_the_right_name() {
    let names = NamesLab::new();
    let authority = Authority::new();
    let _resolver = names.resolver(&format!(
        "host-record=edge.example.net,{WEB}\ncname={WWW},edge.example.net\n"
    ));
    let (_web, _quic) = (names.web(&authority, &[WWW]), names.quic(&authority, &[API]));
    let (_proxy, _relay) = (names.proxy(), names.relay(QUIC));
    let (at_targets, at_clients) = (names.at_targets(), names.at_clients());
    let watch = names.watch(["--names", "dns,tls,quic", "--skip-served"]);
    let page = tools::curl(
        &names.clients,
        &authority,
        &["--proxy", &format!("http://{SERVER_V4}:{PROXY_PORT}")],
        &format!("https://{WWW}/"),
    );
    assert_eq!(page.as_bytes(), PAGE);
    let answers = Client::new(&authority).get(&names.clients, SERVER_V4, HTTPS, &[API]);
    assert_eq!(answers, [PAGE]);
    at_targets.wait_until_quiet();
    at_clients.wait_until_quiet();
    // The books balance: each record says so, and its own sums do.
    let records = watch.stop().books();

    assert_eq!(opened(only(&records, WEB)), (1, 0));
    assert_eq!(names_of(&records, WEB), Some(Named::sni(&[(WWW, 1)])));
    assert_eq!(opened(only(&records, QUIC)), (0, 1));
    assert_eq!(names_of(&records, QUIC), Some(Named::sni(&[(API, 1)])));
    // The resolver is a destination, too, which nobody asked the name of.
    assert_eq!(opened(only(&records, RESOLVER)), (0, 0));
    assert_eq!(names_of(&records, RESOLVER), None);

    // To the packet and the byte: what arrived at the targets, and what arrived at the clients.
    for target in [WEB, QUIC, RESOLVER] {
        assert_eq!(
            records::to(&records, target),
            at_targets.to(target).counts,
            "{target}"
        );
    }
    let totals = records::totals(&records);
    assert_eq!(totals.counted, at_targets.total());
    assert_eq!(totals.served, at_clients.total());
    assert_eq!(records::to(&records, CLIENT_V4), Counts::default());
    assert!(at_clients.to(CLIENT_V4).counts.packets > 10);
}

/// Names cost no packet its place in the books, whatever is read of it.
#[test]
fn with_names_every_packet_of_many_connections_is_counted() {
    const ROUNDS: u64 = 30;

    let names = NamesLab::new();
    let authority = Authority::new();
    let (_web, _quic) = (
        names.web(&authority, &[WWW, API]),
        names.quic(&authority, &[WWW, API]),
    );
    let at_targets = names.at_targets();
    let watch = names
        .lab
        .watch(["--interval", "100ms", "--names", "dns,tls,quic"]);
    let client = Client::new(&authority);
    for _ in 0..ROUNDS {
        for name in [WWW, API] {
            Request::to(name).make(names.server(), &authority, WEB, HTTPS);
        }
        client.get(names.server(), QUIC, HTTPS, &[WWW, API]);
    }
    at_targets.wait_until_quiet();
    let records = watch.stop().books();
    assert_eq!(records::totals(&records).counted, at_targets.total());
    let (mut tcp, mut quic, mut read) = (0, 0, 0);
    for of in records.iter().flat_map(|record| &record.destinations) {
        assert_eq!(of.interface, "eth0");
        let (tcp_here, quic_here) = opened(of);
        (tcp, quic) = (tcp + tcp_here, quic + quic_here);
        // No record has a name that was not said there.
        if let Some(named) = named(of) {
            assert_eq!(named.from, "sni");
            assert!(named.names.iter().all(|name| name == WWW || name == API));
            read += named.connections.into_iter().flatten().sum::<u64>();
        }
    }
    assert_eq!((tcp, quic), (2 * ROUNDS, 2 * ROUNDS));
    // Each connection's name is in one record at most: that of the interval it was read in, if its address is there.
    assert!(
        (ROUNDS * 4 * 9 / 10..=ROUNDS * 4).contains(&read),
        "{read} names read"
    );
}
