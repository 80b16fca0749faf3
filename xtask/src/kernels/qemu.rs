//! The QEMU that starts the kernels: the machine's own, or Debian's, unpacked in the target directory with every library
//! that it needs. It is not installed, since on a machine with a part of another QEMU apt would have to remove that; and
//! it takes no library of the machine, so that it starts whatever is installed there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::{list, unpack};
use crate::cargo;
use crate::machine::{Machine, find};
use crate::setup::{Finding, Remedy, State, packages};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// What is unpacked of the packages: the program, the emulation of a processor, firmware, libraries and the dynamic
/// linker. The latter's link in lib64 is left out: without directories, it would point to itself.
const FILES: [&str; 8] = [
    "./usr/bin/qemu-system-x86_64",
    "./usr/lib/*/qemu/accel-tcg-*.so",
    "./usr/share/qemu/*.bin",
    "./usr/share/seabios/*.bin",
    "./lib/*/lib*.so*",
    "./lib/*/ld-linux-*",
    "./usr/lib/*/lib*.so*",
    "./usr/lib/*/ld-linux-*",
];

/// How the name of the dynamic linker begins; the rest is the architecture's.
const LINKER: &str = "ld-linux-";

/// A QEMU that can be started.
pub struct Qemu {
    command: Vec<OsString>,
    described: String,
}

impl Qemu {
    /// The one that is installed, else the one that was unpacked.
    ///
    /// # Errors
    ///
    /// Neither is there, or the unpacked one does not start.
    pub fn find() -> anyhow::Result<Self> {
        if let Some(path) = find(PROGRAM) {
            return Ok(Self {
                described: path.display().to_string(),
                command: vec![path.into_os_string()],
            });
        }
        let directory = directory()?;
        let command = unpacked(&directory, &linker(&list(&directory)?)?);
        let version = version(&command)?;
        Ok(Self {
            command,
            described: format!("{version}, unpacked in the target directory"),
        })
    }

    /// The words that start it, before its options.
    pub fn command(&self) -> &[OsString] {
        &self.command
    }
}

fn directory() -> anyhow::Result<PathBuf> {
    Ok(cargo::kept()?.join("qemu"))
}

fn linker(files: &[PathBuf]) -> anyhow::Result<PathBuf> {
    files
        .iter()
        .find(|file| {
            file.file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(LINKER.as_bytes()))
        })
        .cloned()
        .context("QEMU was unpacked without the dynamic linker")
}

/// Started by the dynamic linker that belongs to its libraries, as they need not fit the one of the machine.
fn unpacked(directory: &Path, linker: &Path) -> Vec<OsString> {
    let mut modules = OsString::from("QEMU_MODULE_DIR=");
    modules.push(directory);
    vec![
        "env".into(),
        modules,
        linker.into(),
        "--library-path".into(),
        directory.into(),
        directory.join(PROGRAM).into(),
        "-L".into(),
        directory.into(),
    ]
}

/// What it calls itself, which shows that no library is missing.
fn version(command: &[OsString]) -> anyhow::Result<String> {
    let output = Command::new(&command[0])
        .args(&command[1..])
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .context("cannot start QEMU")?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("QEMU does not start ({}): {}", output.status, complaint.trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// There or not.
pub fn look(machine: &Machine) -> Finding {
    let state = match Qemu::find() {
        Ok(qemu) => State::Ready(qemu.described),
        Err(_absent) if machine.debian => State::Missing(
            format!(
                "unpack {PACKAGE}, downloaded from Debian with all that it needs (some 45 MB), for `cargo xtask test \
                 --kernel`"
            ),
            Remedy::Qemu,
        ),
        Err(_absent) => State::Blocked(format!(
            "install {PROGRAM}, which is needed for other kernels than this one"
        )),
    };
    Finding { name: PROGRAM, state }
}

/// Fetches and unpacks it.
///
/// # Errors
///
/// apt, dpkg or tar fails, or what was unpacked does not start.
pub fn install(machine: &Machine) -> anyhow::Result<()> {
    let names = || packages::with_dependencies(PACKAGE);
    if !unpack(machine, names, &FILES, &directory()?)? {
        bail!("apt does not know {PACKAGE}, or not all that it needs");
    }
    Qemu::find().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dynamic_linker_is_known_on_every_architecture() {
        for name in ["ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"] {
            let files = ["libc.so.6", "build-linux", name].map(|name| Path::new("/k/qemu").join(name));
            assert_eq!(linker(&files).unwrap(), files[2]);
        }
        assert!(linker(&[PathBuf::from("/k/qemu/libc.so.6")]).is_err());
    }

    #[test]
    fn takes_libraries_firmware_and_modules_from_where_it_was_unpacked() {
        let words = unpacked(Path::new("/k/qemu"), Path::new("/k/qemu/ld-linux-x86-64.so.2"));
        assert_eq!(
            words.join(&OsString::from(" ")),
            "env QEMU_MODULE_DIR=/k/qemu /k/qemu/ld-linux-x86-64.so.2 --library-path /k/qemu \
             /k/qemu/qemu-system-x86_64 -L /k/qemu"
        );
    }

    fn shell(script: &str) -> Vec<OsString> {
        ["sh", "-c", script].map(OsString::from).to_vec()
    }

    #[test]
    fn one_that_does_not_start_is_not_there() {
        assert_eq!(
            version(&shell("echo QEMU emulator version 7.2; echo Copyright")).unwrap(),
            "QEMU emulator version 7.2"
        );
        let error = version(&shell("echo libfdt.so.1: not found >&2; exit 127")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "QEMU does not start (exit status: 127): libfdt.so.1: not found"
        );
    }
}
