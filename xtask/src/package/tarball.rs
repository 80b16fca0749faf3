//! The static tarball: one program that runs on any Linux of this processor, and beside it what the package has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::version::Version;
use super::{describe, ours, output, tools};
use crate::machine::succeed;

/// Makes it.
///
/// # Errors
///
/// It cannot be built here, is not static, or cannot be written.
pub fn make(version: &Version) -> anyhow::Result<PathBuf> {
    if !tools::can_be_static() {
        bail!(
            "no static program can be built here: `cargo xtask setup` says what is missing, --deb makes the .deb alone"
        );
    }
    let program = version.program(&["--target", tools::STATIC])?;
    check_static(&program)?;

    let name = format!("tcpwatch-{}-x86_64-linux", env!("CARGO_PKG_VERSION"));
    let to = output()?;
    let tree = to.join(&name);
    describe(&program, &tree)?;
    copy(&program, &tree.join("tcpwatch"))?;
    succeed(Command::new("strip").arg(tree.join("tcpwatch")))?;
    for file in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&ours(file), &tree.join(file))?;
    }
    for directory in ["docs", "packaging"] {
        let into = tree.join(directory);
        fs::create_dir_all(&into).with_context(|| format!("cannot make {}", into.display()))?;
        for entry in fs::read_dir(ours(directory)).with_context(|| format!("cannot read {directory}"))? {
            let path = entry?.path();
            if let Some(name) = path.file_name().filter(|_| path.is_file()) {
                copy(&path, &into.join(name))?;
            }
        }
    }

    let archive = to.join(format!("{name}.tar.xz"));
    let mut tar = Command::new("tar");
    // Order, owners and times are the same wherever it is made.
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=go-w",
    ])
    .arg(format!("--mtime=@{}", version.time))
    .args(["--create", "--xz", "--file"])
    .arg(&archive)
    .arg("--directory")
    .arg(&to)
    .arg(&name);
    succeed(&mut tar)?;
    fs::remove_dir_all(&tree).with_context(|| format!("cannot clear {}", tree.display()))?;
    Ok(archive)
}

/// A static program names no loader and no library.
fn check_static(program: &Path) -> anyhow::Result<()> {
    let mut readelf = Command::new("readelf");
    let output = readelf
        .args(["--wide", "--program-headers", "--dynamic"])
        .arg(program)
        .output()
        .context("cannot start readelf (package binutils)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("INTERP") || text.contains("(NEEDED)") {
        bail!("{} is not static:\n{text}", program.display());
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
