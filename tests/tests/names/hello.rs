//! Names from the first bytes of TCP connections.

use tcpwatch_tests::named::{Named, names_of, only, opened};
use tcpwatch_tests::names_lab::hello::{Request, connect, plain};
use tcpwatch_tests::names_lab::{HTTPS, NamesLab, tools};
use tcpwatch_tests::web::Authority;

use crate::{API, WWW};

#[test]
fn names_on_one_address_are_counted_apart() {
    let names = NamesLab::new();
    let authority = Authority::new();
    let _web = names.web(&authority, &[WWW, API]);
    let at_targets = names.at_targets();
    let watch = names.watch(["--names", "tls"]);
    for name in [WWW, API, WWW, API, WWW] {
        Request::to(name).make(names.server(), &authority, "192.0.2.1", HTTPS);
    }
    Request::to(API).make(names.server(), &authority, "2001:db8:1::1", HTTPS);
    // As curl and OpenSSL write it.
    tools::curl(
        names.server(),
        &authority,
        &["--resolve", &format!("{WWW}:443:192.0.2.2")],
        &format!("https://{WWW}/"),
    );
    at_targets.wait_until_quiet();
    let records = watch.stop().books();

    assert_eq!(
        names_of(&records, "192.0.2.1"),
        Some(Named::sni(&[(WWW, 3), (API, 2)]))
    );
    assert_eq!(opened(only(&records, "192.0.2.1")), (5, 0));
    assert_eq!(names_of(&records, "2001:db8:1::1"), Some(Named::sni(&[(API, 1)])));
    assert_eq!(names_of(&records, "192.0.2.2"), Some(Named::sni(&[(WWW, 1)])));
}

#[test]
fn a_hello_in_two_segments_is_put_together() {
    let names = NamesLab::new();
    let authority = Authority::new();
    let _web = names.web(&authority, &[WWW]);
    let at_targets = names.at_targets();
    let watch = names.watch(["--names", "tls"]);
    let cuts = [1, 5, 6, 60, 150];
    for (n, cut) in cuts.into_iter().enumerate() {
        let request = Request {
            cut: Some(cut),
            ..Request::to(WWW)
        };
        request.make(names.server(), &authority, &format!("192.0.2.{}", n + 1), HTTPS);
    }
    at_targets.wait_until_quiet();
    let records = watch.stop().books();
    for (n, cut) in cuts.into_iter().enumerate() {
        let to = format!("192.0.2.{}", n + 1);
        assert_eq!(
            names_of(&records, &to),
            Some(Named::sni(&[(WWW, 1)])),
            "cut after {cut} bytes"
        );
    }
}

/// A hello of more bytes than a segment has room for: in one buffer, which the device is to cut, and in two.
#[test]
fn a_hello_longer_than_a_segment_is_read() {
    let names = NamesLab::new();
    let authority = Authority::new();
    let _web = names.web(&authority, &[WWW]);
    let at_targets = names.at_targets();
    let watch = names.watch(["--names", "tls"]);
    let request = Request {
        long: true,
        ..Request::to(WWW)
    };
    request.make(names.server(), &authority, "192.0.2.1", HTTPS);
    names.server().run("ethtool -K eth0 tso on gso on");
    request.make(names.server(), &authority, "192.0.2.2", HTTPS);
    at_targets.wait_until_quiet();
    let records = watch.stop().books();
    // Cut by the stack, it arrived as what was counted; whole, as one frame that was counted as two packets.
    let (cut, whole) = (at_targets.to("192.0.2.1"), at_targets.to("192.0.2.2"));
    assert_eq!(only(&records, "192.0.2.1").counts(), cut.counts);
    assert_eq!(cut.data_segments, whole.data_segments + 1);
    for to in ["192.0.2.1", "192.0.2.2"] {
        assert_eq!(names_of(&records, to), Some(Named::sni(&[(WWW, 1)])), "{to}");
        assert_eq!(opened(only(&records, to)), (1, 0), "{to}");
    }
}

#[test]
fn a_connection_that_says_no_name_has_none() {
    let names = NamesLab::new();
    let authority = Authority::new();
    let (_web, _plain) = (names.web(&authority, &[WWW]), names.plain_web(80));
    let at_targets = names.at_targets();
    let watch = names.watch(["--names", "tls"]);
    let nameless = Request {
        says_name: false,
        ..Request::to(WWW)
    };
    nameless.make(names.server(), &authority, "192.0.2.1", HTTPS);
    plain(names.server(), "192.0.2.2", 80, WWW);
    drop(connect(names.server(), "192.0.2.3", HTTPS));
    // The control, and one of each to the same address.
    Request::to(WWW).make(names.server(), &authority, "192.0.2.4", HTTPS);
    nameless.make(names.server(), &authority, "192.0.2.5", HTTPS);
    Request::to(WWW).make(names.server(), &authority, "192.0.2.5", HTTPS);
    at_targets.wait_until_quiet();
    let records = watch.stop().books();

    for to in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        assert_eq!(names_of(&records, to), None, "{to}");
        assert_eq!(opened(only(&records, to)), (1, 0), "{to}");
    }
    let once = Some(Named::sni(&[(WWW, 1)]));
    assert_eq!(names_of(&records, "192.0.2.4"), once);
    assert_eq!(names_of(&records, "192.0.2.5"), once);
    assert_eq!(opened(only(&records, "192.0.2.5")), (2, 0));
}
