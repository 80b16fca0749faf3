use super::*;

mod limits;
mod model;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A book and its time.
struct Run {
    book: Book,
    start: Instant,
    second: u64,
}

const DAY: u64 = 24 * 60 * 60;

impl Run {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let mut run = Self {
            book: Book::new(limits),
            start: Instant::now(),
            second: 0,
        };
        // Times are counted from the first call.
        assert_eq!(run.shown("192.0.2.250", "198.51.100.1"), "unknown");
        run
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.second)
    }

    fn at(&mut self, second: u64) -> &mut Self {
        self.second = second;
        self
    }

    fn connects(&mut self, source: &str, destination: &str, name: &str) -> &mut Self {
        let finding = Finding::Connection {
            source: ip(source),
            destination: ip(destination),
            name: name.into(),
        };
        self.book.learn(finding, self.now());
        self
    }

    fn answered(&mut self, name: &str, address: &str, life: u64) -> &mut Self {
        let finding = Finding::Answer {
            name: name.into(),
            addresses: vec![(ip(address), Duration::from_secs(life))],
        };
        self.book.learn(finding, self.now());
        self
    }

    fn reversed(&mut self, address: &str, names: &[&str], life: u64) -> &mut Self {
        let life = Duration::from_secs(life);
        let outcome = if names.is_empty() {
            Outcome::Nothing { life }
        } else {
            Outcome::Names {
                names: names.iter().map(|name| (*name).into()).collect(),
                life,
            }
        };
        self.book.learn_reverse(ip(address), outcome, self.now());
        self
    }

    fn ends(&mut self) -> &mut Self {
        let now = self.now();
        self.book.end_interval(now);
        self
    }

    fn shown(&mut self, destination: &str, source: &str) -> String {
        let source = (!source.is_empty()).then(|| ip(source));
        let names = self.book.names(ip(destination), source, self.now());
        names.map_or_else(|| "unknown".to_owned(), |names| show(&names))
    }
}

/// `sni b=2 a=0`, `dns a b`.
fn show(names: &Names) -> String {
    assert!(!names.list.is_empty());
    let mut text = format!("{:?}", names.from).to_lowercase();
    for name in &names.list {
        text.push_str(&format!(" {}", name.name));
        if let Some(connections) = name.connections {
            text.push_str(&format!("={connections}"));
        }
    }
    text
}

const A: &str = "192.0.2.1";
const S: &str = "198.51.100.1";
const T: &str = "198.51.100.2";

#[test]
fn connections_are_counted_by_source_and_interval() {
    let mut run = Run::new();
    run.connects(S, A, "b").connects(S, A, "b").connects(S, A, "a");
    run.connects(S, A, "c").connects(T, A, "c");
    assert_eq!(run.shown(A, S), "sni b=2 a=1 c=1");
    assert_eq!(run.shown("::ffff:192.0.2.1", T), "sni c=1");
    assert_eq!(
        run.shown(A, "198.51.100.3"),
        "sni a=0 b=0 c=0",
        "it is the same address"
    );
    run.ends();
    assert_eq!(run.shown(A, S), "sni a=0 b=0 c=0");
    run.connects(S, A, "a");
    assert_eq!(run.shown(A, S), "sni a=1", "what was visited now");
    assert_eq!(run.shown(A, T), "sni a=0 b=0 c=0");
}

#[test]
fn a_connection_is_in_one_row_of_a_record() {
    let mut run = Run::new();
    run.connects(S, A, "b").connects(S, A, "b").connects(S, A, "a");
    assert_eq!(run.shown(A, S), "sni b=2 a=1");
    assert_eq!(run.shown(A, S), "sni a=0 b=0", "by another interface");
    run.connects(S, A, "a");
    assert_eq!(run.shown(A, S), "sni a=1 b=0");
}

#[test]
fn a_source_that_is_not_the_host_s_own_is_one_of_the_others() {
    let mut run = Run::new();
    run.connects("::", A, "a").connects("0.0.0.0", A, "a");
    assert_eq!(run.shown(A, ""), "sni a=2");
}

#[test]
fn connections_say_more_than_answers_and_answers_more_than_look_ups() {
    let mut run = Run::new();
    run.reversed(A, &["p2", "p1", "p2"], 3600);
    assert_eq!(run.shown(A, S), "ptr p1 p2");
    run.answered("d2", A, 3600).answered("d1", A, 3600);
    assert_eq!(run.shown(A, S), "dns d1 d2");
    run.connects(T, A, "s");
    assert_eq!(run.shown(A, S), "sni s=0");
}

#[test]
fn a_name_of_a_connection_is_known_for_a_day() {
    let mut run = Run::new();
    run.answered("d", A, 0).connects(S, A, "old").ends();
    run.at(10).connects(S, A, "new").ends();
    assert_eq!(run.at(DAY - 1).shown(A, S), "sni new=0 old=0");
    assert_eq!(run.at(DAY).shown(A, S), "sni new=0");
    assert_eq!(run.at(DAY + 10).shown(A, S), "unknown");
}

#[test]
fn an_answer_holds_for_the_intervals_of_its_life() {
    let mut run = Run::new();
    run.at(100).ends();
    run.at(110).answered("zero", A, 0).answered("long", A, 300);
    // The interval is longer than either life.
    assert_eq!(run.at(500).shown(A, S), "dns long zero");
    assert_eq!(
        run.ends().at(600).shown(A, S),
        "dns long zero",
        "it was asked for each time"
    );
    run.ends().at(1200).ends();
    assert_eq!(
        run.shown(A, S),
        "unknown",
        "ten minutes had passed when the interval began"
    );

    let mut run = Run::new();
    run.answered("a", A, 100).at(50).ends().at(99).ends();
    assert_eq!(run.shown(A, S), "dns a");
    let mut run = Run::new();
    run.answered("a", A, 100).at(50).ends().at(100).ends();
    assert_eq!(run.shown(A, S), "unknown", "nobody asked before it was over");
}

#[test]
fn an_answer_holds_while_its_connection_is_silent_for_some_intervals() {
    let mut run = Run::new();
    run.answered("a", A, 60);
    for second in (0..7200).step_by(20) {
        run.at(second);
        if second % 45 < 20 {
            assert_eq!(run.shown(A, S), "dns a", "{second}");
        }
        run.ends();
    }
    // Intervals may be longer than that.
    assert_eq!(run.at(7200).shown(A, S), "dns a");
    assert_eq!(run.ends().at(10_800).shown(A, S), "dns a");
    assert_eq!(run.ends().at(14_400).shown(A, S), "dns a");
}

#[test]
fn an_answer_outlives_its_life_by_a_day_at_most() {
    let mut run = Run::new();
    run.answered("a", A, 10 * DAY).answered("b", A, 60);
    for second in (0..DAY).step_by(600) {
        assert_eq!(run.at(second).shown(A, S), "dns a b");
        run.ends();
    }
    run.answered("b", A, 60);
    assert_eq!(run.at(DAY).shown(A, S), "dns b");
}

#[test]
fn a_shorter_life_does_not_end_a_longer_one() {
    let mut run = Run::new();
    run.answered("a", A, 1000).at(10).answered("a", A, 60);
    assert_eq!(run.at(900).ends().shown(A, S), "dns a");
}

#[test]
fn the_name_that_was_seen_last_stays() {
    let mut run = Run::new();
    for number in 0..16 {
        run.connects(S, A, &format!("s{number:02}"))
            .answered(&format!("d{number:02}"), "192.0.2.2", 60);
    }
    run.connects(S, A, "s00").answered("d00", "192.0.2.2", 60);
    run.connects(S, A, "s16").answered("d16", "192.0.2.2", 60).ends();
    let shown = run.shown(A, S);
    assert!(
        shown.contains("s00=0") && shown.contains("s16=0") && !shown.contains("s01"),
        "{shown}"
    );
    let shown = run.shown("192.0.2.2", S);
    assert!(
        shown.contains("d00") && shown.contains("d16") && !shown.contains("d01"),
        "{shown}"
    );
}

#[test]
fn of_many_names_in_an_interval_those_with_most_connections_are_listed() {
    let mut run = Run::new();
    for number in 0..16 {
        let name = format!("s{number:02}");
        run.connects(S, A, &name);
        if number != 3 {
            run.connects(S, A, &name);
        }
    }
    run.connects(S, A, "new").connects(S, A, "newer");
    let shown = run.shown(A, S);
    assert!(
        shown.contains("newer=1") && !shown.contains("s03") && shown.contains("s15=2"),
        "{shown}"
    );
    assert_eq!(run.book.losses().connections, 2);
}

#[test]
fn a_failed_look_up_leaves_what_was_known() {
    let mut run = Run::new();
    let wants = |run: &Run| run.book.wants_reverse(ip(A), run.now());
    assert!(wants(&run));
    run.reversed(A, &["p"], 600);
    assert!(!wants(&run));
    assert!(wants(run.at(600)));
    assert_eq!(run.shown(A, S), "ptr p");
    let failed = Outcome::Failed {
        life: Duration::from_secs(300),
    };
    run.book.learn_reverse(ip(A), failed, run.now());
    assert!(!wants(run.at(899)));
    assert_eq!(run.shown(A, S), "ptr p");
    assert_eq!(run.at(4199).shown(A, S), "ptr p");
    assert_eq!(run.at(4200).shown(A, S), "unknown");
    assert!(wants(&run));
}

#[test]
fn an_address_without_a_name_is_not_looked_up_again_at_once() {
    let mut run = Run::new();
    let wants = |run: &Run| run.book.wants_reverse(ip(A), run.now());
    run.reversed(A, &["p"], 600).at(600).reversed(A, &[], 3600);
    assert_eq!(run.shown(A, S), "unknown");
    assert!(!wants(run.at(4199)) && wants(run.at(4200)));
    run.reversed(A, &[], 0).connects(S, A, "s");
    assert!(!wants(&run), "it has a name");
}

#[test]
fn a_list_without_connections_is_shared() {
    let mut run = Run::new();
    run.answered("a", A, 600);
    let now = run.now();
    let first = run.book.names(ip(A), Some(ip(S)), now).unwrap();
    run.answered("a", A, 600);
    let second = run.book.names(ip(A), None, now).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
}
