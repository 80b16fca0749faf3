//! `cargo xtask package`: a .deb and a static tarball, in the target directory. The same commit makes the same version, and files with
//! the same times. The program's bytes depend on the checkout's place, too: the eBPF object names its sources.

mod installed;
mod tarball;
pub mod tools;
mod version;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::machine::{Machine, succeed};
use crate::setup::Purpose;
use crate::{cargo, setup};

pub use installed::check;
use version::Version;

#[derive(clap::Args)]
pub struct Arguments {
    /// Only the .deb
    #[arg(long)]
    deb: bool,
    /// Install it, upgrade it, remove it and purge it, in namespaces over this machine's files; needs root
    #[arg(long)]
    test: bool,
}

/// Makes them, and says where they are.
pub fn command(arguments: &Arguments) -> anyhow::Result<()> {
    let machine = Machine::detect();
    setup::ensure(&machine, &[Purpose::Build, Purpose::Package])?;
    let version = Version::of_checkout()?;
    println!("tcpwatch {}", version.shown);
    let deb = deb(&version)?;
    println!("{}", deb.display());
    if arguments.test {
        check(&machine, &deb)?;
    }
    if !arguments.deb {
        println!("{}", tarball::make(&version)?.display());
    }
    Ok(())
}

/// Where packages are left.
fn output() -> anyhow::Result<PathBuf> {
    let directory = target()?.join("package");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// The target directory, two above this program's file.
fn target() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("this program's own path is unknown")?;
    let directory = program
        .ancestors()
        .nth(2)
        .context("this program is in no target directory")?;
    Ok(directory.to_owned())
}

fn deb(version: &Version) -> anyhow::Result<PathBuf> {
    let program = version.program(&[])?;
    let packaged = program
        .parent()
        .context("a program is in a directory")?
        .join("packaged");
    describe(&program, &packaged)?;
    let to = output()?;
    let mut command = tools::cargo_deb()?;
    command
        .args([
            "--no-build",
            "--no-dbgsym",
            "--strip",
            "--no-separate-debug-symbols",
            "--locked",
        ])
        .args([
            "--package",
            "tcpwatch",
            "--compress-system",
            "--quiet",
            "--output",
        ])
        .arg(&to);
    version.apply(&mut command);
    succeed(&mut command)?;
    Ok(to.join(format!("tcpwatch_{}-1_amd64.deb", env!("CARGO_PKG_VERSION"))))
}

/// What the program says of itself: man pages, completions, the configuration with every option.
fn describe(program: &Path, into: &Path) -> anyhow::Result<()> {
    if into.exists() {
        fs::remove_dir_all(into).with_context(|| format!("cannot clear {}", into.display()))?;
    }
    let man = into.join("man");
    fs::create_dir_all(&man).with_context(|| format!("cannot make {}", man.display()))?;
    succeed(Command::new(program).arg("man").arg(&man))?;
    for page in fs::read_dir(&man).with_context(|| format!("cannot read {}", man.display()))? {
        // Without name and time: the same page is the same file.
        succeed(
            Command::new("gzip")
                .args(["--best", "--no-name"])
                .arg(page?.path()),
        )?;
    }
    for (arguments, file) in [
        (&["config"][..], "config.toml"),
        (&["completions", "bash"], "tcpwatch.bash"),
        (&["completions", "zsh"], "_tcpwatch"),
        (&["completions", "fish"], "tcpwatch.fish"),
    ] {
        let path = into.join(file);
        let written = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        succeed(Command::new(program).args(arguments).stdout(written))?;
    }
    Ok(())
}

/// The workspace's own file of this name.
fn ours(name: &str) -> PathBuf {
    Path::new(cargo::WORKSPACE).join(name)
}
