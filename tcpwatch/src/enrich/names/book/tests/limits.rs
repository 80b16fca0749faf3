//! What the limits cost.

use super::*;

#[test]
fn what_an_interval_has_lost_is_said_at_its_end() {
    let mut run = Run::with(Limits {
        name_bytes: 20 * 50,
        ..Limits::default()
    });
    let lost = |run: &mut Run| {
        let now = run.now();
        run.book.end_interval(now).connections
    };
    for number in 0..19 {
        run.connects(S, A, &format!("{number:02}"));
    }
    assert_eq!(lost(&mut run), 9, "half of the bytes are for ten of them");
    run.connects(S, A, "00");
    assert_eq!(lost(&mut run), 0);
    run.connects(S, A, &"a".repeat(1000));
    assert_eq!(lost(&mut run), 1, "it has no room at all");
    assert_eq!(run.book.losses().connections, 10);
}

#[test]
fn the_address_that_was_used_least_recently_goes() {
    let mut run = Run::with(Limits {
        addresses: 2,
        ..Limits::default()
    });
    run.connects(S, "192.0.2.1", "a")
        .connects(S, "192.0.2.2", "b")
        .ends();
    assert_eq!(run.shown("192.0.2.1", S), "sni a=0");
    run.answered("c", "192.0.2.3", 60);
    assert_eq!(run.shown("192.0.2.2", S), "unknown");
    assert_eq!(run.shown("192.0.2.1", S), "sni a=0");
    assert_eq!((run.book.losses().addresses, run.book.addresses()), (1, 2));
}

#[test]
fn names_have_a_bound_together() {
    let mut run = Run::with(Limits {
        name_bytes: 800,
        ..Limits::default()
    });
    for number in 0..1000 {
        let address = format!("192.0.{}.{}", number / 256, number % 256);
        run.connects(S, &address, &format!("{number:08}")).ends();
        assert_eq!(run.shown(&address, S), format!("sni {number:08}=0"));
        assert!(run.book.names.bytes() <= 800);
    }
    assert!(run.book.addresses() <= 14);
    // What a record still has cannot be forgotten.
    let mut held = Vec::new();
    for number in 1000..1200 {
        let address = format!("192.0.2.{}", number % 256);
        run.connects(S, &address, &format!("{number:08}"));
        held.extend(run.book.names(ip(&address), None, run.now()));
        assert!(run.book.names.bytes() <= 800);
    }
    assert!(run.book.losses().findings > 0);
}

#[test]
fn what_is_counted_has_a_bound() {
    let mut run = Run::with(Limits {
        counted: 2,
        ..Limits::default()
    });
    run.connects(S, "192.0.2.1", "a")
        .connects(S, "192.0.2.2", "b")
        .connects(S, "192.0.2.3", "c");
    assert_eq!(run.shown("192.0.2.3", S), "sni c=0");
    assert_eq!(run.book.losses().connections, 1);
    run.ends().connects(S, "192.0.2.3", "c");
    assert_eq!(run.shown("192.0.2.3", S), "sni c=1");
}

#[test]
fn names_that_are_counted_leave_room_for_others() {
    let mut run = Run::with(Limits {
        name_bytes: 100 * 300,
        ..Limits::default()
    });
    run.answered("d", "192.0.2.1", DAY);
    let long = |number| format!("{number:0250}");
    for number in 0..1000 {
        let address = format!("203.0.113.{}", number % 256);
        run.connects(S, &address, &long(number));
    }
    // Of 298 bytes each; those that are counted may have 15,000.
    let shown = (0..256).filter(|number| {
        let shown = run.shown(&format!("203.0.113.{number}"), S);
        shown.contains("=1")
    });
    assert_eq!(shown.count(), 50);
    assert_eq!(run.book.losses().findings, 0);
    assert_eq!(run.book.losses().connections, 1000 - 50);
    run.answered("new", "192.0.2.2", DAY);
    assert_eq!(run.shown("192.0.2.2", S), "dns new");
}

#[test]
fn what_cannot_be_forgotten_is_not_looked_for_again_and_again() {
    let mut run = Run::with(Limits {
        name_bytes: 20 * 50,
        ..Limits::default()
    });
    let mut records = Vec::new();
    for number in 0..20 {
        let address = format!("192.0.2.{number}");
        run.answered(&format!("{number:02}"), &address, DAY);
        records.extend(run.book.names(ip(&address), None, run.now()));
    }
    for number in 20..200 {
        run.answered(&format!("{number:03}"), "192.0.2.200", DAY);
    }
    assert_eq!(run.book.losses().findings, 180);
    assert!(run.book.names.sweeps <= 2, "{}", run.book.names.sweeps);
    assert!(run.book.addresses() >= 18, "it would not have helped");
    // Nor in the next interval, until the records are gone.
    run.ends().answered("200", "192.0.2.200", DAY);
    assert!(run.book.names.sweeps <= 4);
    records.clear();
    run.ends().answered("200", "192.0.2.200", DAY);
    assert_eq!(run.shown("192.0.2.200", S), "dns 200");
}
