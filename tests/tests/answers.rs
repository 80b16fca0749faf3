//! From packets to answers, with the real program: a history is asked what the records have, and reports are made when they are due.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use mmdb_writer::{Value, Writer};
use serde_json::Value as Json;
use tcpwatch::config::periodic::Periodic;
use tcpwatch_tests::daemon::{Ended, Tcpwatch};
use tcpwatch_tests::injection::Injector;
use tcpwatch_tests::invocation::Invocation;
use tcpwatch_tests::lab::{Lab, NEAR_V4};
use tcpwatch_tests::{places, records, wait};

/// A database that puts 8.8.8.0/24 into Google's network and 80.0.0.0/8 into another.
fn networks(directory: &Path) -> PathBuf {
    let mut writer = Writer::builder("Tiny-Country-ASN")
        .build_epoch(UNIX_EPOCH + Duration::from_secs(places::BUILT_EPOCH_S))
        .build();
    for (network, country, asn, name) in [
        ("8.8.8.0/24", "US", 15169, "GOOGLE"),
        ("80.0.0.0/8", "NL", 64500, "EXAMPLE <b>"),
    ] {
        let value = Value::map([
            ("country", Value::map([("iso_code", Value::from(country))])),
            ("autonomous_system_number", Value::U32(asn)),
            ("autonomous_system_organization", Value::from(name)),
        ]);
        writer
            .insert_value(network.parse::<IpNet>().unwrap(), value)
            .unwrap();
    }
    places::write(directory, "networks.mmdb", &writer.to_bytes().unwrap())
}

fn good(ended: Ended) -> Vec<String> {
    assert_eq!(ended.code(), Some(0), "{:#?} {:#?}", ended.stdout, ended.stderr);
    ended.stdout
}

struct Bench {
    lab: Lab,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            lab: Lab::new(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn report(&self, arguments: &[&str]) -> Vec<String> {
        let asked = self
            .lab
            .tcpwatch(["report", "--since", "1h"])
            .with_path("--history", &self.path("history.db"));
        good(asked.with(arguments.iter().copied()).finish())
    }

    fn json(&self, arguments: &[&str]) -> Json {
        let lines = self.report(&[&["--format", "json"], arguments].concat());
        serde_json::from_str(&lines.join("\n")).unwrap()
    }
}

#[test]
fn the_history_answers_with_the_sums_of_the_records() {
    let bench = Bench::new();
    let (history, record) = (bench.path("history.db"), bench.path("records.jsonl"));
    let mut watching = bench
        .lab
        .tcpwatch(["run", "--format", "csv", "--interval", "100ms"])
        .with_path("--geo", &networks(bench.directory.path()))
        .with_path("--history", &history)
        .with_path("--record", &record)
        .spawn();
    watching.wait_until_started();
    let injector = Injector::new(&bench.lab.near, "eth0");
    bench.lab.near.within(|| {
        injector.udp(NEAR_V4, "8.8.8.8".parse().unwrap(), 100, 50);
        injector.udp(NEAR_V4, "8.8.8.4".parse().unwrap(), 200, 20);
        injector.udp(NEAR_V4, "80.1.2.3".parse().unwrap(), 300, 30);
        injector.udp(NEAR_V4, "9.9.9.9".parse().unwrap(), 100, 7);
    });
    good(watching.stop());
    let records = records::parse(fs::read_to_string(&record).unwrap().lines());
    let sent: u64 = records.iter().map(|record| record.totals.counted.packets).sum();
    let bytes: u64 = records.iter().map(|record| record.totals.counted.bytes).sum();
    assert_eq!(sent, 107);

    let all = bench.json(&["--by", "network"]);
    assert_eq!(
        (&all["matched"]["packets"], &all["matched"]["bytes"]),
        (&sent.into(), &bytes.into())
    );
    let groups = all["sections"][0]["groups"].as_array().unwrap();
    let rows: Vec<(&str, u64)> = groups
        .iter()
        .map(|group| {
            (
                group["label"].as_str().unwrap(),
                group["sum"]["packets"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("AS15169 GOOGLE", 70),
            ("AS64500 EXAMPLE <b>", 30),
            ("unknown", 7)
        ]
    );

    let google = bench.json(&["--for", "google"]);
    assert_eq!(google["matched"]["packets"], 70);
    assert_eq!(google["all"]["packets"], sent);
    assert_eq!(google["destinations"], 2);
    assert!(google["facts"].is_object(), "{google}");

    let text = bench.report(&["--by", "network"]).join("\n");
    assert!(
        text.contains("balanced ✓") && text.contains("sum of rows 107 = counted 107"),
        "{text}"
    );

    let page = bench.path("report.html");
    bench.report(&["--format", "html", "-o", page.to_str().unwrap()]);
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("GOOGLE") && page.contains("EXAMPLE &lt;b&gt;") && !page.contains("EXAMPLE <b>"));

    let files = [record.to_str().unwrap(), history.to_str().unwrap()];
    let verdict = good(bench.lab.tcpwatch(["verify"]).with(files).finish());
    assert_eq!(verdict.last().unwrap(), "no findings");
}

/// An entry of the configuration, as the file has it and as the program knows it by.
fn entry(keys: &[(&str, &[&str])]) -> (String, String) {
    let mut periodic = Periodic::default();
    let mut text = "[[report]]\n".to_owned();
    for (key, values) in keys {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        text.push_str(&format!("{key} = {values:?}\n"));
        periodic.set(key, values).unwrap();
    }
    (text, periodic.name())
}

impl Bench {
    fn with_configuration(&self, text: &str) -> Invocation {
        fs::write(self.path("config.toml"), text).unwrap();
        self.lab
            .tcpwatch(["run", "--format", "csv"])
            .with_path("--config", &self.path("config.toml"))
            .env("TCPWATCH_HISTORY", self.path("history.db").to_str().unwrap())
    }
}

fn said(watching: &Tcpwatch, text: &str) -> bool {
    watching.stderr_lines().iter().any(|line| line.contains(text))
}

#[test]
fn reports_that_were_missed_are_made_once_into_a_file_and_for_a_command() {
    let bench = Bench::new();
    let (file, mailed) = (bench.path("out/report.txt"), bench.path("mailed"));
    let command = format!("cat > {0}.new && mv {0}.new {0}", mailed.display());
    let (first, first_name) = entry(&[
        ("schedule", &["hourly"]),
        ("file", &[file.to_str().unwrap()]),
        ("by", &["network", "country"]),
    ]);
    let (second, second_name) = entry(&[
        ("schedule", &["hourly"]),
        ("command", &["sh", "-c", &command]),
        ("since", &["1h"]),
        ("format", &["json"]),
    ]);
    let (third, third_name) = entry(&[("schedule", &["hourly"]), ("command", &["false"])]);
    let run = bench.with_configuration(&format!("interval = \"100ms\"\n\n{first}\n{second}\n{third}"));

    // Nothing was missed by a program that never ran.
    let watching = run.start();
    wait::until("some records", || watching.stdout_lines().len() > 20);
    assert!(!said(&watching, "report made"));
    good(watching.stop());
    assert!(!file.exists() && !mailed.exists());

    // As if it had been away for three hours.
    let away: std::collections::BTreeMap<_, _> = [first_name, second_name, third_name]
        .into_iter()
        .map(|name| {
            (
                name,
                (Timestamp::now() - SignedDuration::from_hours(3)).to_string(),
            )
        })
        .collect();
    fs::write(
        bench.path("history.reports.json"),
        serde_json::to_string(&away).unwrap(),
    )
    .unwrap();
    let watching = run.start();
    let made = |watching: &Tcpwatch| {
        let lines = watching.stderr_lines();
        lines
            .iter()
            .filter(|line| line.contains("report made: hourly"))
            .count()
    };
    wait::until("both reports", || made(&watching) == 2);
    wait::until("the failure is said", || {
        said(&watching, "report not made: hourly  false: ")
    });
    good(watching.stop());
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("tcpwatch report"), "{text}");
    let report: Json = serde_json::from_str(&fs::read_to_string(&mailed).unwrap()).unwrap();
    assert!(report["matched"].is_object(), "{report}");

    // Made once: neither again by the next start, nor by any later one.
    fs::remove_file(&file).unwrap();
    fs::remove_file(&mailed).unwrap();
    let watching = run.start();
    wait::until("some records", || watching.stdout_lines().len() > 20);
    assert!(!said(&watching, "report made") && !said(&watching, "report not made"));
    good(watching.stop());
    assert!(!file.exists() && !mailed.exists());
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_its_line_before_anything_is_attached() {
    let bench = Bench::new();
    for (text, expected) in [
        (
            "intervall = \"1s\"\n",
            "config.toml:1: there is no option \"intervall\": did you mean \"interval\"?",
        ),
        (
            "interval = \"1s\"\ntop = 0\n",
            "--top must be between 1 and 1000000",
        ),
        (
            "[[report]]\nschedule = \"daily\"\nformat = \"pdf\"\n",
            "config.toml:3: invalid value 'pdf' for '--format <FORMAT>'",
        ),
    ] {
        let ended = bench.with_configuration(text).finish();
        assert_eq!(ended.code(), Some(2), "{text}");
        assert_eq!(ended.stderr.len(), 1, "{:#?}", ended.stderr);
        assert!(ended.stderr[0].contains(expected), "{:#?}", ended.stderr);
    }
    // Reports are made of the history, so there must be one.
    let (report, _) = entry(&[("schedule", &["daily"]), ("file", &["/nowhere/x"])]);
    let ended = bench
        .with_configuration(&report)
        .env("TCPWATCH_HISTORY", "none")
        .finish();
    assert_eq!(ended.code(), Some(2));
    assert!(
        ended.stderr.last().unwrap().contains("no history is kept"),
        "{:#?}",
        ended.stderr
    );
}
