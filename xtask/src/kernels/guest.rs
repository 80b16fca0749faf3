//! What is in the memory of a started kernel: the test programs with their libraries, the system's tools that they
//! call, the modules, and the script that is the first process.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::archive::Archive;
use super::console::{END, STATUS};
use super::{Files, Kernel, libraries};
use crate::machine::find;

/// What the harness (`tests/src`) and `ip netns` call.
const TOOLS: [&str; 5] = ["ip", "tc", "sysctl", "setpriv", "cat"];

/// Where the script and the tests expect something to be mounted, or may write.
const DIRECTORIES: [&str; 6] = ["/dev", "/proc", "/sys", "/tmp", "/run", "/var/lib"];

/// What tests/tests/matrix.rs reads the name of the wanted kernel from.
const KERNEL_VARIABLE: &str = "TCPWATCH_TEST_KERNEL";

/// A program for the started kernel.
pub struct Program {
    pub name: String,
    pub path: PathBuf,
    /// What it is called with; nothing for one that others call.
    pub call: Call,
}

/// What becomes of a program.
pub enum Call {
    /// It is run, with these arguments.
    Run(Vec<String>),
    /// Others find its path in this variable.
    Named(&'static str),
}

/// The archive that the kernel unpacks.
///
/// # Errors
///
/// A tool is missing, or a file cannot be read.
pub fn image(kernel: Kernel, files: &Files, programs: &[Program]) -> anyhow::Result<Vec<u8>> {
    let mut archive = Archive::default();
    let mut needed = BTreeSet::new();
    let mut add = |archive: &mut Archive, path: &str, from: &Path| {
        archive.executable(path, read(from)?);
        needed.extend(libraries::of(from)?);
        anyhow::Ok(())
    };
    for tool in TOOLS {
        let from = find(tool).ok_or_else(|| anyhow!("the tests need {tool}: run `cargo xtask setup`"))?;
        add(&mut archive, &format!("/bin/{tool}"), &from)?;
    }
    for program in programs {
        add(&mut archive, &place(program), &program.path)?;
    }
    for library in needed {
        archive.executable(&library, read(Path::new(&library))?);
    }
    for module in &files.modules {
        archive.plain(&inside(module), read(module)?);
    }
    for directory in DIRECTORIES {
        archive.directory(directory);
    }
    archive.executable("/bin/busybox", read(&files.shell)?);
    archive.executable("/init", script(kernel, &files.modules, programs).into_bytes());
    archive.pack()
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn place(program: &Program) -> String {
    format!("/tests/{}", program.name)
}

/// Where a module lies in the archive.
fn inside(module: &Path) -> String {
    format!("/modules/{}", module.file_name().unwrap_or_default().display())
}

/// The first process. Where it fails before its end, the kernel panics, which is a failure as well.
fn script(kernel: Kernel, modules: &[PathBuf], programs: &[Program]) -> String {
    let mut script = "#!/bin/busybox sh\n\
        set -e\n\
        export PATH=/bin\n\
        busybox mount -t devtmpfs dev /dev\n\
        busybox mount -t proc proc /proc\n\
        busybox mount -t sysfs sys /sys\n\
        busybox mount -t bpf bpf /sys/fs/bpf\n\
        busybox mount -t tmpfs tmp /tmp\n\
        busybox mount -t tmpfs run /run\n\
        ip link set lo up\n"
        .to_owned();
    let mut line = |text: &str| {
        script.push_str(text);
        script.push('\n');
    };
    for module in modules {
        line(&format!("busybox insmod {}", inside(module)));
    }
    line(&format!("export {KERNEL_VARIABLE}={}", quoted(kernel.name)));
    for program in programs {
        if let Call::Named(variable) = program.call {
            line(&format!("export {variable}={}", quoted(&place(program))));
        }
    }
    // The kernel's messages are on the first serial line; on the second, the tests have theirs to themselves.
    line("exec </dev/null >/dev/ttyS1 2>&1");
    for program in programs {
        let Call::Run(arguments) = &program.call else {
            continue;
        };
        let mut command = quoted(&place(program));
        for argument in arguments {
            command.push(' ');
            command.push_str(&quoted(argument));
        }
        line("status=0");
        line(&format!("{command} || status=$?"));
        line(&format!(
            "echo {} \"$status\"",
            quoted(&format!("{STATUS}{}", program.name))
        ));
    }
    line(&format!("echo {}", quoted(END)));
    // Closing the line waits until all of it was sent.
    line("exec >/dev/null 2>&1");
    line("busybox poweroff -f");
    script
}

/// One word for the shell, whatever is in it.
fn quoted(word: &str) -> String {
    let mut quoted = String::new();
    // Writing to a string does not fail.
    write!(quoted, "'{}'", word.replace('\'', r"'\''")).unwrap_or_default();
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::named;

    #[test]
    fn a_word_for_the_shell_stays_one_word() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn the_script_loads_modules_then_runs_programs_and_says_how_each_ended() {
        let programs = [
            Program {
                name: "tcpwatch".to_owned(),
                path: PathBuf::from("/t/tcpwatch"),
                call: Call::Named("TCPWATCH_BIN"),
            },
            Program {
                name: "packets".to_owned(),
                path: PathBuf::from("/t/packets-1"),
                call: Call::Run(vec!["--exact".to_owned(), "a b".to_owned()]),
            },
        ];
        let script = script(
            named("6.1-rt").unwrap(),
            &[PathBuf::from("/k/veth.ko")],
            &programs,
        );
        let from_modules = script.split_once("insmod ").unwrap().1;
        assert_eq!(
            from_modules,
            "/modules/veth.ko\n\
             export TCPWATCH_TEST_KERNEL='6.1-rt'\n\
             export TCPWATCH_BIN='/tests/tcpwatch'\n\
             exec </dev/null >/dev/ttyS1 2>&1\n\
             status=0\n\
             '/tests/packets' '--exact' 'a b' || status=$?\n\
             echo '== ended: packets' \"$status\"\n\
             echo '== end of the tests'\n\
             exec >/dev/null 2>&1\n\
             busybox poweroff -f\n"
        );
    }
}
