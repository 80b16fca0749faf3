use std::io::Write as _;
use std::time::Duration;

use ipnet::IpNet;
use tcpwatch_common::{Counts, FlowKey, Totals, Traffic, mapped};

use super::*;

fn drained(packets: u64) -> Drained {
    let counts = Counts {
        packets,
        bytes: packets * 100,
    };
    let banned = Counts {
        packets: 1,
        bytes: 60,
    };
    let mut totals = Totals {
        skbs: packets + 1,
        ..Totals::default()
    };
    totals.seen.add(counts);
    totals.seen.add(banned);
    totals.outcomes[tcpwatch_common::Outcome::Counted as usize] = counts;
    totals.outcomes[tcpwatch_common::Outcome::Banned as usize] = banned;
    let key = FlowKey {
        destination: mapped([198, 51, 100, 1]),
        source: mapped([192, 0, 2, 1]),
        ifindex: 7,
    };
    let traffic = Traffic {
        counts,
        tcp_connections: 2,
        quic_connections: 1,
    };
    let prefix: IpNet = "203.0.113.0/24".parse().unwrap();
    Drained {
        totals,
        destinations: vec![(key, traffic)],
        bans: vec![(prefix, banned)],
    }
}

fn tally(packets: &[u64]) -> Tally {
    let mut tally = Tally::default();
    for packets in packets {
        assert_eq!(tally.add(drained(*packets)), None);
    }
    tally
}

fn names() -> HashMap<u32, Arc<str>> {
    HashMap::from([(7, Arc::from("eth0"))])
}

fn ended(seq: u64) -> Ended {
    Ended {
        run: "abc".into(),
        seq,
        end: Moment::now(),
        partial: false,
        interfaces: vec![WatchedInterface::new("eth0", "tcx")],
    }
}

fn open(directory: &Path) -> (Journal, Vec<Unfinished>) {
    Journal::open(directory, Moment::now()).unwrap()
}

#[test]
fn what_a_killed_run_has_drained_is_there_for_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let start = Moment::now();
    let (mut journal, unfinished) = Journal::open(directory.path(), start).unwrap();
    assert!(unfinished.is_empty());
    journal.interfaces(&names());
    assert!(journal.drained("one", 1, &drained(10), Moment::now()));
    assert!(journal.drained("one", 2, &drained(5), Moment::now()));
    drop(journal);

    let (mut journal, unfinished) = open(directory.path());
    let [interval] = &unfinished[..] else {
        panic!("{unfinished:?}")
    };
    assert_eq!(interval.tally, tally(&[10, 5]));
    assert_eq!(interval.names, names());
    assert_eq!(interval.start.wall, start.wall);
    let off = interval
        .start
        .monotonic
        .max(start.monotonic)
        .duration_since(interval.start.monotonic.min(start.monotonic));
    assert!(off < Duration::from_millis(50), "{off:?}");
    assert!(interval.ended.is_none());
    assert!(journal.has("one", 1) && journal.has("one", 2));
    assert!(!journal.has("one", 3) && !journal.has("two", 1));

    // It is gone on with.
    assert!(journal.drained("two", 1, &drained(1), Moment::now()));
    let (_, unfinished) = open(directory.path());
    assert_eq!(unfinished.len(), 1);
    assert_eq!(unfinished[0].tally, tally(&[10, 5, 1]));
}

#[test]
fn an_interval_is_kept_until_its_record_has_arrived() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path());
    for seq in 1..=3 {
        assert!(journal.drained("one", seq, &drained(seq), Moment::now()));
        journal.end(&ended(seq));
    }
    assert!(journal.drained("one", 4, &drained(4), Moment::now()));
    journal.forget(2);
    drop(journal);

    let (mut journal, unfinished) = open(directory.path());
    let seen: Vec<(Option<u64>, u64)> = unfinished
        .iter()
        .map(|interval| {
            (
                interval.ended.as_ref().map(|ended| ended.seq),
                interval.tally.totals.outcomes[tcpwatch_common::Outcome::Counted as usize].packets,
            )
        })
        .collect();
    assert_eq!(seen, [(Some(2), 2), (Some(3), 3), (None, 4)]);
    let two = unfinished[0].ended.as_ref().unwrap();
    assert_eq!(&*two.run, "abc");
    assert_eq!(two.interfaces, ended(2).interfaces);
    journal.forget(0);
    drop(journal);
    assert_eq!(open(directory.path()).1.len(), 1);
}

#[test]
fn a_torn_entry_is_left_out_and_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path());
    assert!(journal.drained("one", 1, &drained(10), Moment::now()));
    let path = journal.path(journal.number);
    let whole = std::fs::read(&path).unwrap();
    assert!(journal.drained("one", 2, &drained(20), Moment::now()));
    drop(journal);
    let both = std::fs::read(&path).unwrap();
    for length in whole.len()..both.len() {
        std::fs::write(&path, &both[..length]).unwrap();
        let (mut journal, unfinished) = open(directory.path());
        assert_eq!(unfinished[0].tally, tally(&[10]), "{length}");
        assert!(!journal.has("one", 2));
        assert!(journal.drained("one", 2, &drained(3), Moment::now()));
        drop(journal);
        assert_eq!(open(directory.path()).1[0].tally, tally(&[10, 3]), "{length}");
    }
}

#[test]
fn what_is_no_journal_is_removed_and_another_is_begun() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("journal");
    for content in [
        &b""[..],
        b"tcpwatch",
        b"tcpwatch journal 0\n\0\0\0\0",
        &[0xff; 100],
    ] {
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("0000000000000001.journal");
        std::fs::write(&path, content).unwrap();
        let (mut journal, unfinished) = open(&directory);
        assert!(unfinished.is_empty(), "{content:?}");
        assert!(journal.drained("one", 1, &drained(10), Moment::now()));
        journal.remove_all();
        assert!(!directory.exists());
    }
}

#[test]
fn a_file_that_cannot_be_written_is_said_and_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path());
    let path = journal.path(journal.number);
    // Open for reading only: every write fails.
    journal.file = Some(File::open(&path).unwrap());
    assert!(!journal.drained("one", 1, &drained(10), Moment::now()));
    assert!(journal.file.is_none());
    assert!(journal.drained("one", 2, &drained(20), Moment::now()));
    drop(journal);
    let (_, unfinished) = open(directory.path());
    assert_eq!(unfinished.last().unwrap().tally, tally(&[20]));
}

#[test]
fn a_huge_length_is_no_entry() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path());
    assert!(journal.drained("one", 1, &drained(10), Moment::now()));
    let mut file = OpenOptions::new()
        .append(true)
        .open(journal.path(journal.number))
        .unwrap();
    file.write_all(&[0xff; 64]).unwrap();
    drop(journal);
    assert_eq!(open(directory.path()).1[0].tally, tally(&[10]));
}
