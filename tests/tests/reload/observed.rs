//! tcpwatch under steady traffic: what its records say, what it says itself, and how soon.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tcpwatch_tests::daemon::Tcpwatch;
use tcpwatch_tests::injection::Injector;
use tcpwatch_tests::invocation::Invocation;
use tcpwatch_tests::lab::{Lab, NEAR_V4};
use tcpwatch_tests::records::{self, Record, to};
use tcpwatch_tests::{note, places, wait};

/// How soon a file that was replaced at once must be in use.
pub const SOON: Duration = Duration::from_secs(5);

/// Where the databases of these tests have a place. The packets to them are shown to the program, and never sent.
pub const PUBLIC: [Ipv4Addr; 3] = [
    Ipv4Addr::new(80, 0, 1, 1),
    Ipv4Addr::new(80, 3, 77, 9),
    Ipv4Addr::new(80, 7, 255, 2),
];

pub const JANUARY: &str = "2026-01-01";
pub const FEBRUARY: &str = "2026-02-01";

/// What a database says in these tests is known by its date.
pub fn country(built: &str) -> &'static str {
    match built {
        JANUARY => "NL",
        FEBRUARY => "DE",
        _ => panic!("no database was built on {built}"),
    }
}

pub fn january() -> Vec<u8> {
    places::cities(country(JANUARY), JANUARY)
}

pub fn february() -> Vec<u8> {
    places::cities(country(FEBRUARY), FEBRUARY)
}

/// tcpwatch with short intervals, to be started.
pub fn short(lab: &Lab) -> Invocation {
    lab.tcpwatch(["run", "--format", "json", "--interval", "100ms"])
}

/// Does `work` while packets leave steadily, and says how many to each destination. Then ends the program, and checks that its
/// books have every one of them, and that every record has its places from one set of databases.
#[track_caller]
pub fn under_traffic(lab: &Lab, watch: Tcpwatch, work: impl FnOnce(&Tcpwatch)) -> Vec<Record> {
    const PACE: Duration = Duration::from_millis(1);
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    let (injected, sent) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            lab.near.enter();
            let injector = Injector::new(&lab.near, "eth0");
            let mut socket = lab.udp_v4();
            let mut injected = 0;
            while !stop.load(Ordering::Relaxed) {
                for address in PUBLIC {
                    injector.udp(NEAR_V4, address, 100, 1);
                }
                injected += 1;
                socket.send("192.0.2.1".parse().unwrap(), 100);
                thread::sleep(PACE);
            }
            (injected, socket.sent().clone())
        });
        let stop = Stop(&stop);
        work(&watch);
        drop(stop);
        sender.join().unwrap()
    });
    let records = watch.stop().books();
    records::check_sent(&records, &sent, NEAR_V4);
    for address in PUBLIC {
        assert_eq!(to(&records, &address.to_string()).packets, injected, "{address}");
    }
    assert!(injected > 100, "{injected}");
    for record in &records {
        check_places(record);
    }
    records
}

/// The date of the only database of a record.
#[track_caller]
pub fn built(record: &Record) -> &str {
    let [geo] = record.geo.as_slice() else {
        panic!("one database: {:?}", record.geo)
    };
    &geo.built
}

/// Every place is what the database that the record names says of it.
#[track_caller]
pub fn check_places(record: &Record) {
    let country = country(built(record));
    for of in &record.destinations {
        if let Some(public) = PUBLIC.iter().find(|public| of.address == **public) {
            let city = places::city(country, *public);
            assert_eq!(
                (&of.country, &of.city),
                (&country.into(), &city.into()),
                "{record:?}"
            );
        }
    }
}

/// The dates of the databases in the order of the records, each as often as it was taken into use.
pub fn dates(records: &[Record]) -> Vec<&str> {
    let mut dates: Vec<&str> = records.iter().map(built).collect();
    dates.dedup();
    dates
}

/// Waits until records have the database of `date`.
#[track_caller]
pub fn wait_for(watch: &Tcpwatch, date: &str, limit: Duration) {
    let from = Instant::now();
    wait::until_some(limit, &format!("the database of {date} is in use"), || {
        let lines = watch.stdout_lines();
        let last = records::parse(lines.last());
        last.first()
            .is_some_and(|record| built(record) == date)
            .then_some(())
    });
    note(format_args!("in use after {:?}", from.elapsed()));
}

/// How many bytes the program has read from files.
pub fn bytes_read(watch: &Tcpwatch) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", watch.pid())).unwrap();
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.unwrap().parse().unwrap()
}

/// The lines on standard error with `words`.
pub fn said(watch: &Tcpwatch, words: &str) -> Vec<String> {
    let lines = watch.stderr_lines().into_iter();
    lines.filter(|line| line.contains(words)).collect()
}

#[track_caller]
pub fn wait_until_said(watch: &Tcpwatch, words: &str, times: usize) {
    wait::until(&format!("{words:?} is said {times} times"), || {
        said(watch, words).len() >= times
    });
}
