//! Names from the first datagrams of QUIC connections.

use std::net::UdpSocket;

use rustls::quic::Version;
use tcpwatch_tests::named::{Named, names_of, only, opened};
use tcpwatch_tests::names_lab::initial::Opening;
use tcpwatch_tests::names_lab::quic::Client;
use tcpwatch_tests::names_lab::{HTTPS, NamesLab, PAGE, dns};
use tcpwatch_tests::web::Authority;

use crate::{API, WWW, address};

#[test]
fn names_on_one_address_are_counted_apart() {
    let names = NamesLab::new();
    let authority = Authority::new();
    let _quic = names.quic(&authority, &[WWW, API]);
    let at_targets = names.at_targets();
    let watch = names.watch(["--names", "quic"]);
    let client = Client::new(&authority);
    for (to, of) in [
        ("192.0.2.1", &[WWW, API, WWW][..]),
        ("192.0.2.1", &[WWW]),
        ("2001:db8:1::1", &[API]),
    ] {
        let answers = client.get(names.server(), to, HTTPS, of);
        assert!(answers.iter().all(|answer| answer == PAGE));
    }
    // In more than one datagram.
    let long = Client::with_long_hello(&authority);
    assert_eq!(long.get(names.server(), "192.0.2.2", HTTPS, &[WWW]), [PAGE]);
    at_targets.wait_until_quiet();
    let records = watch.stop().books();

    assert_eq!(
        names_of(&records, "192.0.2.1"),
        Some(Named::sni(&[(WWW, 3), (API, 1)]))
    );
    assert_eq!(opened(only(&records, "192.0.2.1")), (0, 4));
    assert_eq!(names_of(&records, "2001:db8:1::1"), Some(Named::sni(&[(API, 1)])));
    assert_eq!(names_of(&records, "192.0.2.2"), Some(Named::sni(&[(WWW, 1)])));
    assert!(at_targets.to("192.0.2.2").initials >= 2);
}

/// Of both versions, with the hello in up to three datagrams, in either order.
#[test]
fn hellos_of_both_versions_are_put_together_in_any_order() {
    let names = NamesLab::new();
    let _sink = names.targets().within(|| UdpSocket::bind(("::", HTTPS)).unwrap());
    let watch = names.watch(["--names", "quic"]);
    let mut expected = Vec::new();
    for (version, word) in [(Version::V1, "one"), (Version::V2, "two")] {
        for datagrams in 1..=3 {
            for backwards in [false, true] {
                let n = expected.len() as u8 + 1;
                let name = format!("n{n}.{word}.example.com");
                let opening = Opening {
                    version,
                    name: &name,
                    source_id: &[n; 8],
                    datagrams,
                };
                let mut initials = opening.initials();
                if backwards {
                    initials.reverse();
                }
                let to = format!("192.0.2.{n}");
                let socket = names
                    .server()
                    .within(|| dns::asking((address(&to), HTTPS).into()));
                for initial in &initials {
                    socket.send(initial).unwrap();
                }
                expected.push((to, name, datagrams));
            }
        }
    }
    let records = watch.stop().books();
    for (to, name, datagrams) in expected {
        let of = only(&records, &to);
        assert_eq!((of.packets, opened(of)), (datagrams as u64, (0, 1)), "{name}");
        assert_eq!(
            names_of(&records, &to),
            Some(Named::sni(&[(&name, 1)])),
            "{name} in {datagrams} datagrams"
        );
    }
}

/// The negative control: what cannot be decrypted, or is not all there, has no name, but is a connection.
#[test]
fn a_damaged_or_incomplete_hello_names_nothing() {
    let names = NamesLab::new();
    let _sink = names.targets().within(|| UdpSocket::bind(("::", HTTPS)).unwrap());
    let watch = names.watch(["--names", "quic"]);
    let opening = |datagrams, id: u8| {
        Opening {
            version: Version::V1,
            name: WWW,
            source_id: &[id; 8],
            datagrams,
        }
        .initials()
    };
    let send = |to: &str, initial: &[u8]| {
        let socket = names.server().within(|| dns::asking((address(to), HTTPS).into()));
        socket.send(initial).unwrap();
    };
    let mut damaged = opening(1, 1).remove(0);
    damaged[600] ^= 1;
    send("192.0.2.1", &damaged);
    send("192.0.2.2", &opening(3, 2)[2]);
    send("192.0.2.3", &opening(1, 3)[0]);
    let records = watch.stop().books();
    for to in ["192.0.2.1", "192.0.2.2"] {
        assert_eq!(names_of(&records, to), None, "{to}");
        assert_eq!(opened(only(&records, to)), (0, 1), "{to}");
    }
    assert_eq!(names_of(&records, "192.0.2.3"), Some(Named::sni(&[(WWW, 1)])));
}
