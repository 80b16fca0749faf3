//! Compiles the eBPF programs with the toolchain that `cargo xtask setup` installs, and leaves them in OUT_DIR.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, anyhow};
use aya_build::Toolchain;

/// Set to 1, `cargo check`, clippy and rust-analyzer need no BPF toolchain: the programs are replaced by empty files,
/// and a binary built this way refuses to run.
const STUB: &str = "TCPWATCH_EBPF_STUB";
/// Debian's rustc-web, linked into rustup by the set-up: a stable compiler that brings `core` for the BPF target.
const DEBIAN: &str = "debian-bpf";
/// Where Debian's packages do not exist. Its LLVM must be the bpf-linker's; xtask pins both together.
const NIGHTLY: &str = "nightly-2026-05-20";
const PROGRAMS: [&str; 2] = ["tcpwatch-egress", "tcpwatch-comparison"];

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-env-changed={STUB}");
    println!("cargo:rerun-if-changed=../tcpwatch-ebpf");
    println!("cargo:rerun-if-changed=../tcpwatch-common");
    if env::var_os(STUB).is_some_and(|value| value == "1") {
        let out = env::var_os("OUT_DIR").ok_or_else(|| anyhow!("OUT_DIR is not set"))?;
        for program in PROGRAMS {
            fs::write(Path::new(&out).join(program), [])?;
        }
        return Ok(());
    }

    // aya-build hands on every line of the inner cargo as a warning: only real ones should come through.
    // SAFETY: the build script has one thread.
    unsafe { env::set_var("CARGO_TERM_QUIET", "true") };
    // aya-ebpf and the two programs use one unstable feature each on the BPF target. Naming the crates allows it there
    // and nowhere else, and keeps aya-build from asking for `-Z build-std`, which the Debian compiler does not need.
    let debian =
        !succeeds("rustup", &["--version"]) || succeeds("rustup", &["run", DEBIAN, "rustc", "--version"]);
    if debian {
        // SAFETY: the build script has one thread.
        unsafe { env::set_var("RUSTC_BOOTSTRAP", "aya_ebpf,tcpwatch_egress,tcpwatch_comparison") };
    }
    let features: &[&str] = if env::var_os("CARGO_FEATURE_KERNEL_LOG").is_some() {
        &["log"]
    } else {
        &[]
    };
    let package = aya_build::Package {
        features,
        name: "tcpwatch-ebpf",
        root_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/../tcpwatch-ebpf"),
        ..Default::default()
    };
    aya_build::build_ebpf(
        [package],
        Toolchain::Custom(if debian { DEBIAN } else { NIGHTLY }),
    )
    .context("the eBPF programs cannot be compiled: run `cargo xtask setup`, which installs what that needs")
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}
