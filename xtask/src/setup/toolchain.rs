//! What compiles the eBPF programs: a Rust compiler with `core` for the BPF target, and bpf-linker.
//!
//! Way A takes the compiler from Debian, way B a nightly from rustup. tcpwatch/build.rs uses A's where it is linked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use super::packages;
use crate::cargo;
use crate::machine::{Machine, answer, find, rustup_home, search_path, shown, succeed};
use crate::setup::{Finding, Known, Remedy, State};

// Pins. rustc's LLVM writes the bitcode that bpf-linker's LLVM reads, and a newer bitcode is not readable: these five
// belong together and change together (bpf-linker issues 387 and 426).

/// The LLVM of both compilers, and the one bpf-linker is built against.
const LLVM: &str = "22";
/// The newest bpf-linker that knows LLVM 22 and compiles with our `rust-version`.
const BPF_LINKER: &str = "0.13.0";
/// rustc 1.96 with `core` for the BPF target, and the same LLVM 22.1 as a library.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "llvm-22-dev"];
/// rustup's name for Debian's compiler; tcpwatch/build.rs asks for it by this name.
const DEBIAN_TOOLCHAIN: &str = "debian-bpf";
/// A nightly with LLVM 22.1; tcpwatch/build.rs asks for it by this name where there is no `debian-bpf`.
const NIGHTLY: &str = "nightly-2026-05-20";

/// Debian's own packages of Rust: rustc-web and cargo-web conflict with them, so way A would take the operator's Rust away.
const IN_THE_WAY: [&str; 3] = ["rustup", "rustc", "cargo"];

/// The compiler, its link in rustup, and the linker.
pub fn look(machine: &Machine, known: &Known) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find_out = |name, state| findings.push(Finding { name, state });
    let debian = if machine.debian {
        debian_compiler()
    } else {
        Debian::Impossible
    };
    match debian {
        Debian::Installed(version) => {
            find_out("BPF compiler", State::Ready(version));
            if machine.rustup.is_some() {
                find_out("BPF compiler in rustup", linked());
            }
            find_out("bpf-linker", linker(true));
        }
        Debian::Absent if !nightly_is_installed() && !known.no_compiler_packages => {
            let how = format!("apt-get install {}", DEBIAN_PACKAGES.join(" "));
            find_out("BPF compiler", State::Missing(how, Remedy::CompilerPackages));
            find_out("bpf-linker", linker(true));
        }
        Debian::Absent | Debian::Impossible => {
            find_out("BPF compiler", nightly(machine));
            find_out("bpf-linker", linker(false));
        }
    }
    findings
}

enum Debian {
    /// With what the packages say of themselves.
    Installed(String),
    /// Not, and nothing is known against it.
    Absent,
    /// Of another LLVM than ours, or in conflict with what is installed.
    Impossible,
}

fn debian_compiler() -> Debian {
    let mut names = DEBIAN_PACKAGES.to_vec();
    names.extend(IN_THE_WAY);
    let installed = packages::installed(&names);
    if !DEBIAN_PACKAGES.iter().all(|name| installed.contains_key(*name)) {
        return if IN_THE_WAY.iter().any(|name| installed.contains_key(*name)) {
            Debian::Impossible
        } else {
            Debian::Absent
        };
    }
    let rustc = answer("/usr/bin/rustc", &["-vV"]).unwrap_or_default();
    let library = llvm_prefix().and_then(|prefix| answer(prefix.join("bin/llvm-config"), &["--version"]));
    match (
        rustc.lines().find_map(|line| line.strip_prefix("LLVM version: ")),
        library,
    ) {
        (Some(compiler), Some(library)) if compiler == library && is_our_llvm(compiler) => {
            Debian::Installed(format!("rustc-web {}, LLVM {compiler}", installed["rustc-web"]))
        }
        _ => Debian::Impossible,
    }
}

fn is_our_llvm(version: &str) -> bool {
    version.split('.').next() == Some(LLVM)
}

fn linked() -> State {
    let link = rustup_home().join("toolchains").join(DEBIAN_TOOLCHAIN);
    if fs::read_link(&link).is_ok_and(|target| target == Path::new("/usr")) {
        State::Ready(DEBIAN_TOOLCHAIN.to_owned())
    } else {
        State::Missing(shown(&link_command()), Remedy::CompilerLink)
    }
}

fn nightly(machine: &Machine) -> State {
    if nightly_is_installed() {
        State::Ready(format!("{NIGHTLY} with rust-src"))
    } else if machine.rustup.is_some() {
        State::Missing(shown(&nightly_command()), Remedy::Nightly)
    } else {
        State::Blocked(format!(
            "install rustup (rustup.rs): the eBPF programs need {NIGHTLY} where Debian's {} are not to be had",
            DEBIAN_PACKAGES.join(", ")
        ))
    }
}

fn nightly_is_installed() -> bool {
    fs::read_dir(rustup_home().join("toolchains")).is_ok_and(|toolchains| {
        toolchains.flatten().any(|toolchain| {
            toolchain.file_name().to_string_lossy().starts_with(NIGHTLY)
                && toolchain
                    .path()
                    .join("lib/rustlib/src/rust/library/core")
                    .is_dir()
        })
    })
}

/// `llvm_is_coming`: the packages that are installed before it bring the LLVM it is built against.
fn linker(llvm_is_coming: bool) -> State {
    let found = find("bpf-linker");
    let version = found.as_ref().and_then(|path| answer(path, &["--version"]));
    match (version, found) {
        (Some(version), Some(path)) if version == format!("bpf-linker {BPF_LINKER}") => {
            State::Ready(format!("{BPF_LINKER} ({})", path.display()))
        }
        _ if llvm_is_coming || llvm_prefix().is_some() => State::Missing(
            format!("{}, a minute", shown(&linker_command())),
            Remedy::BpfLinker,
        ),
        _ => State::Blocked(format!(
            "install the development package of LLVM {LLVM} (llvm-{LLVM}-dev; for Debian and Ubuntu also at \
             apt.llvm.org), or put the program of bpf-linker's release {BPF_LINKER} into PATH"
        )),
    }
}

/// Where LLVM of our version is installed for compiling against.
fn llvm_prefix() -> Option<PathBuf> {
    let debian = PathBuf::from(format!("/usr/lib/llvm-{LLVM}"));
    if debian.join("bin/llvm-config").is_file() && debian.join("include/llvm-c").exists() {
        return Some(debian);
    }
    let version = answer(find("llvm-config")?, &["--version"])?;
    if !is_our_llvm(&version) {
        return None;
    }
    answer(find("llvm-config")?, &["--prefix"]).map(PathBuf::from)
}

/// Installs way A. False where Debian does not have the packages, even after fetching its lists.
///
/// # Errors
///
/// No privilege, or apt fails.
pub fn install_packages(machine: &Machine) -> anyhow::Result<bool> {
    if !packages::available(&DEBIAN_PACKAGES) {
        packages::refresh(machine)?;
        if !packages::available(&DEBIAN_PACKAGES) {
            return Ok(false);
        }
    }
    packages::install(machine, &DEBIAN_PACKAGES)?;
    Ok(true)
}

fn link_command() -> Command {
    let mut command = Command::new("rustup");
    command
        .env("PATH", search_path())
        .args(["toolchain", "link", DEBIAN_TOOLCHAIN, "/usr"]);
    command
}

/// Makes Debian's compiler known to rustup.
pub fn link() -> anyhow::Result<()> {
    announce_and_run(&mut link_command())
}

fn nightly_command() -> Command {
    let mut command = Command::new("rustup");
    command.env("PATH", search_path());
    command.args([
        "toolchain",
        "install",
        NIGHTLY,
        "--component",
        "rust-src",
        "--profile",
        "minimal",
    ]);
    command
}

/// Installs way B's compiler.
pub fn install_nightly() -> anyhow::Result<()> {
    announce_and_run(&mut nightly_command())
}

fn linker_command() -> Command {
    let mut command = cargo::cargo();
    let feature = format!("llvm-{LLVM}");
    // A target directory of ours would keep its 500 MB of intermediate files.
    command.env_remove("CARGO_TARGET_DIR");
    command.args([
        "install",
        "bpf-linker",
        "--version",
        BPF_LINKER,
        "--locked",
        "--force",
    ]);
    command.args(["--no-default-features", "--features", &feature]);
    command
}

/// Compiles bpf-linker against our LLVM.
///
/// # Errors
///
/// No such LLVM, or cargo fails.
pub fn install_linker() -> anyhow::Result<()> {
    let Some(prefix) = llvm_prefix() else {
        bail!("LLVM {LLVM} is not where its packages put it: install llvm-{LLVM}-dev");
    };
    let mut command = linker_command();
    // bpf-linker reads this one; the LLVM_SYS_* variables of llvm-sys have no effect on it.
    announce_and_run(command.env("LLVM_PREFIX", prefix).current_dir("/"))
}

fn announce_and_run(command: &mut Command) -> anyhow::Result<()> {
    println!("+ {}", shown(command));
    succeed(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_major_version_of_llvm_is_not_ours() {
        assert!(is_our_llvm("22.1.8"));
        assert!(!is_our_llvm("23.0.0") && !is_our_llvm("2.2.0") && !is_our_llvm(""));
    }

    #[test]
    fn the_build_script_asks_for_the_toolchains_that_are_installed_here() {
        let script = fs::read_to_string(Path::new(cargo::WORKSPACE).join("tcpwatch/build.rs")).unwrap();
        for name in [DEBIAN_TOOLCHAIN, NIGHTLY] {
            assert!(
                script.contains(&format!("\"{name}\"")),
                "tcpwatch/build.rs does not know {name}"
            );
        }
    }
}
