//! Names from the answers of the resolver that this host asks.

use tcpwatch_tests::named::{Named, names_of};
use tcpwatch_tests::names_lab::dns::{Kind, Stub};
use tcpwatch_tests::names_lab::hello::Request;
use tcpwatch_tests::names_lab::{HTTPS, NamesLab, RESOLVER, RESOLVER_V6, tools};
use tcpwatch_tests::web::Authority;

use crate::{API, WWW, address};

/// A packet to each of the addresses, of either family.
fn send_to(names: &NamesLab, addresses: &[&str]) {
    let (mut v4, mut v6) = (names.lab.udp_v4(), names.lab.udp_v6());
    for text in addresses {
        let to = address(text);
        if to.is_ipv4() {
            v4.send(to, 10);
        } else {
            v6.send(to, 10);
        }
    }
}

#[test]
fn an_address_has_the_name_that_was_asked_for() {
    let many: String = (1..=60)
        .map(|n| format!("host-record=many.example.com,198.51.100.{n}\n"))
        .collect();
    let names = NamesLab::new();
    let _resolver = names.resolver(&format!(
        "host-record={WWW},192.0.2.1,2001:db8:1::1,60\n\
         host-record=zero.example.com,192.0.2.2,0\n\
         host-record=edge.example.net,192.0.2.3,60\n\
         cname=shop.example.com,edge.example.net,60\n\
         cname=store.example.com,shop.example.com,60\n\
         host-record=tcp.example.com,192.0.2.4,60\n\
         host-record=libc.example.com,192.0.2.5,2001:db8:1::5,60\n\
         host-record=six.example.com,192.0.2.6,60\n\
         host-record=_under-score.example.com,192.0.2.7,60\n\
         host-record=unasked.example.com,192.0.2.8,60\n{many}"
    ));
    let watch = names.watch(["--names", "dns"]);
    let stub = Stub::of(RESOLVER);
    names.server().within(|| {
        stub.ask("WWW.Example.COM", Kind::A);
        stub.ask(WWW, Kind::Aaaa);
        stub.ask("zero.example.com", Kind::A);
        assert_eq!(stub.ask("store.example.com", Kind::A), [address("192.0.2.3")]);
        stub.ask_by_tcp("tcp.example.com", Kind::A);
        assert_eq!(stub.ask("many.example.com", Kind::A).len(), 60);
        Stub::of(RESOLVER_V6).ask("six.example.com", Kind::A);
        stub.ask("_under-score.example.com", Kind::A);
    });
    tools::getent(names.server(), RESOLVER, "libc.example.com");
    let named: [(&str, &[&str]); 11] = [
        ("192.0.2.1", &[WWW]),
        ("2001:db8:1::1", &[WWW]),
        ("192.0.2.2", &["zero.example.com"]),
        ("192.0.2.3", &["store.example.com"]),
        ("192.0.2.4", &["tcp.example.com"]),
        ("192.0.2.5", &["libc.example.com"]),
        ("2001:db8:1::5", &["libc.example.com"]),
        ("192.0.2.6", &["six.example.com"]),
        ("192.0.2.7", &["_under-score.example.com"]),
        ("198.51.100.1", &["many.example.com"]),
        ("198.51.100.60", &["many.example.com"]),
    ];
    // Neither asked for, nor known to anybody.
    let nameless = ["192.0.2.8", "192.0.2.9"];
    send_to(&names, &named.map(|(to, _)| to));
    send_to(&names, &nameless);
    let records = watch.stop().books();

    for (to, of) in named {
        assert_eq!(names_of(&records, to), Some(Named::dns(of)), "{to}");
    }
    for to in nameless {
        assert_eq!(names_of(&records, to), None, "{to}");
    }
}

#[test]
fn an_address_with_several_names_has_them_all_in_order() {
    let names = NamesLab::new();
    let _resolver = names.resolver(&format!(
        "host-record={WWW},192.0.2.1,60\nhost-record={API},192.0.2.1,60\n"
    ));
    let watch = names.watch(["--names", "dns"]);
    let stub = Stub::of(RESOLVER);
    names.server().within(|| {
        for name in [WWW, API, WWW] {
            stub.ask(name, Kind::A);
        }
    });
    send_to(&names, &["192.0.2.1"]);
    let records = watch.stop().books();
    assert_eq!(names_of(&records, "192.0.2.1"), Some(Named::dns(&[API, WWW])));
}

/// An answer of an earlier interval holds for as long as it says, also while its address gets no packets.
#[test]
fn a_name_outlives_the_interval_that_it_was_asked_in() {
    let names = NamesLab::new();
    let _resolver = names.resolver(&format!("host-record={WWW},192.0.2.1,3600\n"));
    let watch = names.lab.watch(["--interval", "200ms", "--names", "dns"]);
    names.server().within(|| Stub::of(RESOLVER).ask(WWW, Kind::A));
    watch.wait_for_records(3);
    send_to(&names, &["192.0.2.1"]);
    let records = watch.stop().books();
    assert_eq!(names_of(&records, "192.0.2.1"), Some(Named::dns(&[WWW])));
    assert!(records.len() >= 3);
}

/// The negative control of all these: what is asked for by dns alone is not read from TLS, and the other way round.
#[test]
fn only_the_evidence_that_was_asked_for_names_an_address() {
    for (evidence, expected) in [
        ("dns", Named::dns(&[WWW])),
        ("tls", Named::sni(&[(API, 1)])),
        ("dns,tls", Named::sni(&[(API, 1)])),
    ] {
        let names = NamesLab::new();
        let authority = Authority::new();
        let _web = names.web(&authority, &[API]);
        let _resolver = names.resolver(&format!("host-record={WWW},192.0.2.1,60\n"));
        let at_targets = names.at_targets();
        let watch = names.watch(["--names", evidence]);
        names.server().within(|| Stub::of(RESOLVER).ask(WWW, Kind::A));
        Request::to(API).make(names.server(), &authority, "192.0.2.1", HTTPS);
        at_targets.wait_until_quiet();
        let records = watch.stop().books();
        assert_eq!(names_of(&records, "192.0.2.1"), Some(expected), "{evidence}");
    }
}
