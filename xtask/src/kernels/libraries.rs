//! Shared libraries of a program, as the dynamic linker finds them on this machine.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// Paths of all libraries of a program, the dynamic linker with them; none for a static one.
///
/// # Errors
///
/// ldd cannot be started, or a library is missing.
pub fn of(program: &Path) -> anyhow::Result<BTreeSet<String>> {
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .output()
        .with_context(|| format!("cannot start `ldd {}`", program.display()))?;
    let (text, complaint) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if !output.status.success() && !complaint.contains("not a dynamic executable") {
        bail!(
            "`ldd {}` failed ({}): {}",
            program.display(),
            output.status,
            complaint.trim()
        );
    }
    parse(&text).with_context(|| format!("{} cannot be started elsewhere", program.display()))
}

fn parse(listing: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut paths = BTreeSet::new();
    for line in listing.lines().map(str::trim) {
        if line.ends_with("not found") {
            bail!("a library is missing: {line}");
        }
        // `name => path (address)`, or `path (address)`; the kernel's own has a name only.
        let path = line
            .split(" => ")
            .last()
            .and_then(|rest| rest.split(" (0x").next());
        paths.extend(path.filter(|path| path.starts_with('/')).map(str::to_owned));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_libraries_and_the_dynamic_linker() {
        let listing = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                       \tlibmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f1d)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f1e)\n";
        let paths = parse(listing).unwrap();
        assert_eq!(
            paths.into_iter().collect::<Vec<_>>(),
            ["/lib/x86_64-linux-gnu/libmnl.so.0", "/lib64/ld-linux-x86-64.so.2"]
        );
        assert_eq!(parse("\tstatically linked\n").unwrap().len(), 0);
    }

    #[test]
    fn a_missing_library_is_named() {
        let error = parse("\tlibx.so.1 => not found\n").unwrap_err().to_string();
        assert!(error.contains("libx.so.1"), "{error}");
    }
}
