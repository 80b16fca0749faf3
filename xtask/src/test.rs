//! `cargo xtask test`: the tests that need no root, then those against the real kernel, then some of those on other
//! kernels; one program after another because they measure and want the processors for themselves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::kernels::{self, Kernel};
use crate::machine::{Machine, kept_variables, succeed};
use crate::setup::Purpose;
use crate::{cargo, places, setup};

/// What tcpwatch-tests reads the path of the finished program from.
pub const PROGRAM_VARIABLE: &str = "TCPWATCH_BIN";

/// What they read the directory of the place database's sources from.
const PLACE_DATA_VARIABLE: &str = "TCPWATCH_PLACE_DATA";

/// The tests that are made for other kernels, with figures that an emulated machine reaches; on this one the others are
/// harder to pass.
const MATRIX: &str = "matrix";

/// The tests of what goes wrong.
const FAULTS: &str = "faults";

/// What they read the path of the program from that dies at the step that it is told.
const FAULTY_VARIABLE: &str = "TCPWATCH_FAULTY_BIN";

/// What they read the file from that they add the rows of their table to.
const TABLE_VARIABLE: &str = "TCPWATCH_FAULT_TABLE";

/// Set, faults last as long as they may in life.
const LONG_VARIABLE: &str = "TCPWATCH_FAULTS_LONG";

/// The test programs that are run on every other kernel.
const ON_EVERY_KERNEL: [&str; 3] = ["packets", "realtime", MATRIX];

#[derive(clap::Args)]
pub struct Arguments {
    /// Only the tests that need no root
    #[arg(long)]
    unit: bool,
    /// Only what happens when something goes wrong, with a table of it at the end
    #[arg(long, conflicts_with_all = ["unit", "kernel"])]
    faults: bool,
    /// What lasts seconds otherwise lasts as long as it may in life: a full disk and a dead daemon a minute
    #[arg(long, requires = "faults")]
    long: bool,
    /// Only on this other kernel, emulated (6.1, 6.1-rt); needs no root
    #[arg(long, value_name = "NAME", value_parser = kernels::named, conflicts_with = "unit")]
    kernel: Vec<Kernel>,
    /// Only tests whose name contains this
    filter: Option<String>,
    /// Passed on to the test programs, e.g. `-- --test-threads 1 --nocapture`
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Arguments {
    /// On this kernel, which takes root.
    fn here(&self) -> bool {
        !self.unit && self.kernel.is_empty()
    }

    /// The kernels besides this one.
    fn kernels(&self) -> &[Kernel] {
        if self.faults {
            &[]
        } else if self.here() {
            &kernels::KERNELS
        } else {
            &self.kernel
        }
    }

    /// What every test program is called with.
    fn passed_on(&self) -> impl Iterator<Item = &String> {
        self.filter.iter().chain(&self.arguments)
    }
}

struct Stage {
    name: String,
    passed: bool,
    taken: Duration,
}

/// Fails where any test does, after all have run.
pub fn command(arguments: &Arguments) -> anyhow::Result<()> {
    let machine = Machine::detect();
    if arguments.here() && !machine.can_elevate() {
        bail!(
            "these tests attach programs to network devices and need root: become root, install sudo, \
             or run `cargo xtask test --unit`"
        );
    }
    setup::ensure(
        &machine,
        if arguments.unit {
            &[Purpose::Build]
        } else {
            &[Purpose::Build, Purpose::Tests]
        },
    )?;

    let started = Instant::now();
    let mut stages = Vec::new();
    if arguments.kernel.is_empty() && !arguments.faults {
        stages.push(stage("unit tests", || unit_tests(arguments)));
    }
    if !arguments.unit {
        let mut built = None;
        stages.push(stage("build for the kernel tests", || {
            let tests = cargo::tests()?;
            let faulty = if arguments.here() {
                Some(cargo::faulty_program()?)
            } else {
                None
            };
            let program = cargo::program("tcpwatch", "tcpwatch", true)?;
            built = Some((program, tests, faulty));
            Ok(())
        }));
        if let Some((program, tests, faulty)) = built {
            let here = tests.iter().filter(|test| {
                let wanted = if arguments.faults {
                    name(test) == FAULTS
                } else {
                    name(test) != MATRIX
                };
                arguments.here() && wanted
            });
            for test in here {
                stages.push(stage(&name(test), || {
                    kernel_tests(&machine, &program, faulty.as_deref(), test, arguments)
                }));
            }
            for kernel in arguments.kernels() {
                stages.push(stage(&format!("Linux {}", kernel.name), || {
                    matrix_tests(*kernel, &program, &tests, arguments)
                }));
            }
        }
    }
    summary(&stages, started.elapsed())
}

fn unit_tests(arguments: &Arguments) -> anyhow::Result<()> {
    let mut command = cargo::cargo();
    command.args([
        "test",
        "--workspace",
        "--exclude",
        "tcpwatch-ebpf",
        "--exclude",
        "tcpwatch-tests",
        // No documentation tests: there are none, and building the documentation takes longer than all the others.
        "--lib",
        "--bins",
    ]);
    succeed(command.arg("--").args(arguments.passed_on()))
}

fn matrix_tests(
    kernel: Kernel,
    program: &Path,
    tests: &[PathBuf],
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let mut programs = vec![kernels::Program {
        name: "tcpwatch".to_owned(),
        path: program.to_owned(),
        call: kernels::Call::Named(PROGRAM_VARIABLE),
    }];
    for wanted in ON_EVERY_KERNEL {
        let Some(test) = tests.iter().find(|test| name(test) == wanted) else {
            bail!("there is no test program {wanted}");
        };
        programs.push(kernels::Program {
            name: wanted.to_owned(),
            path: test.clone(),
            call: kernels::Call::Run(arguments.passed_on().cloned().collect()),
        });
    }
    kernel.run(&programs)
}

fn kernel_tests(
    machine: &Machine,
    program: &Path,
    faulty: Option<&Path>,
    test: &Path,
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let kept = kept_variables();
    let mut variables: Vec<_> = kept
        .iter()
        .map(|(name, value)| (*name, value.as_os_str()))
        .collect();
    variables.push((PROGRAM_VARIABLE, program.as_os_str()));
    let table = cargo::scratch()?.join("faults.txt");
    if name(test) == FAULTS {
        std::fs::write(&table, "").with_context(|| format!("cannot write {}", table.display()))?;
        variables.push((TABLE_VARIABLE, table.as_os_str()));
        variables.extend(faulty.map(|path| (FAULTY_VARIABLE, path.as_os_str())));
        if arguments.long {
            variables.push((LONG_VARIABLE, "1".as_ref()));
        }
    }
    let data = places::data()?;
    variables.push((PLACE_DATA_VARIABLE, data.as_os_str()));
    let mut command = machine.elevated(test, &variables)?;
    // As under `cargo test`: the package's own directory.
    let outcome = succeed(
        command
            .args(arguments.passed_on())
            .current_dir(Path::new(cargo::WORKSPACE).join("tests")),
    );
    if name(test) == FAULTS {
        println!("== injected | held | figures");
        let rows =
            std::fs::read_to_string(&table).with_context(|| format!("cannot read {}", table.display()))?;
        let mut rows: Vec<&str> = rows.lines().collect();
        rows.sort_unstable();
        for row in rows {
            println!("{row}");
        }
    }
    outcome
}

fn stage(name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> Stage {
    println!("== {name}");
    let started = Instant::now();
    let outcome = work();
    if let Err(error) = &outcome {
        eprintln!("error: {error:#}");
    }
    Stage {
        name: name.to_owned(),
        passed: outcome.is_ok(),
        taken: started.elapsed(),
    }
}

/// `/t/release/deps/exactness-0123abcd` → `exactness`.
fn name(program: &Path) -> String {
    let file = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    file.rsplit_once('-')
        .map_or(file.clone(), |(name, _hash)| name.to_owned())
}

fn summary(stages: &[Stage], taken: Duration) -> anyhow::Result<()> {
    println!("== summary");
    for stage in stages {
        let word = if stage.passed { "ok" } else { "FAILED" };
        println!("{word:<8} {:>8.1} s  {}", stage.taken.as_secs_f64(), stage.name);
    }
    let failed = stages.iter().filter(|stage| !stage.passed).count();
    if failed > 0 {
        bail!(
            "{failed} of {} stages failed, in {:.1} s",
            stages.len(),
            taken.as_secs_f64()
        );
    }
    println!(
        "all {} stages passed in {:.1} s",
        stages.len(),
        taken.as_secs_f64()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_a_test_program_without_its_hash() {
        assert_eq!(
            name(Path::new("/t/release/deps/full-table-0123abcd")),
            "full-table"
        );
    }

    #[test]
    fn one_failed_stage_fails_the_run() {
        let passed = |passed| Stage {
            name: String::new(),
            passed,
            taken: Duration::ZERO,
        };
        assert!(summary(&[passed(true), passed(true)], Duration::ZERO).is_ok());
        assert!(summary(&[passed(true), passed(false)], Duration::ZERO).is_err());
    }
}
