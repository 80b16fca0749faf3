//! `tcpwatch geo update` against servers that do what they should, and what they should not: what is in place is replaced by
//! something better or not at all.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use jiff::ToSpan as _;
use jiff::civil::Date;
use tcpwatch_tests::dbip::{
    ASN, CITY, COUNTRY, NETWORKS, database, ignorant, last_month, one_family, packed, path, this_month,
};
use tcpwatch_tests::pty::Terminal;
use tcpwatch_tests::web::{Authority, Reply, Web};
use tcpwatch_tests::{command, invocation, wait};

const COUNTRY_FILE: &str = "dbip-country-lite.mmdb";
const ASN_FILE: &str = "dbip-asn-lite.mmdb";

/// Nothing of the environment that the tests run in.
const VARIABLES: [&str; 11] = [
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "TCPWATCH_LOG",
];

/// What a run said.
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn update(base: &str, directory: &Path) -> Command {
    patient(base, "5s", directory)
}

fn patient(base: &str, timeout: &str, directory: &Path) -> Command {
    let mut command = Command::new(invocation::binary());
    command
        .args(["geo", "update"])
        .args([format!("--url={base}"), format!("--timeout={timeout}")])
        .arg("--directory")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in VARIABLES {
        command.env_remove(name);
    }
    command
}

fn run(command: &mut Command) -> Said {
    command.output().unwrap().into()
}

/// All files of a directory, by name.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn names(directory: &Path) -> Vec<String> {
    files(directory).into_iter().map(|(name, _)| name).collect()
}

/// A server that has good files of this month.
fn good() -> Web {
    with(|_| None)
}

/// The same, but for what `other` answers.
fn with(other: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> Web {
    let country = packed(&database(COUNTRY, this_month(), NETWORKS));
    let asn = packed(&database(ASN, this_month(), NETWORKS));
    Web::serve(move |target| {
        other(target).unwrap_or_else(|| {
            if target == path("country", this_month()) {
                Reply::Whole(country.clone())
            } else if target == path("asn", this_month()) {
                Reply::Whole(asn.clone())
            } else {
                Reply::Status(404)
            }
        })
    })
}

/// Puts good files of last month into a directory.
fn put_old(directory: &Path) {
    for (name, kind) in [(COUNTRY_FILE, COUNTRY), (ASN_FILE, ASN)] {
        fs::write(directory.join(name), database(kind, last_month(), NETWORKS)).unwrap();
    }
}

#[test]
fn fetches_both_files_and_says_what_it_did_and_whose_data_it_is() {
    let web = good();
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("made/below");
    let said = run(&mut update(&web.url(), &below));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    let month = this_month();
    let [country, asn] = [COUNTRY, ASN].map(|kind| database(kind, month, NETWORKS));
    assert_eq!(
        said.out,
        format!(
            "{COUNTRY_FILE}: none → {month}, {:.1} MB\n{ASN_FILE}: none → {month}, {:.1} MB\n\
             IP Geolocation by DB-IP (https://db-ip.com), licence CC BY 4.0\n\
             tcpwatch does not look into this directory by itself: --geo {at}/{COUNTRY_FILE} {at}/{ASN_FILE}\n",
            country.len() as f64 / 1e6,
            asn.len() as f64 / 1e6,
            at = below.display(),
        )
    );
    assert_eq!(
        files(&below),
        [(ASN_FILE.to_owned(), asn), (COUNTRY_FILE.to_owned(), country)]
    );
    for name in [COUNTRY_FILE, ASN_FILE] {
        let mode = fs::metadata(below.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "{name}");
    }
    let agent = format!("user-agent: tcpwatch/{}\r\n", env!("CARGO_PKG_VERSION"));
    for request in web.requests() {
        assert!(request.to_ascii_lowercase().contains(&agent), "{request}");
    }
}

#[test]
fn the_one_before_is_kept_and_can_be_put_back() {
    let web = good();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put_old(at);
    let said = run(&mut update(&web.url(), at));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    assert!(
        said.out
            .starts_with(&format!("{COUNTRY_FILE}: {}, ", last_month())),
        "{}",
        said.out
    );
    let previous = at.join(format!("{COUNTRY_FILE}.previous"));
    assert_eq!(
        fs::read(&previous).unwrap(),
        database(COUNTRY, last_month(), NETWORKS)
    );
    assert_eq!(
        fs::read(at.join(COUNTRY_FILE)).unwrap(),
        database(COUNTRY, this_month(), NETWORKS)
    );
    assert_eq!(files(at).len(), 4);

    fs::rename(&previous, at.join(COUNTRY_FILE)).unwrap();
    let said = run(&mut update(&web.url(), at));
    assert!(
        said.out
            .starts_with(&format!("{COUNTRY_FILE}: {}, ", last_month())),
        "{}",
        said.out
    );
    assert_eq!(
        fs::read(&previous).unwrap(),
        database(COUNTRY, last_month(), NETWORKS)
    );
}

#[test]
fn what_is_up_to_date_is_not_asked_for_unless_forced() {
    let web = good();
    let directory = tempfile::tempdir().unwrap();
    run(&mut update(&web.url(), directory.path()));
    let before = files(directory.path());
    assert_eq!(web.targets().len(), 2, "the control");
    let said = run(&mut update(&web.url(), directory.path()));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    assert_eq!(web.targets().len(), 2);
    assert!(
        said.out
            .lines()
            .take(2)
            .all(|line| line.ends_with(", up to date"))
            && said.out.lines().count() == 3,
        "{}",
        said.out
    );
    let said = run(update(&web.url(), directory.path()).arg("--force"));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    assert_eq!(web.targets().len(), 4);
    assert_eq!(
        files(directory.path()),
        before,
        "the same is not put aside as the previous"
    );
}

#[test]
fn last_months_file_is_taken_while_there_is_none_of_this_month() {
    let [country, asn] = [COUNTRY, ASN].map(|kind| packed(&database(kind, last_month(), NETWORKS)));
    let web = Web::serve(move |target| {
        if target == path("country", last_month()) {
            Reply::Whole(country.clone())
        } else if target == path("asn", last_month()) {
            Reply::Whole(asn.clone())
        } else {
            Reply::Status(404)
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let said = run(&mut update(&web.url(), directory.path()));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    let asked = |subject, month| format!("GET {}", path(subject, month));
    let both = |subject| [asked(subject, this_month()), asked(subject, last_month())];
    let all = [both("country"), both("asn")].concat();
    assert_eq!(web.targets(), all);
    // Again: only whether there is one of this month.
    let said = run(&mut update(&web.url(), directory.path()));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    assert_eq!(
        web.targets()[4..],
        [asked("country", this_month()), asked("asn", this_month())]
    );
}

#[test]
fn cities_are_fetched_instead_of_countries() {
    let city = packed(&database(CITY, this_month(), NETWORKS));
    let web = with(move |target| (target == path("city", this_month())).then(|| Reply::Whole(city.clone())));
    let directory = tempfile::tempdir().unwrap();
    let said = run(update(&web.url(), directory.path()).args(["--edition", "city"]));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    assert_eq!(names(directory.path()), [ASN_FILE, "dbip-city-lite.mmdb"]);
}

/// One faulty file: it is said in one line that contains `complaint`, the old one is as it was, and the other file is renewed.
#[track_caller]
fn refused(reply: Reply, complaint: &str) {
    let web = with(move |target| target.contains("country").then(|| reply.clone()));
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put_old(at);
    let said = run(&mut update(&web.url(), at));
    assert_eq!(said.status, Some(1), "{}", said.err);
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    let beginning = format!("tcpwatch: {COUNTRY_FILE} stays as it was: ");
    assert!(
        said.err.starts_with(&beginning) && said.err.contains(complaint),
        "{}",
        said.err
    );
    assert!(said.out.starts_with(ASN_FILE), "{}", said.out);
    let [old_country, new_asn, old_asn] = [
        database(COUNTRY, last_month(), NETWORKS),
        database(ASN, this_month(), NETWORKS),
        database(ASN, last_month(), NETWORKS),
    ];
    let expected = [
        (ASN_FILE.to_owned(), new_asn),
        (format!("{ASN_FILE}.previous"), old_asn),
        (COUNTRY_FILE.to_owned(), old_country),
    ];
    assert!(
        files(at) == expected,
        "{:?}: not byte for byte as it was, or a stray file",
        names(at)
    );
}

fn good_country() -> Vec<u8> {
    packed(&database(COUNTRY, this_month(), NETWORKS))
}

#[test]
fn a_connection_that_is_cut_is_refused() {
    let file = good_country();
    for at in [0, 1, 100, file.len() / 2, file.len() - 1] {
        refused(
            Reply::Cut(file.clone(), at),
            "broke off the connection: try again",
        );
    }
    // Without a length only the gzip file's own end tells.
    for at in [1, 15, file.len() / 2, file.len() - 1] {
        refused(
            Reply::Unsized(file[..at].to_vec()),
            if at == 1 {
                "not a gzip file"
            } else {
                "in the middle: try again"
            },
        );
    }
    refused(Reply::Unsized(Vec::new()), "the file ends after 0 bytes");
}

#[test]
fn a_gzip_file_that_is_cut_or_damaged_is_refused() {
    let file = good_country();
    refused(
        Reply::Whole(file[..file.len() - 4].to_vec()),
        "in the middle: try again",
    );
    let mut damaged = file.clone();
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    refused(
        Reply::Whole(damaged.clone()),
        "the gzip file is damaged: try again",
    );
    damaged[1000..1200].fill(0xff);
    refused(Reply::Whole(damaged), ": try again");
    let mut followed = file;
    followed.extend(b"what does not belong to it");
    refused(Reply::Whole(followed), "the gzip file is damaged: try again");
}

#[test]
fn a_file_about_something_else_is_refused() {
    let asn = packed(&database(ASN, this_month(), NETWORKS));
    refused(
        Reply::Whole(asn),
        "it is of type \"DBIP-ASN-Lite (compat=GeoLite2-ASN)\", and should be about \"country\": check --url",
    );
}

#[test]
fn a_web_page_in_place_of_the_file_is_refused() {
    for page in [
        "<html>Log in to this network</html>",
        "\u{feff}\r\n <!DOCTYPE html><html></html>",
    ] {
        refused(
            Reply::Whole(page.into()),
            "what came is a web page and not a database",
        );
    }
    refused(
        Reply::Whole(b"Too many requests".to_vec()),
        "what came is not a gzip file",
    );
}

#[test]
fn an_error_of_the_server_is_said() {
    refused(Reply::Status(503), "the server answered 503");
    refused(
        Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        "gave an answer that is no HTTP",
    );
}

#[test]
fn a_server_that_has_neither_months_file_is_said() {
    let web = Web::serve(|_| Reply::Status(404));
    let directory = tempfile::tempdir().unwrap();
    let said = run(&mut update(&web.url(), directory.path()));
    assert_eq!(said.status, Some(1));
    let complaint = |name, subject| {
        format!(
            "tcpwatch: {name} is not there: the server has no {}{}, nor the one of the month before: check --url, or try again \
             later\n",
            web.url(),
            path(subject, this_month())
        )
    };
    assert_eq!(
        said.err,
        complaint(COUNTRY_FILE, "country") + &complaint(ASN_FILE, "asn")
    );
    assert_eq!((said.out.as_str(), names(directory.path()).len()), ("", 0));
}

#[test]
fn an_older_file_is_refused_unless_forced() {
    let older: Date = last_month().saturating_sub(20.days());
    let file = packed(&database(COUNTRY, older, NETWORKS));
    let complaint = format!(
        "it was built on {older}, before the one in place ({}): --force takes it all the same",
        last_month()
    );
    refused(Reply::Whole(file.clone()), &complaint);

    let web = with(move |target| target.contains("country").then(|| Reply::Whole(file.clone())));
    let directory = tempfile::tempdir().unwrap();
    put_old(directory.path());
    let said = run(update(&web.url(), directory.path()).arg("--force"));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    assert_eq!(
        fs::read(directory.path().join(COUNTRY_FILE)).unwrap(),
        database(COUNTRY, older, NETWORKS)
    );
}

#[test]
fn a_file_that_knows_too_little_is_refused() {
    refused(
        Reply::Whole(packed(&database(COUNTRY, this_month(), 20))),
        "nodes, and a database of the internet has 1000 at the very least",
    );
    refused(
        Reply::Whole(packed(&database(COUNTRY, this_month(), NETWORKS / 3))),
        "nodes, less than half of the one in place",
    );
    refused(
        Reply::Whole(packed(&one_family(COUNTRY, this_month()))),
        "it has no IPv6 addresses (ip_version 4)",
    );
    refused(
        Reply::Whole(packed(&ignorant(COUNTRY, this_month()))),
        "it knows nothing of 10 out of 10 well-known IPv4 addresses",
    );
}

#[test]
fn a_file_from_the_future_is_refused() {
    let future = this_month().saturating_add(3.months());
    refused(
        Reply::Whole(packed(&database(COUNTRY, future, NETWORKS))),
        "which is to come: check this machine's clock",
    );
}

#[test]
fn what_is_no_database_is_refused() {
    refused(
        Reply::Whole(packed(b"no database at all")),
        "it is cut short, damaged or not an MMDB file",
    );
    refused(
        Reply::Whole(packed(&good_country())),
        "it is cut short, damaged or not an MMDB file",
    );
    let whole = database(COUNTRY, this_month(), NETWORKS);
    refused(
        Reply::Whole(packed(&whole[whole.len() / 2..])),
        "what came is refused: it is cut short, damaged or not an MMDB file",
    );
}

#[test]
fn a_file_longer_than_any_database_is_refused_before_it_is_fetched() {
    refused(
        Reply::Promise(10 << 30),
        "longer than 512 MB packed or 1024 MB unpacked, as no place database is",
    );
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let file = good_country();
    let web = with(move |target| {
        if target == "/elsewhere?x=1" {
            return Some(Reply::Whole(file.clone()));
        }
        target
            .contains("country")
            .then(|| Reply::Redirect("/elsewhere?x=1".to_owned()))
    });
    let directory = tempfile::tempdir().unwrap();
    let said = run(&mut update(&web.url(), directory.path()));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));

    refused(
        Reply::Redirect(path("country", this_month())),
        "the server refers to other addresses more than 5 times",
    );
    refused(
        Reply::Redirect("file:///etc/passwd".to_owned()),
        "the server refers to \"file:///etc/passwd\", which is no https address",
    );
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let file = good_country();
    for at in [0, 700] {
        let file = file.clone();
        let web = with(move |target| {
            target
                .contains("country")
                .then(|| Reply::Silence(file.clone(), at))
        });
        let directory = tempfile::tempdir().unwrap();
        put_old(directory.path());
        let said = run(&mut patient(&web.url(), "200ms", directory.path()));
        assert_eq!(said.status, Some(1));
        assert_eq!(
            said.err,
            format!(
                "tcpwatch: {COUNTRY_FILE} stays as it was: {} was silent for 0.2 s: try again later, or give it longer with \
                 --timeout\n",
                web.address()
            )
        );
        assert_eq!(names(directory.path()).len(), 3);
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_named_with_the_cure() {
    let directory = tempfile::tempdir().unwrap();
    let closed = good().address();
    let said = run(&mut update(&format!("http://{closed}"), directory.path()));
    assert_eq!(said.status, Some(1));
    assert!(
        said.err.starts_with(&format!(
            "tcpwatch: {COUNTRY_FILE} is not there: cannot connect to {closed}: check the network and the firewall; where only \
             a proxy leads out, set https_proxy: "
        )),
        "{}",
        said.err
    );
    assert_eq!(said.err.lines().count(), 2);
    assert_eq!(said.out, "");

    // A name that cannot even be asked for.
    let name = "x".repeat(64);
    let said = run(&mut update(&format!("http://{name}.invalid"), directory.path()));
    assert_eq!(said.status, Some(1));
    let complaint = format!("no address is known for {name}.invalid: check the name, and this machine's DNS");
    assert!(said.err.contains(&complaint), "{}", said.err);
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn wrong_usage_touches_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("below");
    let good = "http://127.0.0.1:1";
    for (base, timeout, complaint) in [
        (
            "ftp://a.example",
            "5s",
            "--url ftp://a.example: must begin with https:// or http://",
        ),
        (
            "http://a.example:x",
            "5s",
            "--url http://a.example:x: must begin with",
        ),
        ("here", "5s", "--url here: must begin with"),
        (good, "soon", "--timeout soon: not a duration"),
        (good, "0s", "--timeout 0s: must be more than nothing"),
        (good, "-3s", "--timeout -3s: must be more than nothing"),
    ] {
        let said = run(&mut patient(base, timeout, &at));
        assert_eq!(said.status, Some(2), "{}", said.err);
        assert!(
            said.err.starts_with(&format!("tcpwatch: {complaint}")) && said.err.lines().count() == 1,
            "{}",
            said.err
        );
    }
    let said = run(update("http://127.0.0.1:1", &at).env("http_proxy", "http://u:secret@p:x"));
    assert_eq!(said.status, Some(2));
    assert!(
        said.err.contains("http_proxy is not the address of a proxy") && !said.err.contains("secret"),
        "{}",
        said.err
    );
    assert!(!at.exists());
}

/// A proxy that leads to `to`, whatever it is asked for.
fn proxy(to: &Web) -> Web {
    let to = to.address();
    Web::serve(move |_| Reply::Tunnel(to))
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let web = good();
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        let proxy = proxy(&web);
        let directory = tempfile::tempdir().unwrap();
        let address = proxy.url().replace("http://", "http://user:pass%20word@");
        // Only the proxy knows this name.
        let said = run(update("http://mirror.invalid/free/", directory.path()).env(variable, address));
        // The path is another one, so there is nothing there.
        assert_eq!(said.status, Some(1), "{variable}");
        assert_eq!(
            proxy.targets(),
            ["CONNECT mirror.invalid:80"; 4],
            "{variable}: {}",
            said.err
        );
        for request in proxy.requests() {
            assert!(
                request.contains("Proxy-Authorization: Basic dXNlcjpwYXNzIHdvcmQ=\r\n"),
                "{request}"
            );
        }
        assert!(!said.err.contains("word"), "{}", said.err);
    }
    let proxy = proxy(&web);
    let directory = tempfile::tempdir().unwrap();
    let said = run(update("http://mirror.invalid", directory.path()).env("http_proxy", proxy.url()));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    assert_eq!(proxy.targets(), ["CONNECT mirror.invalid:80"; 2]);
}

#[test]
fn no_proxy_is_respected() {
    let web = good();
    for exceptions in ["127.0.0.1", "example, 127.0.0.0/8", "*"] {
        let proxy = proxy(&web);
        let directory = tempfile::tempdir().unwrap();
        let said = run(update(&web.url(), directory.path())
            .env("all_proxy", proxy.url())
            .env("no_proxy", exceptions));
        assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{exceptions}");
        assert_eq!(proxy.targets(), [""; 0], "{exceptions}");
    }
    let proxy = proxy(&web);
    let directory = tempfile::tempdir().unwrap();
    run(update(&web.url(), directory.path())
        .env("all_proxy", proxy.url())
        .env("no_proxy", "192.0.2.0/24,example"));
    assert_eq!(proxy.targets().len(), 2, "the control");
}

#[test]
fn a_proxy_that_refuses_or_is_away_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let proxy = Web::serve(|_| Reply::Status(407));
    let said = run(update("http://mirror.invalid", directory.path()).env("http_proxy", proxy.url()));
    assert_eq!(said.status, Some(1));
    let complaint = format!(
        "the proxy {} does not lead to the server: check https_proxy, its user name and password, or add the server to no_proxy: ",
        proxy.address()
    );
    assert!(
        said.err.contains(&complaint) && said.err.contains("407"),
        "{}",
        said.err
    );

    let address = proxy.address();
    drop(proxy);
    wait::until("the proxy is away", || {
        std::net::TcpStream::connect(address).is_err()
    });
    let said = run(update("http://mirror.invalid", directory.path()).env("http_proxy", address.to_string()));
    assert!(
        said.err
            .contains(&format!("cannot connect to the proxy {address}: ")),
        "{}",
        said.err
    );
}

#[test]
fn https_trusts_the_systems_authorities_or_those_of_ssl_cert_file() {
    let authority = Authority::new();
    let [country, asn] = [COUNTRY, ASN].map(|kind| packed(&database(kind, this_month(), NETWORKS)));
    let web = Web::serve_tls(&authority, move |target| {
        Reply::Whole(if target.contains("country") {
            country.clone()
        } else {
            asn.clone()
        })
    });
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("databases");
    let said = run(&mut update(&web.url(), &at));
    assert_eq!(said.status, Some(1));
    let complaint = format!(
        "no secure connection to {}: check this machine's clock and `apt install ca-certificates`; behind a proxy that inspects \
         TLS, add its certificate to the system's or name a file with it in SSL_CERT_FILE: ",
        web.address()
    );
    assert!(said.err.contains(&complaint), "{}", said.err);
    assert_eq!(names(&at), [""; 0]);

    let file = directory.path().join("authority.pem");
    fs::write(&file, authority.pem()).unwrap();
    let said = run(update(&web.url(), &at).env("SSL_CERT_FILE", &file));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    assert_eq!(names(&at), [ASN_FILE, COUNTRY_FILE]);

    // Through a proxy, which sees nothing of it.
    let proxy = proxy(&web);
    let said = run(update(&web.url(), &at)
        .arg("--force")
        .env("SSL_CERT_FILE", &file)
        .env("https_proxy", proxy.url())
        .env("http_proxy", "http://127.0.0.1:1"));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    assert_eq!(
        proxy.targets(),
        [
            format!("CONNECT {}", web.address()),
            format!("CONNECT {}", web.address())
        ]
    );

    fs::write(&file, "nothing").unwrap();
    let said = run(update(&web.url(), &at).arg("--force").env("SSL_CERT_FILE", &file));
    assert!(said.err.contains("no secure connection to "), "{}", said.err);

    // Never from a secure server to another.
    let plain = good();
    let there = format!("{}/x", plain.url());
    let refers = Web::serve_tls(&authority, move |_| Reply::Redirect(there.clone()));
    fs::write(&file, authority.pem()).unwrap();
    let said = run(update(&refers.url(), &at)
        .arg("--force")
        .env("SSL_CERT_FILE", &file));
    assert!(said.err.contains("which is no https address"), "{}", said.err);
    assert_eq!(plain.targets(), [""; 0]);
}

/// A file system in memory, gone with the value.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, options: &str) -> Self {
        command::require_root();
        command::run(&format!("mount -t tmpfs -o {options} tmpfs {}", at.display()));
        Self(at.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        command::run(&format!("umount --lazy {}", self.0.display()));
    }
}

#[test]
fn a_directory_that_cannot_be_written_to_is_said_with_the_cure() {
    let web = good();
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::mount(directory.path(), "ro");
    let said = run(&mut update(&web.url(), directory.path()));
    let complaint = format!(
        "{COUNTRY_FILE} is not there: cannot write {}/.{COUNTRY_FILE}.new: run it as root, or name a directory of yours: ",
        directory.path().display()
    );
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains(&complaint), "{}", said.err);
    let said = run(&mut update(&web.url(), &directory.path().join("below")));
    assert_eq!(said.status, Some(2));
    assert!(
        said.err.starts_with("tcpwatch: cannot make the directory ")
            && said
                .err
                .contains(": run it as root, or name a directory of yours: "),
        "{}",
        said.err
    );
    drop(disk);

    // Root without the right to write everywhere.
    chown(directory.path(), Some(65534), None).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let plain = update(&web.url(), directory.path());
    let mut bound = Command::new("setpriv");
    bound
        .args(["--bounding-set=-dac_override", "--inh-caps=-all", "--"])
        .arg(plain.get_program())
        .args(plain.get_args());
    let said = run(&mut bound);
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains(&complaint), "{}", said.err);
    assert_eq!(names(directory.path()), [""; 0]);
    assert_eq!(web.targets(), [""; 0], "nothing is fetched that cannot be kept");
}

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    let web = good();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let _disk = Disk::mount(at, "size=400k");
    put_old(at);
    let before = files(at);
    let mut room = File::create(at.join("filler")).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(1 << 20), &mut room).unwrap_err();
    let said = run(&mut update(&web.url(), at));
    assert_eq!(said.status, Some(1));
    assert!(
        said.err.contains(&format!(
            "cannot write {}/.{COUNTRY_FILE}.new: make room there, or name another directory: ",
            at.display()
        )),
        "{}",
        said.err
    );
    fs::remove_file(at.join("filler")).unwrap();
    assert!(files(at) == before, "{:?}", names(at));
}

/// Closed until it is opened.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let opened = self.0.lock().unwrap();
        drop(self.1.wait_while(opened, |open| !*open).unwrap());
    }
}

#[test]
fn one_update_at_a_time() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let web = with(move |_| {
        held.pass();
        None
    });
    let directory = tempfile::tempdir().unwrap();
    let first = update(&web.url(), directory.path()).spawn().unwrap();
    wait::until("the first one asks", || !web.targets().is_empty());
    let second = run(&mut update(&web.url(), directory.path()));
    gate.open();
    let first: Said = first.wait_with_output().unwrap().into();
    assert_eq!(second.status, Some(2));
    assert_eq!(
        second.err,
        format!(
            "tcpwatch: another tcpwatch is writing place databases to {}: wait until it has ended\n",
            directory.path().display()
        )
    );
    assert_eq!((first.status, first.err.as_str()), (Some(0), ""));
    assert_eq!(names(directory.path()), [ASN_FILE, COUNTRY_FILE]);
}

#[test]
fn what_a_killed_update_leaves_is_removed_by_the_next() {
    let file = good_country();
    let half = file.len() / 2;
    let silent = with(move |_| Some(Reply::Silence(file.clone(), half)));
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put_old(at);
    let mut killed = update(&silent.url(), at).spawn().unwrap();
    let left = format!(".{COUNTRY_FILE}.new");
    wait::until("something is written", || {
        fs::metadata(at.join(&left)).is_ok_and(|file| file.len() > 0)
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(names(at), [left.as_str(), ASN_FILE, COUNTRY_FILE], "the control");
    let said = run(&mut update(&good().url(), at));
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    assert_eq!(files(at).len(), 4);
    assert!(!at.join(left).exists());
}

#[test]
fn a_terminal_shows_how_far_it_is() {
    let file = good_country();
    let half = file.len() / 2;
    let silent = with(move |_| Some(Reply::Silence(file.clone(), half)));
    let directory = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::open();
    let mut program = update(&silent.url(), directory.path())
        .env("TERM", "xterm")
        .stderr(terminal.program_side())
        .spawn()
        .unwrap();
    wait::until("the bar is drawn", || {
        let shown = terminal.shown();
        shown.contains(COUNTRY_FILE) && shown.contains("KiB")
    });
    program.kill().unwrap();
    let output = program.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"");
}

/// A directory with a program called `location` that does this.
fn location(script: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("location");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

#[test]
fn without_the_program_location_the_cure_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("databases");
    let nothing = tempfile::tempdir().unwrap();
    let mut command = update("http://127.0.0.1:1", &at);
    let said = run(command.args(["--source", "location"]).env("PATH", nothing.path()));
    assert_eq!(said.status, Some(1));
    assert!(
        said.err
            .contains("there is no program `location`: `apt install location`; or use DB-IP's databases"),
        "{}",
        said.err
    );
    assert!(!at.exists());
}

#[test]
fn what_location_says_when_it_fails_is_repeated_and_the_other_source_is_done() {
    let web = good();
    let directory = tempfile::tempdir().unwrap();
    let failing =
        location("test \"$*\" = update && echo 'Traceback' >&2 && echo 'PermissionError: no' >&2; exit 1");
    let mut command = update(&web.url(), directory.path());
    let said = run(command
        .args(["--source", "location,dbip"])
        .env("PATH", failing.path()));
    assert_eq!(said.status, Some(1));
    assert!(
        said.err
            .contains("`location update` has failed (exit status: 1): PermissionError: no: run it as root"),
        "{}",
        said.err
    );
    assert_eq!(names(directory.path()), [ASN_FILE, COUNTRY_FILE]);
}
