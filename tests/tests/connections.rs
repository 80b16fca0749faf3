//! Connections that real programs open: every attempt is counted once, under the destination it was made to.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::ErrorKind;
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use tcpwatch_tests::frame::{IPV4, IPV6, TCP, UDP, datagram, ethernet, ipv4, ipv6, quic, tcp_segment};
use tcpwatch_tests::lab::{Lab, NEAR_V4, NEAR_V6};
use tcpwatch_tests::named::{names_of, only, opened};
use tcpwatch_tests::names_lab::hello::{Request, connect};
use tcpwatch_tests::names_lab::quic::Client;
use tcpwatch_tests::names_lab::{BLACKHOLE, HTTPS, NamesLab, PAGE};
use tcpwatch_tests::packet_socket::PacketSocket;
use tcpwatch_tests::records;
use tcpwatch_tests::web::Authority;

const NAMES: [&str; 2] = ["www.example.com", "api.example.com"];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn every_tcp_connection_is_counted_once_whatever_it_carries() {
    let names = NamesLab::new();
    let authority = Authority::new();
    let _web = names.web(&authority, &NAMES);
    let at_targets = names.at_targets();
    let watch = names.watch([]);
    for (to, times) in [("192.0.2.1", 1), ("192.0.2.2", 3), ("2001:db8:1::1", 2)] {
        for _ in 0..times {
            Request::to(NAMES[0]).make(names.server(), &authority, to, HTTPS);
        }
    }
    // Opened and closed, nothing sent.
    drop(connect(names.server(), "192.0.2.3", HTTPS));
    // No connection: datagrams alone.
    names.lab.udp_v4().send_times(address("192.0.2.4"), 10, 5);
    at_targets.wait_until_quiet();
    let records = watch.stop().books();

    for (to, times) in [
        ("192.0.2.1", 1),
        ("192.0.2.2", 3),
        ("2001:db8:1::1", 2),
        ("192.0.2.3", 1),
        ("192.0.2.4", 0),
    ] {
        let of = only(&records, to);
        assert_eq!(opened(of), (times, 0), "{to}");
        assert_eq!(at_targets.to(to).syns, times, "{to}");
        assert_eq!(of.counts(), at_targets.to(to).counts, "{to}");
        assert_eq!(names_of(&records, to), None, "{to}");
    }
}

#[test]
fn a_refused_attempt_counts_and_so_does_every_repetition_of_an_unanswered_one() {
    let names = NamesLab::new();
    let at_targets = names.at_targets();
    let watch = names.watch([]);
    let attempt = |to: &str| {
        let to = (address(to), 81).into();
        // Long enough for the kernel to repeat its SYN after a second.
        names
            .server()
            .within(|| TcpStream::connect_timeout(&to, Duration::from_millis(1500)))
            .unwrap_err()
            .kind()
    };
    assert_eq!(attempt("192.0.2.1"), ErrorKind::ConnectionRefused);
    assert_eq!(attempt("2001:db8:1::1"), ErrorKind::ConnectionRefused);
    assert_eq!(attempt(BLACKHOLE), ErrorKind::TimedOut);
    at_targets.wait_until_quiet();
    let records = watch.stop().books();

    assert_eq!(opened(only(&records, "192.0.2.1")), (1, 0));
    assert_eq!(opened(only(&records, "2001:db8:1::1")), (1, 0));
    let syns = at_targets.to(BLACKHOLE).syns;
    assert!(syns >= 2, "the kernel has repeated its SYN");
    let of = only(&records, BLACKHOLE);
    assert_eq!((opened(of), of.packets), ((syns, 0), syns));
}

#[test]
fn every_quic_connection_is_counted_once_however_many_initials_it_has() {
    let names = NamesLab::new();
    let authority = Authority::new();
    let _quic = names.quic(&authority, &NAMES);
    let at_targets = names.at_targets();
    let watch = names.watch([]);
    let (ordinary, long) = (Client::new(&authority), Client::with_long_hello(&authority));
    for (client, to, of) in [
        (&ordinary, "192.0.2.1", &NAMES[..1]),
        (&ordinary, "192.0.2.2", &NAMES),
        (&ordinary, "2001:db8:1::1", &NAMES),
        (&long, "192.0.2.3", &NAMES[1..]),
        (&long, "2001:db8:1::3", &NAMES[1..]),
    ] {
        let answers = client.get(names.server(), to, HTTPS, of);
        assert!(answers.iter().all(|answer| answer == PAGE));
    }
    at_targets.wait_until_quiet();
    let records = watch.stop().books();

    for (to, times) in [
        ("192.0.2.1", 1),
        ("192.0.2.2", 2),
        ("2001:db8:1::1", 2),
        ("192.0.2.3", 1),
        ("2001:db8:1::3", 1),
    ] {
        let of = only(&records, to);
        assert_eq!(opened(of), (0, times), "{to}");
        assert_eq!(of.counts(), at_targets.to(to).counts, "{to}");
    }
    // The negative control: Initials are more than connections.
    let initials: u64 = at_targets.by_destination().values().map(|of| of.initials).sum();
    assert!(initials > 7, "{initials} Initials of 7 connections");
}

/// A raw packet of more than a page leaves with nothing but its Ethernet header in the linear part of the buffer.
#[test]
fn connections_are_found_in_headers_outside_the_linear_part() {
    let lab = Lab::new();
    lab.near.ip("link set eth0 mtu 9000");
    lab.far.ip("link set eth0 mtu 9000");
    let watch = lab.watch(["--interval", "1h"]);
    let socket = lab.near.within(|| PacketSocket::open("eth0"));
    let syn = tcp_segment([40_000, 443], 0x02, 6000);
    let initial = |id: u8| {
        let mut packet = quic(0xc3, 1, &[1; 8], &[id; 8]);
        packet.resize(6000, b'x');
        datagram([40_000, 443], &packet)
    };
    for packet in [
        ethernet(IPV4, &ipv4(NEAR_V4, "192.0.2.1", TCP, &syn)),
        ethernet(IPV6, &ipv6(NEAR_V6, "2001:db8:1::1", TCP, &syn)),
        ethernet(IPV4, &ipv4(NEAR_V4, "192.0.2.1", UDP, &initial(1))),
        ethernet(IPV6, &ipv6(NEAR_V6, "2001:db8:1::1", UDP, &initial(2))),
        ethernet(IPV6, &ipv6(NEAR_V6, "2001:db8:1::1", UDP, &initial(2))),
    ] {
        socket.send(&packet);
    }
    let records = watch.stop().books();
    assert_eq!(opened(only(&records, "192.0.2.1")), (1, 1));
    assert_eq!(opened(only(&records, "2001:db8:1::1")), (1, 1));
    assert_eq!(records::totals(&records).malformed.packets, 0);
}
