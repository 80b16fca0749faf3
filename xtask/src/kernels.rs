//! The kernel matrix: kernels of Debian that the tests are run on besides the one of this machine. This file owns the
//! table of them and how they and QEMU are come by; they are unpacked in the target directory, never installed.

mod archive;
mod boot;
mod console;
mod guest;
mod libraries;
mod modules;
mod qemu;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::cargo;
use crate::machine::{Machine, answer, succeed};
use crate::setup::{Finding, Known, Remedy, State, packages};

pub use guest::{Call, Program};
use qemu::Qemu;
pub use qemu::install as install_qemu;

/// A kernel that the tests are run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Its series, with `-rt` behind it where it must be a PREEMPT_RT kernel: `tests/tests/matrix.rs` checks both.
    pub name: &'static str,
    /// The package of Debian that depends on the newest image of that series.
    package: &'static str,
}

/// All of them. A new one is one line here.
pub const KERNELS: [Kernel; 2] = [
    Kernel {
        name: "6.1",
        package: "linux-image-cloud-amd64",
    },
    Kernel {
        name: "6.1-rt",
        package: "linux-image-rt-amd64",
    },
];

/// What a network with clsact needs of a kernel that has it in modules.
const MODULES: [&str; 3] = ["veth", "sch_ingress", "cls_bpf"];

/// The shell that starts the tests. As a package it would replace the `busybox` that an operator may have installed.
const SHELL_PACKAGE: &str = "busybox-static";

/// Both kernels together take a minute on two idle CPUs; this is for a busy machine.
const DEADLINE: Duration = Duration::from_secs(600);

/// The kernel of this name.
///
/// # Errors
///
/// There is none: the text names those that there are.
pub fn named(name: &str) -> Result<Kernel, String> {
    KERNELS
        .into_iter()
        .find(|kernel| kernel.name == name)
        .ok_or_else(|| {
            format!(
                "known kernels are {}",
                KERNELS.map(|kernel| kernel.name).join(", ")
            )
        })
}

/// QEMU and each kernel, there or not.
pub fn look(machine: &Machine, known: &Known) -> Vec<Finding> {
    let kernels = KERNELS.into_iter().map(|kernel| {
        let state = match Files::of(kernel) {
            Ok(files) => State::Ready(format!(
                "Linux {}, unpacked in the target directory",
                files.release
            )),
            Err(_absent) if machine.debian && !known.no_kernels.contains(&kernel.name) => to_be_had(kernel),
            Err(_absent) => State::Without(lacking(kernel)),
        };
        Finding {
            name: kernel.package,
            state,
        }
    });
    std::iter::once(qemu::look(machine)).chain(kernels).collect()
}

fn to_be_had(kernel: Kernel) -> State {
    match kernel.image() {
        // The lists may be old or empty: installing finds out.
        None => State::Missing(kernel.action(kernel.package), Remedy::Kernel(kernel.name)),
        Some(image) if kernel.is_image(&image) => {
            State::Missing(kernel.action(&image), Remedy::Kernel(kernel.name))
        }
        Some(_other_series) => State::Without(lacking(kernel)),
    }
}

fn lacking(kernel: Kernel) -> String {
    format!(
        "`cargo xtask test` fails at this kernel: only a Debian whose {} is of {} has it",
        kernel.package,
        kernel.series()
    )
}

/// Fetches a kernel, and the shell with the first of them. False where Debian does not have it, even after fetching
/// its lists.
///
/// # Errors
///
/// apt, dpkg or tar fails, or a package is not what it was.
pub fn install(machine: &Machine, name: &str) -> anyhow::Result<bool> {
    let kernel = named(name).map_err(anyhow::Error::msg)?;
    let mut wanted = vec!["./boot/vmlinuz-*".to_owned(), "*/modules.builtin".to_owned()];
    wanted.extend(MODULES.map(|module| format!("*/{module}.ko*")));
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let names = || Some(vec![kernel.image().filter(|image| kernel.is_image(image))?]);
    if !unpack(machine, names, &wanted, &directory(kernel)?)? {
        return Ok(false);
    }
    let (shell, names) = (shell()?, || packages::alone(SHELL_PACKAGE));
    if !shell.is_file() && !unpack(machine, names, &["./bin/busybox", "./usr/bin/busybox"], &shell)? {
        bail!("apt does not know the package {SHELL_PACKAGE}");
    }
    Files::of(kernel).with_context(|| format!("{} brought not all that is needed", kernel.package))?;
    Ok(true)
}

/// Unpacks the files of packages that match `wanted`, all into one directory, and puts that in `place`, or the one file
/// there is. What is in `place` is therefore whole. False where Debian has no such packages: see
/// [`packages::download_all`] for this and for `names`.
fn unpack(
    machine: &Machine,
    names: impl Fn() -> Option<Vec<String>>,
    wanted: &[&str],
    place: &Path,
) -> anyhow::Result<bool> {
    let scratch = cargo::scratch()?.join("packages");
    let Some(archives) = packages::download_all(machine, names, &scratch)? else {
        return Ok(false);
    };
    let files = scratch.join("files");
    for archive in archives {
        packages::extract(&archive, &files, wanted)?;
    }
    for file in list(&files)? {
        if file.extension().is_some_and(|extension| extension == "xz") {
            succeed(std::process::Command::new("xz").arg("--decompress").arg(file))?;
        }
    }
    let made = match &list(&files)?[..] {
        [only] => only.clone(),
        _ => files,
    };
    packages::discard(place)?;
    fs::rename(&made, place).with_context(|| format!("cannot make {}", place.display()))?;
    packages::discard(&scratch)?;
    Ok(true)
}

fn list(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        files.push(
            entry
                .with_context(|| format!("cannot read {}", directory.display()))?
                .path(),
        );
    }
    Ok(files)
}

fn directory(kernel: Kernel) -> anyhow::Result<PathBuf> {
    Ok(cargo::kept()?.join(format!("linux-{}", kernel.name)))
}

fn shell() -> anyhow::Result<PathBuf> {
    Ok(cargo::kept()?.join("busybox"))
}

impl Kernel {
    fn series(self) -> &'static str {
        self.name.strip_suffix("-rt").unwrap_or(self.name)
    }

    fn action(self, image: &str) -> String {
        format!(
            "unpack {image}, downloaded from Debian, for `cargo xtask test --kernel {}`",
            self.name
        )
    }

    /// The package of the image itself, as far as apt knows it.
    fn image(self) -> Option<String> {
        image(&answer("apt-cache", &["depends", self.package])?)
    }

    fn is_image(self, package: &str) -> bool {
        package.starts_with(&format!("linux-image-{}.", self.series()))
    }

    /// Starts the kernel, runs `programs` on it and shows what they print.
    ///
    /// # Errors
    ///
    /// The kernel is not here, it does not start or end as it should, or one of the programs fails.
    pub fn run(self, programs: &[Program]) -> anyhow::Result<()> {
        let files = Files::of(self)
            .with_context(|| format!("Linux {} is not here: run `cargo xtask setup`", self.name))?;
        let qemu = Qemu::find().context("there is no QEMU: run `cargo xtask setup`")?;
        let began = Instant::now();
        let image = guest::image(self, &files, programs)?;
        let scratch = cargo::scratch()?;
        let initramfs = scratch.join(format!("initramfs-{}", self.name));
        fs::write(&initramfs, &image).with_context(|| format!("cannot write {}", initramfs.display()))?;
        println!(
            "Linux {} with {} programs in {} MB, made in {:.1} s",
            files.release,
            programs.len(),
            image.len() >> 20,
            began.elapsed().as_secs_f64()
        );
        let log = scratch.join(format!("kernel-log-{}", self.name));
        boot::run(&qemu, &files.image, &initramfs, &log, DEADLINE)
    }
}

/// From what apt-cache says of the package that depends on it.
fn image(depends: &str) -> Option<String> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
        .map(str::to_owned)
}

/// What was unpacked of a kernel.
struct Files {
    release: String,
    image: PathBuf,
    /// In the order in which they are to be loaded.
    modules: Vec<PathBuf>,
    shell: PathBuf,
}

impl Files {
    fn of(kernel: Kernel) -> anyhow::Result<Self> {
        let shell = shell()?;
        if !shell.is_file() {
            bail!("{} is missing", shell.display());
        }
        let directory = directory(kernel)?;
        let (release, image) = list(&directory)?
            .into_iter()
            .find_map(|path| {
                let name = path.file_name()?.to_str()?;
                Some((name.strip_prefix("vmlinuz-")?.to_owned(), path))
            })
            .with_context(|| format!("{} has no kernel", directory.display()))?;
        let modules = modules::in_order(&directory, &MODULES)?;
        Ok(Self {
            release,
            image,
            modules,
            shell,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_image_behind_the_package_that_depends_on_it() {
        let depends =
            "linux-image-rt-amd64\n  Depends: linux-image-6.1.0-9-rt-amd64\n  Suggests: linux-doc\n";
        assert_eq!(image(depends).as_deref(), Some("linux-image-6.1.0-9-rt-amd64"));
        assert_eq!(image("linux-image-rt-amd64\n"), None);
    }

    #[test]
    fn an_image_of_another_series_is_not_taken_for_the_kernel() {
        let kernel = named("6.1-rt").unwrap();
        assert!(kernel.is_image("linux-image-6.1.0-9-rt-amd64"));
        assert!(!kernel.is_image("linux-image-6.12.1-rt-amd64"));
        assert!(!kernel.is_image("linux-image-6.10.1-rt-amd64"));
    }

    #[test]
    fn an_unknown_kernel_is_answered_with_those_that_are_known() {
        assert_eq!(named("2.6").unwrap_err(), "known kernels are 6.1, 6.1-rt");
    }
}
