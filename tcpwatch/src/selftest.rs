//! `tcpwatch selftest`: known traffic between two network namespaces of its own, and whether the kernel's programs and tables
//! count it exactly, by every way of attaching that this machine has. Nothing outside of them is touched, and nothing is left.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::Args;

use self::performance::{Part, perform};
use self::stage::Stage;
use self::traces::Traces;
use crate::geo::Ending;
use crate::kernel::attach::{AttachError, AttachMode, survey};
use crate::kernel::load::LoadError;
use crate::kernel::requirements::{self, RequirementError};
use crate::kernel::sandbox;
use crate::kernel::tables::TableError;

mod performance;
mod script;
mod show;
mod stage;
mod traces;

/// The ways that are tried.
const MODES: [AttachMode; 2] = [AttachMode::Tcx, AttachMode::Clsact];

/// Arguments of `tcpwatch selftest`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// One JSON object instead of the table
    #[arg(long)]
    json: bool,

    /// Lose a packet on the way to the answer: the selftest must find it
    #[arg(long, hide = true)]
    fault: bool,
}

/// Why the selftest could not be made. What it counted is no error.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// The machine or our rights.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// No namespace.
    #[error(
        "cannot make a network namespace, which takes CAP_SYS_ADMIN: run the selftest as root (sudo tcpwatch selftest), outside of a container"
    )]
    Namespace(#[source] io::Error),
    /// No runtime.
    #[error("cannot set up the event loop")]
    Runtime(#[source] io::Error),
    /// A step towards the network or its traffic.
    #[error("the selftest cannot {step}")]
    Step {
        /// What was to be done.
        step: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The same by netlink.
    #[error("the selftest cannot {step}")]
    Netlink {
        /// What was to be done.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: rtnetlink::Error,
    },
    /// The programs.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The tables.
    #[error(transparent)]
    Tables(#[from] TableError),
    /// Every way of attaching.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The standard output.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

/// Everything that came of it.
struct Outcome {
    parts: Vec<Part>,
    /// Ways of attaching that this kernel has not, and why.
    absent: Vec<(&'static str, String)>,
    /// Whether it has IPv6.
    ipv6: bool,
    /// What is left of it, in words; empty: nothing.
    left: Vec<String>,
    took: Duration,
}

impl Outcome {
    fn passed(&self) -> bool {
        self.left.is_empty() && self.parts.iter().all(Part::passed)
    }
}

/// Makes the selftest and shows what came of it.
///
/// # Errors
/// It cannot be made on this machine, or not by this user.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Ending, SelftestError> {
    requirements::check()?;
    let begin = Instant::now();
    let before = survey::names().into_keys().collect();
    let mut traces = Traces::default();
    let acted = sandbox::apart(|| act(arguments.fault, &before, &mut traces));
    // Also where it failed: what is left would be worse.
    let left = traces.left();
    let (parts, absent, ipv6) = acted?;
    let outcome = Outcome {
        parts,
        absent,
        ipv6,
        left,
        took: begin.elapsed(),
    };
    let shown = if arguments.json {
        show::json(&outcome, out)
    } else {
        show::text(&outcome, out)
    };
    match shown {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(SelftestError::Write(error)),
        Ok(()) | Err(_) if outcome.passed() => Ok(Ending::Done),
        Ok(()) | Err(_) => Ok(Ending::Failed),
    }
}

type Acted = (Vec<Part>, Vec<(&'static str, String)>, bool);

/// The whole play, in a thread that ends with it.
fn act(fault: bool, before: &BTreeSet<u32>, traces: &mut Traces) -> Result<Acted, SelftestError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SelftestError::Runtime)?;
    runtime.block_on(async {
        let ipv6 = stage::has_ipv6();
        let script = script::script(ipv6);
        let stage = Stage::build(&script).await?;
        traces.namespaces = stage.namespaces.to_vec();
        let (mut parts, mut absent) = (Vec::new(), Vec::new());
        let mut last = None;
        for mode in MODES {
            let begin = Instant::now();
            match perform(&stage, &script, mode, before, traces, fault).await {
                Ok(mut part) => {
                    part.took = begin.elapsed();
                    parts.push(part);
                }
                Err(SelftestError::Attach(error)) => {
                    absent.push((name(mode), chain(&error)));
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match last {
            Some(error) if parts.is_empty() => Err(error.into()),
            Some(_) | None => Ok((parts, absent, ipv6)),
        }
    })
}

const fn name(mode: AttachMode) -> &'static str {
    match mode {
        AttachMode::Auto => "auto",
        AttachMode::Tcx => "tcx",
        AttachMode::Clsact => "clsact",
    }
}

/// An error with its causes, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
