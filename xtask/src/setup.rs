//! `cargo xtask setup`: finds out what is missing, says so, asks, installs. What is needed and how it is installed is in
//! the modules below; this file owns the order and the conversation.

mod components;
pub mod packages;
mod toolchain;
mod tools;

use std::io::{IsTerminal as _, Write as _};
use std::{env, io};

use anyhow::{Context as _, bail};

use crate::machine::Machine;
use crate::{kernels, package, places};

/// Finding out again after installing shows what an installation made possible or impossible (way A or B); this many
/// times is enough for every chain there is: packages, then compiler, then linker, then place database.
const ROUNDS: usize = 4;

#[derive(clap::Args)]
pub struct Arguments {
    /// Install without asking; CI=true in the environment means the same
    #[arg(long)]
    yes: bool,
    /// Only say what is missing; exit status 1 where something is
    #[arg(long)]
    check: bool,
    /// Make the place database anew from today's data
    #[arg(long)]
    refresh: bool,
}

/// What a thing is needed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    Build,
    Places,
    Tests,
    Bench,
    Lint,
    Package,
}

/// All of them: what a plain `cargo xtask setup` looks after.
pub const EVERYTHING: [Purpose; 6] = [
    Purpose::Build,
    Purpose::Places,
    Purpose::Tests,
    Purpose::Bench,
    Purpose::Lint,
    Purpose::Package,
];

/// One thing that was looked at.
pub struct Finding {
    pub name: &'static str,
    pub state: State,
}

/// How one thing stands.
pub enum State {
    /// There; the text says which version or date.
    Ready(String),
    /// Not there, and set-up can install it; the text says how.
    Missing(String, Remedy),
    /// Needed, and set-up cannot install it; the text is the cure.
    Blocked(String),
    /// Not there, cannot be installed, and things go on without it; the text says what then lacks.
    Without(String),
}

/// What set-up does about a missing thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// Packages of Debian.
    Packages(Vec<&'static str>),
    /// The packages of the BPF compiler, all of them or, where Debian does not have them, none.
    CompilerPackages,
    /// rustup's link to Debian's compiler.
    CompilerLink,
    /// The pinned nightly from rustup.
    Nightly,
    BpfLinker,
    Components,
    PlaceDatabase,
    /// What the place database is made of, for the tests.
    PlaceSources,
    /// What emulates a machine for the kernels of the matrix.
    Qemu,
    /// A kernel of the matrix, by its name.
    Kernel(&'static str),
    /// What makes the .deb.
    CargoDeb,
    /// Rust's library for the static program.
    StaticTarget,
}

impl Remedy {
    fn needs_root(&self) -> bool {
        match self {
            Self::Packages(_) | Self::CompilerPackages | Self::PlaceDatabase => true,
            // These are the user's own, as his Rust is.
            Self::CompilerLink | Self::Nightly | Self::BpfLinker | Self::Components | Self::StaticTarget => {
                false
            }
            // Unpacked, or built, in the target directory.
            Self::PlaceSources | Self::Qemu | Self::Kernel(_) | Self::CargoDeb => false,
        }
    }
}

/// What is known of the machine only after something was tried.
#[derive(Default)]
pub struct Known {
    /// apt was asked, with fresh lists, and does not have the BPF compiler.
    pub no_compiler_packages: bool,
    /// Kernels of the matrix that apt, asked with fresh lists, does not have.
    pub no_kernels: Vec<&'static str>,
    /// When the place database is made.
    pub places: places::Renewal,
    /// Without a place database things go on: it must not keep another command from its work.
    pub places_may_fail: bool,
    /// Why it cannot be made now.
    pub no_places: Option<String>,
}

/// Says how everything stands, and installs what is missing.
pub fn command(arguments: &Arguments) -> anyhow::Result<()> {
    let machine = Machine::detect();
    let renewal = if arguments.refresh {
        places::Renewal::Always
    } else {
        places::Renewal::WhenStale
    };
    let known = Known {
        places: renewal,
        ..Known::default()
    };
    if arguments.check {
        let findings = look(&machine, &known, &EVERYTHING);
        findings.iter().for_each(show);
        if findings
            .iter()
            .any(|finding| matches!(finding.state, State::Missing(..) | State::Blocked(_)))
        {
            bail!("not everything is there: run `cargo xtask setup`");
        }
        return Ok(());
    }
    install(&machine, known, &EVERYTHING, arguments.yes, true)
}

/// Set-up for another command: silent where nothing is missing.
///
/// # Errors
///
/// Something is missing and was not, or could not be, installed.
pub fn ensure(machine: &Machine, purposes: &[Purpose]) -> anyhow::Result<()> {
    let known = Known {
        places_may_fail: true,
        ..Known::default()
    };
    install(machine, known, purposes, false, false)
}

/// Looks at everything that serves one of `purposes`. Takes well under a second and asks no network.
pub fn look(machine: &Machine, known: &Known, purposes: &[Purpose]) -> Vec<Finding> {
    let wanted = |purpose| purposes.contains(&purpose);
    let mut findings = Vec::new();
    if wanted(Purpose::Build) {
        findings.extend(toolchain::look(machine, known));
    }
    if wanted(Purpose::Lint) {
        findings.push(components::look(machine));
    }
    if wanted(Purpose::Tests) {
        findings.extend(tools::for_tests(machine));
        findings.extend(places::look_for_tests(machine));
        findings.extend(kernels::look(machine, known));
    }
    if wanted(Purpose::Bench) {
        findings.extend(tools::for_bench(machine));
    }
    if wanted(Purpose::Package) {
        findings.extend(package::tools::look(machine));
    }
    if wanted(Purpose::Places) {
        findings.push(places::look(machine, known));
    }
    findings
}

fn install(
    machine: &Machine,
    mut known: Known,
    purposes: &[Purpose],
    yes: bool,
    verbose: bool,
) -> anyhow::Result<()> {
    let mut agreed = yes || env::var_os("CI").is_some_and(|value| value == "true");
    for round in 0..ROUNDS {
        let findings = look(machine, &known, purposes);
        let missing = findings
            .iter()
            .any(|finding| matches!(finding.state, State::Missing(..)));
        let blocked = findings
            .iter()
            .any(|finding| matches!(finding.state, State::Blocked(_)));
        if verbose || missing || blocked {
            for finding in findings
                .iter()
                .filter(|finding| round == 0 || !matches!(finding.state, State::Ready(_)))
            {
                show(finding);
            }
        }
        // Before anything is installed: half a set-up helps nobody.
        if blocked {
            bail!("set-up cannot go on: see `needed` above");
        }
        if !missing {
            if verbose || round > 0 {
                println!("set-up is complete");
            }
            return Ok(());
        }
        let remedies = remedies(&findings);
        if remedies.iter().any(Remedy::needs_root) {
            if !machine.can_elevate() {
                bail!(
                    "installing this needs root: become root, or install sudo and allow yourself to use it"
                );
            }
            if !machine.root {
                println!("sudo will be used for packages and for the place database");
            }
        }
        if !agreed {
            agree()?;
            agreed = true;
        }
        // One that cannot be installed keeps none of the others from it.
        let mut failed = false;
        for remedy in remedies {
            if let Err(error) = apply(machine, &mut known, &remedy) {
                eprintln!("error: {error:#}");
                failed = true;
            }
        }
        if failed {
            bail!("not everything could be installed: see `error` above");
        }
    }
    bail!("some things are still missing after they were installed: see `install` above")
}

pub fn show(finding: &Finding) {
    let (word, text) = match &finding.state {
        State::Ready(text) => ("ok", text),
        State::Missing(text, _) => ("install", text),
        State::Blocked(text) => ("needed", text),
        State::Without(text) => ("without", text),
    };
    println!("{word:<8} {}: {text}", finding.name);
}

/// The question before the first installation.
fn agree() -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        bail!("something is missing and nobody can be asked here: run `cargo xtask setup --yes`");
    }
    print!("Install? [Y/n] ");
    io::stdout().flush().context("cannot ask")?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    if !is_yes(&answer) {
        bail!("nothing was installed");
    }
    Ok(())
}

/// An empty line agrees; the end of input, which has not even a line end, does not.
fn is_yes(answer: &str) -> bool {
    answer.ends_with('\n') && matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes")
}

/// In order of dependence, packages together.
fn remedies(findings: &[Finding]) -> Vec<Remedy> {
    let mut packages = Vec::new();
    let mut others: Vec<Remedy> = Vec::new();
    for finding in findings {
        match &finding.state {
            State::Missing(_, Remedy::Packages(names)) => packages.extend(names.iter().copied()),
            State::Missing(_, remedy) if !others.contains(remedy) => others.push(remedy.clone()),
            _ => {}
        }
    }
    if !packages.is_empty() {
        others.insert(0, Remedy::Packages(packages));
    }
    // The linker is built against what these install, and tcpwatch, which makes the place database, with both: they
    // wait for the next round.
    if others.contains(&Remedy::CompilerPackages) {
        others.retain(|remedy| {
            !matches!(
                remedy,
                Remedy::CompilerLink | Remedy::BpfLinker | Remedy::PlaceDatabase
            )
        });
    }
    others
}

fn apply(machine: &Machine, known: &mut Known, remedy: &Remedy) -> anyhow::Result<()> {
    match remedy {
        Remedy::Packages(names) => packages::install_possible(machine, names),
        Remedy::CompilerPackages => {
            known.no_compiler_packages = !toolchain::install_packages(machine)?;
            Ok(())
        }
        Remedy::CompilerLink => toolchain::link(),
        Remedy::Nightly => toolchain::install_nightly(),
        Remedy::BpfLinker => toolchain::install_linker(),
        Remedy::Components => components::install(),
        Remedy::PlaceDatabase => {
            let anew = known.places == places::Renewal::Always;
            known.places = places::Renewal::WhenMissing;
            match places::make(machine, anew) {
                Err(error) if known.places_may_fail => known.no_places = Some(format!("{error:#}")),
                made => made?,
            }
            Ok(())
        }
        Remedy::PlaceSources => places::fetch(machine).map(drop),
        Remedy::Qemu => kernels::install_qemu(machine),
        Remedy::Kernel(name) => {
            if !kernels::install(machine, name)? {
                known.no_kernels.push(name);
            }
            Ok(())
        }
        Remedy::CargoDeb => package::tools::install_cargo_deb(),
        Remedy::StaticTarget => package::tools::install_target(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_line_that_agrees_is_a_yes() {
        assert!(is_yes("\n") && is_yes("y\n") && is_yes("Yes\n"));
        assert!(!is_yes("") && !is_yes("n\n") && !is_yes("what?\n"));
    }

    fn missing(remedy: Remedy) -> Finding {
        Finding {
            name: "x",
            state: State::Missing(String::new(), remedy),
        }
    }

    #[test]
    fn packages_come_first_and_in_one_call() {
        let findings = [
            missing(Remedy::PlaceDatabase),
            missing(Remedy::Packages(vec!["a"])),
            missing(Remedy::Packages(vec!["b"])),
        ];
        assert_eq!(
            remedies(&findings),
            [Remedy::Packages(vec!["a", "b"]), Remedy::PlaceDatabase]
        );
    }

    #[test]
    fn the_linker_and_what_it_builds_wait_for_the_compiler() {
        let findings = [
            missing(Remedy::CompilerPackages),
            missing(Remedy::BpfLinker),
            missing(Remedy::PlaceDatabase),
        ];
        assert_eq!(remedies(&findings), [Remedy::CompilerPackages]);
    }

    #[test]
    fn the_place_database_is_made_after_all_that_builds_tcpwatch() {
        let machine = Machine::for_test_as_root();
        let findings = look(&machine, &Known::default(), &EVERYTHING);
        assert_eq!(
            findings.last().map(|finding| finding.name),
            Some("place database")
        );
        let findings = [
            missing(Remedy::Nightly),
            missing(Remedy::BpfLinker),
            missing(Remedy::PlaceDatabase),
        ];
        assert_eq!(remedies(&findings).last(), Some(&Remedy::PlaceDatabase));
    }
}
