//! Two hundred configurations that are none: each is refused in one line that names the file and, where there is one, the line.

use std::fs;
use std::path::Path;

use clap::{Args as _, Command};
use tcpwatch::cli::RunArgs;
use tcpwatch::config::file::File;
use tcpwatch_tests::hook;
use tcpwatch_tests::lab::Lab;

use super::support::held;

/// The files, as bytes; of each kind some.
fn malformed() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    let whole = "interval = \"20s\"\nban = [\"203.0.113.0/24\", \"192.0.2.0/24\"]\nrecord = \"/tmp/x\"\n";
    // Cut inside a string.
    for end in 1..whole.len() {
        let cut = &whole[..end];
        if cut.matches('"').count() % 2 == 1 {
            files.push(cut.as_bytes().to_vec());
        }
    }
    // Values of a wrong kind, and out of range.
    let values = ["{ a = 1 }", "[[1]]", "1979-05-27", "[{}]"];
    for key in [
        "interval",
        "interface",
        "ban",
        "spill",
        "top",
        "source",
        "attach",
        "intervals",
    ] {
        for value in values {
            // A name of an interface may be anything until it is looked for.
            if key == "interface" && value.starts_with('"') {
                continue;
            }
            files.push(format!("# first\n{key} = {value}\n").into_bytes());
        }
    }
    // Keys that do not exist, near ones and far ones.
    for n in 0..60 {
        files.push(format!("interval = \"1s\"\nintervall{n} = 1\n").into_bytes());
        files.push(format!("[section{n}]\ninterval = \"1s\"\n").into_bytes());
    }
    // Bytes of no text, and tables in tables.
    for n in 0..20_u8 {
        files.push((0..200_u8).map(|at| at.wrapping_mul(n | 1) ^ 0x80).collect());
    }
    for depth in [10, 100, 1000, 10_000, 100_000] {
        files.push(format!("ban = {}", "[".repeat(depth)).into_bytes());
        files.push(format!("ban = {}", "{a=".repeat(depth)).into_bytes());
        files.push(format!("{} = 1", "a.".repeat(depth) + "a").into_bytes());
        files.push(format!("ban = {}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes());
    }
    files
}

#[test]
fn two_hundred_malformed_configurations_are_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    let command = RunArgs::augment_args(Command::new("run"));
    let files = malformed();
    assert!(files.len() >= 200, "{}", files.len());
    let name = path.display().to_string();
    let check = |message: &str, bytes: &[u8]| {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        assert!(!message.trim_end().contains('\n'), "{shown}\n→ {message}");
        let place = message.split(&format!("{name}:")).nth(1);
        let line = place.and_then(|rest| rest.split(':').next());
        assert!(
            line.is_some_and(|line| line.parse::<usize>().is_ok()),
            "{shown}\n→ {message}"
        );
    };
    let mut wrong = Vec::new();
    for bytes in &files {
        fs::write(&path, bytes).unwrap();
        match File::read(&path, &command) {
            Ok(_) => wrong.push(String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned()),
            Err(error) => check(&error.to_string(), bytes),
        }
    }
    assert!(wrong.is_empty(), "accepted: {wrong:#?}");
    // The control.
    fs::write(&path, "interval = \"20s\"\nban = [\"203.0.113.0/24\"]\n").unwrap();
    File::read(&path, &command).unwrap();

    let lab = Lab::new();
    let few: Vec<_> = files.iter().step_by(files.len() / 20).collect();
    for bytes in &few {
        fs::write(&path, bytes).unwrap();
        let ended = run(&lab, &path);
        assert_eq!(ended.code(), Some(2), "{ended:#?}");
        assert_eq!(ended.stdout, [] as [&str; 0]);
        assert_eq!(ended.stderr.len(), 1, "{ended:#?}");
        check(&ended.stderr[0], bytes);
    }
    hook::assert_bare(&lab.near, "eth0");
    held(
        "malformed configuration files",
        "each refused with file and line in one line, nothing attached, no panic",
        &format!("{} files, {} of them by the program", files.len(), few.len()),
    );
}

fn run(lab: &Lab, path: &Path) -> tcpwatch_tests::daemon::Ended {
    lab.tcpwatch(["run"]).with_path("--config", path).finish()
}
