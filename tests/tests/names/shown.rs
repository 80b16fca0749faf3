//! Names in what people read.

use tcpwatch_tests::names_lab::NamesLab;
use tcpwatch_tests::names_lab::RESOLVER;
use tcpwatch_tests::names_lab::dns::{Kind, Stub};

use crate::{API, WWW, address};

/// Runs with these arguments while packets go to addresses with names, and returns what was printed.
fn printed(arguments: &[&'static str]) -> String {
    let names = NamesLab::new();
    let _resolver = names.resolver(&format!(
        "host-record={WWW},192.0.2.1,60\n\
         host-record={API},192.0.2.2,60\n\
         host-record=www.example.co.uk,192.0.2.3,60\n\
         host-record=static.example.co.uk,192.0.2.4,60\n"
    ));
    let watch = names.tcpwatch(arguments.iter().copied()).start();
    let stub = Stub::of(RESOLVER);
    names.server().within(|| {
        for name in [WWW, API, "www.example.co.uk", "static.example.co.uk"] {
            stub.ask(name, Kind::A);
        }
    });
    let mut udp = names.lab.udp_v4();
    for (last, times) in [(1, 40), (2, 2), (3, 300), (4, 33), (5, 7)] {
        udp.send_times(address(&format!("192.0.2.{last}")), 10, times);
    }
    let ended = watch.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    ended.stdout.join("\n")
}

#[test]
fn the_classic_format_has_names_instead_of_places() {
    let printed = printed(&["--format", "classic", "--names", "dns", "--resolve"]);
    let lines: Vec<&str> = printed.lines().collect();
    for line in [
        "300 : www.example.co.uk",
        "40 : www.example.com",
        "33 : static.example.co.uk",
        "2 : api.example.com",
        "7 : 192.0.2.5",
    ] {
        assert!(lines.contains(&line), "{line} is not in\n{printed}");
    }
}

#[test]
fn the_table_by_name_has_a_row_for_each_registrable_domain() {
    let printed = printed(&["--format", "table", "--names", "dns", "--by", "name"]);
    // From its heading to the next; the destinations have whole names.
    let section: Vec<Vec<&str>> = printed
        .lines()
        .skip_while(|line| !line.starts_with("NAME"))
        .skip(1)
        .take_while(|line| !line.is_empty() && !line.contains("PACKETS"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    for row in [["example.co.uk", "333"], ["example.com", "42"]] {
        assert!(
            section.iter().any(|words| words.starts_with(&row)),
            "no row {row:?} in\n{printed}"
        );
    }
    let folded = |words: &Vec<&str>| words.iter().any(|word| word.starts_with("www.") || *word == API);
    assert!(!section.iter().any(folded), "{printed}");
}
