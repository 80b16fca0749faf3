//! Running the system's tools (`ip`, `tc`, `ethtool`) and checking that we may.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::Once;

/// Runs a command line, split at white space, and returns what it printed.
///
/// # Panics
///
/// When it cannot be started or fails.
#[track_caller]
pub fn run(line: &str) -> String {
    let output = attempt(line);
    assert!(
        output.status.success(),
        "`{line}`: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("tools print UTF-8")
}

/// Runs a command line, split at white space, whatever it exits with.
///
/// # Panics
///
/// When it cannot be started.
#[track_caller]
pub fn attempt(line: &str) -> Output {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a command line has a first word");
    match Command::new(program).args(words).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => panic!("`{line}`: {error}"),
    }
}

/// Gives `ip` in `namespace` several commands at once, one a line.
///
/// # Panics
///
/// When one of them fails.
#[track_caller]
pub fn ip_batch(namespace: &str, lines: &str) {
    let mut child = Command::new("ip")
        .args(["-n", namespace, "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ip (package iproute2) can be started");
    child
        .stdin
        .take()
        .expect("it was asked for")
        .write_all(lines.as_bytes())
        .expect("ip reads its input");
    let output = child.wait_with_output().expect("ip ends");
    assert!(
        output.status.success(),
        "ip in {namespace}:\n{lines}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Explains what is missing when the tests are not run as root.
///
/// # Panics
///
/// Without root.
pub fn require_root() {
    static CHECKED: Once = Once::new();
    CHECKED.call_once(|| {
        // SAFETY: geteuid has no preconditions and cannot fail.
        let user = unsafe { libc::geteuid() };
        assert!(
            user == 0,
            "these tests make network namespaces and load kernel programs, for which they need root: run \
             `sudo cargo xtask test`, or `cargo xtask test --unit` for the tests that do not need it"
        );
    });
}
