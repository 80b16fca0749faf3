//! More answers of name servers than can be read: names are lost, and the program says how many; no packet is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::{Duration, Instant};

use tcpwatch_tests::daemon::Ended;
use tcpwatch_tests::named::{Named, named, names_of};
use tcpwatch_tests::names_lab::flood::{ANSWER, NAME, Resolver, ask};
use tcpwatch_tests::names_lab::{NamesLab, RESOLVER};
use tcpwatch_tests::note;
use tcpwatch_tests::records::{self, Counts};
use tcpwatch_tests::wait;

const LIMIT: Duration = Duration::from_secs(4);
const MOST: u64 = 800_000;

/// What the program says at its end: samples read, and samples lost.
#[track_caller]
fn samples(ended: &Ended) -> (u64, u64) {
    let line = ended
        .stderr
        .iter()
        .find(|line| line.contains("names: ") && line.contains(" samples read, "))
        .unwrap_or_else(|| panic!("no account of the samples in {:#?}", ended.stderr));
    let (_, account) = line.split_once("names: ").unwrap();
    let (read, dropped) = account.split_once(" samples read, ").unwrap();
    let dropped = dropped.trim_end().trim_end_matches(" dropped");
    (read.parse().unwrap(), dropped.parse().unwrap())
}

/// Waits until the resolver has nothing left to answer.
fn wait_until_answered(resolver: &Resolver) -> u64 {
    let (mut last, mut since) = (resolver.answered(), Instant::now());
    wait::until("every question is answered", || {
        let now = resolver.answered();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(300)
    });
    last
}

#[test]
fn no_packet_is_lost_however_many_answers_come() {
    let names = NamesLab::new();
    let resolver = Resolver::start(&names);
    let watch = names
        .lab
        .watch(["--interval", "200ms", "--names", "dns,tls,quic"]);
    let mut udp = names.lab.udp_v4();
    let began = Instant::now();
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&names, LIMIT, MOST));
        // Packets to the address that is named all the while.
        while !asking.is_finished() {
            udp.send(ANSWER.into(), 18);
        }
        asking.join().unwrap()
    });
    let seconds = began.elapsed().as_secs_f64();
    let answered = wait_until_answered(&resolver);
    let ended = watch.stop();
    let records = ended.books();

    let question = Counts {
        packets: 1,
        bytes: asked.frame_bytes,
    };
    assert_eq!(records::to(&records, RESOLVER), question * asked.questions);
    assert_eq!(records::to(&records, &ANSWER.to_string()), udp.total());
    let (read, dropped) = samples(&ended);
    note(format_args!(
        "{} questions, {answered} answers in {seconds:.1} s, {:.0} a second; {} other packets; {read} samples read, \
         {dropped} dropped",
        asked.questions,
        answered as f64 / seconds,
        udp.total().packets
    ));
    assert!(read > 0 && read + dropped <= answered);
    // The last record has the name, whatever was lost before.
    let last = records
        .iter()
        .rev()
        .flat_map(|record| &record.destinations)
        .find(|of| of.address == ANSWER)
        .unwrap();
    assert_eq!(named(last), Some(Named::dns(&[NAME])));
}

/// A program that does not get to run reads nothing: what has no room is counted, and names come again afterwards.
#[test]
fn samples_without_room_are_dropped_and_counted() {
    let names = NamesLab::new();
    let resolver = Resolver::start(&names);
    let watch = names.lab.watch(["--interval", "1h", "--names", "dns"]);
    watch.signal(libc::SIGSTOP);
    let asked = ask(&names, LIMIT, MOST);
    let answered = wait_until_answered(&resolver);
    watch.signal(libc::SIGCONT);
    names.lab.udp_v4().send(ANSWER.into(), 10);
    let ended = watch.stop();
    let records = ended.books();

    assert_eq!(records::to(&records, RESOLVER).packets, asked.questions);
    let (read, dropped) = samples(&ended);
    note(format_args!(
        "{} questions, {answered} answers while the program stood still; {read} samples read, {dropped} dropped",
        asked.questions
    ));
    assert!(read > 0 && dropped > 0 && read + dropped <= answered);
    assert_eq!(names_of(&records, &ANSWER.to_string()), Some(Named::dns(&[NAME])));
}

/// The negative control: of a few answers none is dropped.
#[test]
fn a_few_answers_are_all_read() {
    let names = NamesLab::new();
    let resolver = Resolver::start(&names);
    let watch = names.lab.watch(["--interval", "1h", "--names", "dns"]);
    let asked = ask(&names, LIMIT, 64);
    wait::until("every question is answered", || {
        resolver.answered() == asked.questions
    });
    let ended = watch.stop();
    ended.books();
    assert_eq!(samples(&ended), (64, 0));
}
