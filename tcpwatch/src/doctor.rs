//! `tcpwatch doctor`: what this machine can and cannot do for a run, each lack with its cure. Looks and tries; changes nothing.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Parser as _};

use self::finding::{Finding, Verdict, chain};
pub use self::show::Paper;
use crate::cli::{Cli, Command};
use crate::config::Config;
use crate::geo::Ending;
use crate::kernel::attach::AttachMode;
use crate::kernel::requirements::{self, RequirementError};

mod facts;
mod finding;
mod hooks;
mod links;
mod machine;
mod network;
mod sections;
mod show;
mod stores;
#[cfg(test)]
mod tests;

/// The service's configuration.
const USUAL_CONFIG: &str = "/etc/tcpwatch/config.toml";

/// Arguments of `tcpwatch doctor`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,

    /// Interfaces that are to be watched, or `all`. Default: those of the configuration, else those of the default route
    #[arg(short, long = "interface", value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    interfaces: Vec<String>,

    /// Configuration file that `tcpwatch run` is to have
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The kernel does not say what it is.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// No runtime.
    #[error("cannot set up the event loop")]
    Runtime(#[source] io::Error),
    /// The configuration that is judged where none was given.
    #[error("{0}")]
    Config(String),
    /// The standard output.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

/// Lines that belong together.
struct Section {
    title: &'static str,
    findings: Vec<Finding>,
}

/// Whether nothing stands in the way of a run.
fn would_run(sections: &[Section]) -> bool {
    let mut all = sections.iter().flat_map(|section| &section.findings);
    !all.any(|finding| finding.verdict == Verdict::Fail)
}

/// Looks at everything, and shows how it stands.
///
/// # Errors
/// There is no answer at all; that something is amiss is none.
pub fn run(arguments: &Arguments, paper: Paper, out: &mut dyn Write) -> Result<Ending, DoctorError> {
    let (config, configured) = configuration(arguments)?;
    let release = requirements::kernel_release()?;
    let host = requirements::host_name().unwrap_or_else(|_| "this host".to_owned());
    let missing = requirements::missing_capabilities()?;
    let tried = network::attach(&config, &release, missing.is_empty());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DoctorError::Runtime)?;
    let by_tcx = by_tcx(&tried, config.attach);
    let (networked, watched) = runtime.block_on(sections::networked(&config, by_tcx));
    let mut kernel = sections::kernel(&config, &release, &missing, watched)?;
    kernel.push(hooks::attach(&tried, config.attach));
    let sections = [
        Section {
            title: "configuration",
            findings: configured,
        },
        Section {
            title: "kernel",
            findings: kernel,
        },
        Section {
            title: "network",
            findings: networked,
        },
        Section {
            title: "records",
            findings: sections::records(&config),
        },
        Section {
            title: "instances",
            findings: sections::instances(&config),
        },
    ];
    let shown = if arguments.json {
        show::json(&host, &sections, out)
    } else {
        show::text(&host, &sections, paper, out)
    };
    match shown {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(DoctorError::Write(error)),
        Ok(()) | Err(_) if would_run(&sections) => Ok(Ending::Done),
        Ok(()) | Err(_) => Ok(Ending::Failed),
    }
}

/// The configuration as `tcpwatch run` would have it, and what is to be said of it. One that is wrong is a finding, and the rest is
/// judged without it.
fn configuration(arguments: &Arguments) -> Result<(Config, Vec<Finding>), DoctorError> {
    const CHECK: &str = "file";
    let mut typed: Vec<OsString> = ["tcpwatch", "run"].map(OsString::from).into();
    for name in &arguments.interfaces {
        typed.extend(["--interface".into(), name.into()]);
    }
    let Some(path) = &arguments.config else {
        let unused = Path::new(USUAL_CONFIG).exists().then(|| {
            Finding::note(CHECK, format!("{USUAL_CONFIG} is there, and not judged"))
                .cure(format!("tcpwatch doctor --config {USUAL_CONFIG}"))
        });
        return Ok((
            parse(&typed).map_err(DoctorError::Config)?,
            unused.into_iter().collect(),
        ));
    };
    let mut with_file = typed.clone();
    with_file.extend(["--config".into(), path.into()]);
    match parse(&with_file) {
        Ok(config) => Ok((config, vec![Finding::ok(CHECK, path.display().to_string())])),
        Err(error) => Ok((
            parse(&typed).map_err(DoctorError::Config)?,
            vec![Finding::fail(CHECK, error).cure("mend it; what follows is judged without the file")],
        )),
    }
}

fn parse(typed: &[OsString]) -> Result<Config, String> {
    let cli = Cli::try_parse_from(typed).map_err(|error| error.to_string())?;
    let Command::Run(args) = cli.command else {
        return Err("the command line is none of `tcpwatch run`".to_owned());
    };
    Config::new(*args, typed.iter().cloned()).map_err(|error| chain(&error))
}

fn by_tcx(tried: &hooks::Trials, wanted: AttachMode) -> bool {
    let has = match tried {
        hooks::Trials::Tried { tcx, .. } => *tcx == hooks::Trial::Works,
        hooks::Trials::Untried { tcx, .. } => *tcx,
        hooks::Trials::Unloadable(_) => true,
    };
    has && wanted != AttachMode::Clsact
}
