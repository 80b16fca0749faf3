//! `cargo xtask lint`: format and lints, exactly as the gate runs them.

use anyhow::bail;

use crate::cargo;
use crate::machine::{Machine, shown, succeed};
use crate::setup::{self, Known, Purpose, State};

/// Runs all of them, then fails where one did.
pub fn command() -> anyhow::Result<()> {
    let machine = Machine::detect();
    setup::ensure(&machine, &[Purpose::Lint])?;
    let can_build = setup::look(&machine, &Known::default(), &[Purpose::Build])
        .iter()
        .all(|finding| matches!(finding.state, State::Ready(_)));

    let mut format = cargo::cargo();
    format.args(["fmt", "--all", "--check"]);

    let mut userspace = cargo::cargo();
    userspace.args([
        "clippy",
        "--workspace",
        "--exclude",
        "tcpwatch-ebpf",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    if !can_build {
        // tcpwatch/build.rs: empty files instead of the programs. Otherwise those of the next build are already there.
        userspace.env("TCPWATCH_EBPF_STUB", "1");
    }

    // The debug feature, which no other step builds; without its programs, for this is about the daemon's side.
    let mut kernel_log = cargo::cargo();
    kernel_log
        .args(["clippy", "--package", "tcpwatch", "--features", "kernel-log"])
        .args(["--", "-D", "warnings"])
        .env("TCPWATCH_EBPF_STUB", "1");

    // Clippy for the BPF target would need clippy of the same compiler, which Debian does not have. The lints are the
    // same on this machine's target: it only has to be told what the BPF target implies.
    let mut kernel = cargo::cargo();
    kernel
        .args([
            "clippy",
            "--package",
            "tcpwatch-ebpf",
            "--bins",
            "--all-features",
            "--target-dir",
            "target/lint-ebpf",
        ])
        .args(["--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "aya_ebpf,tcpwatch_egress,tcpwatch_comparison")
        .env("RUSTFLAGS", r#"--cfg=bpf_target_arch="x86_64" -C panic=abort"#);

    let mut failed = false;
    for mut command in [format, userspace, kernel_log, kernel] {
        println!("+ {}", shown(&command));
        if let Err(error) = succeed(&mut command) {
            eprintln!("error: {error:#}");
            failed = true;
        }
    }
    if failed {
        bail!("the lints above stand in the way");
    }
    Ok(())
}
