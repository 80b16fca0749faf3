//! Answers to the clients of a server: left out when that is asked for, exactly those, and counted like everything else
//! when it is not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use tcpwatch_tests::names_lab::capture::Capture;
use tcpwatch_tests::names_lab::quic::Client;
use tcpwatch_tests::names_lab::{
    CLIENT_V4, CLIENT_V6, HTTPS, NamesLab, PAGE, RESOLVER, SERVER_V4, SERVER_V6, tools,
};
use tcpwatch_tests::note;
use tcpwatch_tests::records::{self, Counts, Record};
use tcpwatch_tests::wait;
use tcpwatch_tests::web::{Authority, Reply, Web};

const TARGET: &str = "192.0.2.10";
const NAME: &str = "www.example.com";

/// What the packet sockets saw while tcpwatch ran, and what it recorded.
struct Seen {
    records: Vec<Record>,
    at_targets: Capture,
    at_clients: Capture,
}

/// Clients of both families ask through the proxy and through the relay while tcpwatch runs with these arguments.
fn through_the_server(arguments: &[&'static str]) -> Seen {
    let names = NamesLab::new();
    let authority = Authority::new();
    let _resolver = names.resolver(&format!("host-record={NAME},{TARGET}\n"));
    let (_web, _quic) = (names.web(&authority, &[NAME]), names.quic(&authority, &[NAME]));
    let (_proxy, _relay) = (names.proxy(), names.relay(TARGET));
    let (at_targets, at_clients) = (names.at_targets(), names.at_clients());
    let watch = names.watch(arguments.iter().copied());
    for server in [SERVER_V4.to_owned(), format!("[{SERVER_V6}]")] {
        let proxy = format!("http://{server}:3128");
        let page = tools::curl(
            &names.clients,
            &authority,
            &["--proxy", &proxy],
            "https://www.example.com/",
        );
        assert_eq!(page.as_bytes(), PAGE);
    }
    for server in [SERVER_V4, SERVER_V6] {
        let answers = Client::new(&authority).get(&names.clients, server, HTTPS, &[NAME]);
        assert_eq!(answers, [PAGE]);
    }
    at_targets.wait_until_quiet();
    at_clients.wait_until_quiet();
    Seen {
        records: watch.stop().books(),
        at_targets,
        at_clients,
    }
}

#[test]
fn answers_to_clients_are_served_to_the_packet_and_targets_are_counted() {
    let seen = through_the_server(&["--skip-served"]);
    let totals = records::totals(&seen.records);
    assert_eq!(totals.served, seen.at_clients.total());
    assert_eq!(totals.counted, seen.at_targets.total());
    assert_eq!(
        records::to(&seen.records, TARGET),
        seen.at_targets.to(TARGET).counts
    );
    assert_eq!(
        records::to(&seen.records, RESOLVER),
        seen.at_targets.to(RESOLVER).counts
    );
    for client in [CLIENT_V4, CLIENT_V6] {
        assert_eq!(records::to(&seen.records, client), Counts::default());
        assert!(seen.at_clients.to(client).counts.packets > 10);
    }
}

/// The negative control.
#[test]
fn without_the_option_clients_are_destinations() {
    let seen = through_the_server(&[]);
    let totals = records::totals(&seen.records);
    assert_eq!(totals.served, Counts::default());
    assert_eq!(
        totals.counted,
        [seen.at_targets.total(), seen.at_clients.total()]
            .into_iter()
            .sum()
    );
    for client in [CLIENT_V4, CLIENT_V6] {
        assert_eq!(
            records::to(&seen.records, client),
            seen.at_clients.to(client).counts
        );
    }
}

/// What the log says once some records are there, of a host that answers a client from a port it serves, or that asks somebody.
fn said_of(answers: bool) -> Vec<String> {
    let names = NamesLab::new();
    let [listening, asking] = [5001, 0].map(|port| {
        names
            .server()
            .within(|| UdpSocket::bind((SERVER_V4, port)).unwrap())
    });
    let from = if answers { &listening } else { &asking };
    let every = ["--interval", "300ms", "--format", "json"];
    let watch = names
        .lab
        .tcpwatch(["run", "--interface", "eth1"])
        .with(every)
        .start();
    wait::until("the records have some hundred packets", || {
        for _ in 0..100 {
            from.send_to(&[0; 100], (CLIENT_V4, 9)).unwrap();
        }
        records::totals(&watch.records()).counted.packets >= 400
    });
    // What is to be said is said before a record leaves.
    watch.wait_for_records(watch.records().len() + 1);
    let said = watch.stderr_lines();
    let records = watch.stop().books();
    assert_eq!(records::totals(&records).served, Counts::default());
    said.into_iter()
        .filter(|line| line.contains("answers clients of this host: --skip-served leaves that out"))
        .collect()
}

#[test]
fn that_most_of_the_first_packets_are_answers_is_said_once() {
    assert_eq!(said_of(true).len(), 1);
    assert_eq!(said_of(false), Vec::<String>::new());
}

#[test]
fn ports_can_be_added_to_the_served_ones_and_taken_from_them() {
    let names = NamesLab::new();
    let at_clients = names.at_clients();
    // Listens, but is taken away; has a client, but is added; and one of each protocol beside them.
    let (taken, kept) = names.server().within(|| {
        (
            UdpSocket::bind((SERVER_V4, 5001)).unwrap(),
            UdpSocket::bind((SERVER_V4, 5002)).unwrap(),
        )
    });
    let (added, other) = names.server().within(|| {
        let added = UdpSocket::bind((SERVER_V4, 5003)).unwrap();
        added.connect((CLIENT_V4, 9)).unwrap();
        let other = UdpSocket::bind((SERVER_V4, 5004)).unwrap();
        other.connect((CLIENT_V4, 9)).unwrap();
        (added, other)
    });
    let _sink = names.clients.within(|| UdpSocket::bind((CLIENT_V4, 9)).unwrap());
    let watch = names.watch(["--skip-served", "--served-port=-5001/udp,5003,+5004/tcp"]);
    let mut expected = Counts::default();
    for (socket, times, served) in [
        (&taken, 2, false),
        (&kept, 3, true),
        (&added, 5, true),
        (&other, 7, false),
    ] {
        for _ in 0..times {
            socket.send_to(b"an answer", (CLIENT_V4, 9)).unwrap();
        }
        if served {
            expected += Counts {
                packets: 1,
                bytes: 42 + 9,
            } * times;
        }
    }
    at_clients.wait_until_quiet();
    let records = watch.stop().books();
    assert_eq!(records::totals(&records).served, expected);
    let counted = Counts {
        packets: 9,
        bytes: 9 * (42 + 9),
    };
    assert_eq!(records::to(&records, CLIENT_V4), counted);
}

/// A client's socket has a port that the kernel has chosen, also where it is not connected to one peer, as many QUIC clients
/// are not.
#[test]
fn a_socket_whose_port_the_kernel_chose_is_a_client() {
    let names = NamesLab::new();
    let mut before = names.lab.udp_v4();
    let watch = names.lab.watch(["--interval", "200ms", "--skip-served"]);
    before.send_times(TARGET.parse().unwrap(), 10, 20);
    let mut later = names.lab.udp_v4();
    // Long enough for the ports to be looked at again.
    watch.wait_for_records(10);
    later.send_times(TARGET.parse().unwrap(), 10, 20);
    let records = watch.stop().books();
    let sent = [before.total(), later.total()].into_iter().sum();
    assert_eq!(records::to(&records, TARGET), sent);
    assert_eq!(records::totals(&records).served, Counts::default());
}

#[test]
fn a_server_that_starts_later_is_followed() {
    // About a second; more, because the machine may be busy with other work.
    const SOON: Duration = Duration::from_secs(5);

    let names = NamesLab::new();
    let watch = names
        .lab
        .tcpwatch(["run", "--format", "json", "--interface", "eth1"])
        .with(["--interval", "100ms", "--skip-served"])
        .start();
    let connect = || names.clients.within(|| TcpStream::connect((SERVER_V4, 4000)));
    // Nobody listens: that the kernel says so is no answer of a server.
    connect().unwrap_err();
    let refusal = Counts {
        packets: 1,
        bytes: 54,
    };
    wait::until("the refusal is counted", || {
        records::to(&watch.records(), CLIENT_V4) == refusal
    });
    assert_eq!(records::totals(&watch.records()).served, Counts::default());

    let _web = names.server().within(|| {
        let listener = TcpListener::bind((SERVER_V4, 4000)).unwrap();
        Web::serve_on(listener, |_| Reply::Whole(PAGE.to_vec()))
    });
    let began = Instant::now();
    wait::until_some(SOON, "an answer is served", || {
        connect().unwrap();
        (records::totals(&watch.records()).served.packets > 0).then_some(())
    });
    note(format_args!(
        "the listener was followed after {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    // From now on every one.
    watch.wait_for_records(2);
    let counted = records::to(&watch.records(), CLIENT_V4);
    for _ in 0..50 {
        connect().unwrap();
    }
    let records = watch.stop().books();
    assert_eq!(records::to(&records, CLIENT_V4), counted);
}
