//! The network of the tests about names does what they take for granted: names are answered, TLS and QUIC reach their
//! servers, and what arrives is what the program counts, with no names asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustls::quic::Version;
use tcpwatch_tests::names_lab::dns::{Kind, Question, Stub};
use tcpwatch_tests::names_lab::flood::{self, Resolver};
use tcpwatch_tests::names_lab::hello::{self, Request};
use tcpwatch_tests::names_lab::initial::Opening;
use tcpwatch_tests::names_lab::quic::Client;
use tcpwatch_tests::names_lab::{
    BLACKHOLE, CLIENT_V4, HTTPS, NamesLab, PAGE, RESOLVER, RESOLVER_V6, SERVER_V4, SERVER_V6, tools,
};
use tcpwatch_tests::note;
use tcpwatch_tests::records::{self, Counts};
use tcpwatch_tests::wait;
use tcpwatch_tests::web::Authority;

const WEB_V4: &str = "192.0.2.10";
const WEB_V6: &str = "2001:db8:1::10";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_resolver_answers_by_udp_and_tcp_with_aliases_and_both_families() {
    let many: String = (1..=60)
        .map(|n| format!("host-record=many.example.com,198.51.100.{n}\n"))
        .collect();
    let names = NamesLab::new();
    let _resolver = names.resolver(&format!(
        "host-record=www.example.com,{WEB_V4},{WEB_V6},60\n\
         cname=shop.example.com,www.example.com\n\
         cname=store.example.com,shop.example.com\n{many}"
    ));
    for server in [RESOLVER, RESOLVER_V6] {
        let stub = Stub::of(server);
        names.server().within(|| {
            assert_eq!(stub.ask("www.example.com", Kind::A), [address(WEB_V4)]);
            assert_eq!(stub.ask("www.example.com", Kind::Aaaa), [address(WEB_V6)]);
            assert_eq!(stub.ask("store.example.com", Kind::A), [address(WEB_V4)]);
            assert_eq!(stub.ask_by_tcp("www.example.com", Kind::A), [address(WEB_V4)]);
            // More than a datagram of 512 bytes has room for.
            assert_eq!(stub.ask("many.example.com", Kind::A).len(), 60);
            assert_eq!(stub.ask("unknown.example.com", Kind::A), [] as [IpAddr; 0]);
        });
    }
    assert_eq!(
        tools::getent(names.server(), RESOLVER, "store.example.com"),
        [address(WEB_V4), address(WEB_V6)]
    );
}

#[test]
fn what_the_proxy_and_the_relay_carry_is_what_arrives_and_what_is_counted() {
    let names = NamesLab::new();
    let authority = Authority::new();
    let known = ["www.example.com", "api.example.com"];
    let _resolver = names.resolver(&format!("host-record=www.example.com,{WEB_V4}\n"));
    let (_web, _quic) = (names.web(&authority, &known), names.quic(&authority, &known));
    let (proxy, _relay) = (names.proxy(), names.relay(WEB_V4));
    let (at_targets, at_clients) = (names.at_targets(), names.at_clients());
    let watch = names.watch([]);

    let proxy_url = format!("http://{SERVER_V4}:3128");
    let page = tools::curl(
        &names.clients,
        &authority,
        &["--proxy", &proxy_url],
        "https://www.example.com/",
    );
    assert_eq!(page.as_bytes(), PAGE);
    assert_eq!(proxy.targets(), ["CONNECT www.example.com:443"]);
    let client = Client::new(&authority);
    let answers = client.get(&names.clients, SERVER_V4, HTTPS, &["api.example.com"]);
    assert_eq!(answers, [PAGE]);
    at_targets.wait_until_quiet();
    at_clients.wait_until_quiet();
    let records = watch.stop().books();

    let web = at_targets.to(WEB_V4);
    assert_eq!(records::to(&records, WEB_V4), web.counts);
    assert_eq!(records::to(&records, RESOLVER), at_targets.to(RESOLVER).counts);
    assert_eq!(records::to(&records, CLIENT_V4), at_clients.to(CLIENT_V4).counts);
    assert_eq!(
        records::totals(&records).seen,
        [at_targets.total(), at_clients.total()].into_iter().sum()
    );
    assert_eq!(web.syns, 1);
    assert!(web.initials >= 1 && web.data_segments >= 2, "{web:?}");
    // One question, and one answer that is not seen here.
    assert_eq!(at_targets.to(RESOLVER).counts.packets, 1);
}

#[test]
fn two_quic_connections_over_ipv6_come_from_one_socket() {
    let names = NamesLab::new();
    let authority = Authority::new();
    let known = ["www.example.com", "api.example.com"];
    let _quic = names.quic(&authority, &known);
    let _relay = names.relay(WEB_V6);
    let client = Client::new(&authority);
    assert_eq!(
        client.get(names.server(), WEB_V6, HTTPS, &known),
        [PAGE, PAGE],
        "from the server itself"
    );
    assert_eq!(
        client.get(&names.clients, SERVER_V6, HTTPS, &known),
        [PAGE, PAGE],
        "through the relay"
    );
}

#[test]
fn a_long_hello_is_in_two_initials_at_least() {
    let names = NamesLab::new();
    let authority = Authority::new();
    let _quic = names.quic(&authority, &["www.example.com"]);
    let at_targets = names.at_targets();
    let client = Client::with_long_hello(&authority);
    let answers = client.get(names.server(), WEB_V4, HTTPS, &["www.example.com"]);
    assert_eq!(answers, [PAGE]);
    at_targets.wait_until_quiet();
    assert!(at_targets.to(WEB_V4).initials >= 2, "{:?}", at_targets.to(WEB_V4));
}

/// quinn understands Initials of version 1 that were made by hand: it begins to answer, and only what it could read.
#[test]
fn a_hello_made_by_hand_is_understood_by_a_server() {
    let names = NamesLab::new();
    let _quic = names.quic(&Authority::new(), &["www.example.com"]);
    for datagrams in [1, 3] {
        let opening = Opening {
            version: Version::V1,
            name: "www.example.com",
            source_id: &[datagrams as u8; 8],
            datagrams,
        };
        let initials = opening.initials();
        assert!(initials.len() == datagrams && initials.iter().all(|initial| initial.len() == 1200));
        let socket = names
            .server()
            .within(|| tcpwatch_tests::names_lab::dns::asking((address(WEB_V4), HTTPS).into()));
        // The last first: the parts have their places.
        for initial in initials.iter().rev() {
            socket.send(initial).unwrap();
        }
        let mut answer = [0; 2000];
        // An answer to a part is an acknowledgement alone; the one to the whole fills a datagram with its certificate.
        wait::until("the server's hello", || {
            let length = socket.recv(&mut answer).expect("the server answers");
            answer[..length]
                .windows(8)
                .any(|part| part == [datagrams as u8; 8])
                && length >= 1200
        });
    }
}

#[test]
fn a_hello_in_two_segments_is_answered_and_so_is_one_without_a_name() {
    let names = NamesLab::new();
    let authority = Authority::new();
    let _web = names.web(&authority, &["www.example.com"]);
    let at_targets = names.at_targets();
    let mut segments = 0;
    let mut made = |request: Request<'_>| {
        let answer = request.make(names.server(), &authority, WEB_V4, HTTPS);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        at_targets.wait_until_quiet();
        let now = at_targets.to(WEB_V4).data_segments;
        let more = now - segments;
        segments = now;
        more
    };
    let whole = made(Request::to("www.example.com"));
    let cut = made(Request {
        cut: Some(60),
        ..Request::to("www.example.com")
    });
    assert_eq!(cut, whole + 1);
    let nameless = made(Request {
        says_name: false,
        ..Request::to("www.example.com")
    });
    assert_eq!(nameless, whole);
    assert_eq!(at_targets.to(WEB_V4).syns, 3);
}

#[test]
fn plain_requests_are_answered_and_the_black_hole_says_nothing() {
    let names = NamesLab::new();
    let _web = names.plain_web(80);
    let answer = hello::plain(names.server(), WEB_V6, 80, "www.example.com");
    assert!(answer.ends_with(std::str::from_utf8(PAGE).unwrap()), "{answer}");
    let refused = names
        .server()
        .within(|| std::net::TcpStream::connect((WEB_V4, 81)).unwrap_err().kind());
    assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    let silent = names.server().within(|| {
        let to = (address(BLACKHOLE), 80).into();
        std::net::TcpStream::connect_timeout(&to, Duration::from_millis(300))
            .unwrap_err()
            .kind()
    });
    assert_eq!(silent, std::io::ErrorKind::TimedOut);
}

/// The messages that the tests make are the ones that dnsmasq and the C library make.
#[test]
fn questions_and_answers_are_messages_of_rfc_1035() {
    let question = Question {
        id: 0x1234,
        name: "a.example".to_owned(),
        kind: Kind::A,
    };
    let asked = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01";
    assert_eq!(question.message(), asked);
    let answered = b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01\
                     \xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x0a";
    assert_eq!(question.answer(&[address(WEB_V4)], 60), answered);
}

/// The negative control of every comparison with what arrived: a frame that the program did not see is missed.
#[test]
fn a_packet_sent_after_the_program_has_ended_is_not_in_its_records() {
    let names = NamesLab::new();
    let at_targets = names.at_targets();
    let watch = names.watch([]);
    let mut socket = names.lab.udp_v4();
    socket.send_times(address(WEB_V4), 10, 3);
    let records = watch.stop().books();
    socket.send(address(WEB_V4), 10);
    at_targets.wait_until_quiet();
    let packet = Counts {
        packets: 1,
        bytes: 52,
    };
    assert_eq!(at_targets.to(WEB_V4).counts, packet * 4);
    assert_eq!(records::to(&records, WEB_V4), packet * 3);
}

/// What the tests of too many answers stand on: so many questions that each is answered, on a network that loses none.
#[test]
fn the_flood_of_questions_arrives_and_is_answered() {
    let names = NamesLab::new();
    let resolver = Resolver::start(&names);
    let at_targets = names.at_targets();
    let few = flood::ask(&names, Duration::from_secs(5), 6400);
    wait::until("every question is answered", || {
        resolver.answered() == few.questions
    });
    at_targets.wait_until_quiet();
    let question = Counts {
        packets: 1,
        bytes: few.frame_bytes,
    };
    assert_eq!(at_targets.to(RESOLVER).counts, question * 6400);
    drop(at_targets);
    let began = Instant::now();
    let many = flood::ask(&names, Duration::from_secs(2), 1_000_000);
    note(format_args!(
        "{:.0} questions a second, {:.0} answers",
        many.questions as f64 / began.elapsed().as_secs_f64(),
        (resolver.answered() - few.questions) as f64 / began.elapsed().as_secs_f64()
    ));
}
