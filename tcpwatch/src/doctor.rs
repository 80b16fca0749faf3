//! `tcpwatch doctor`: what this machine can and cannot do for a run, each lack with its cure. Looks and tries; changes nothing.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Parser as _};

use self::finding::{Finding, Verdict, chain};
use self::links::Device;
pub use self::show::Paper;
use self::stores::PlaceFile;
use crate::cli::{Cli, Command};
use crate::config::{Config, Sources};
use crate::enrich::geo::Description;
use crate::geo::Ending;
use crate::kernel::attach::{AttachMode, Direction};
use crate::kernel::clock;
use crate::kernel::requirements::{self, RequirementError};
use crate::net::{Interface, NetError, Network};
use crate::pipeline::choice::choose_first;
use crate::pipeline::greeting;

mod facts;
mod finding;
mod hooks;
mod links;
mod machine;
mod network;
mod show;
mod stores;
#[cfg(test)]
mod tests;

/// The service's configuration.
const USUAL_CONFIG: &str = "/etc/tcpwatch/config.toml";
/// Interfaces that have all of their lines; of the others, those that matter.
const IN_FULL: usize = 8;

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
    let (networked, watched) = runtime.block_on(networked(&config, by_tcx));
    let mut kernel = kernel(&config, &release, &missing, watched)?;
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
            findings: records(&config),
        },
        Section {
            title: "instances",
            findings: instances(&config),
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

fn kernel(
    config: &Config,
    release: &str,
    missing: &[String],
    watched: usize,
) -> Result<Vec<Finding>, DoctorError> {
    let real_time = requirements::is_preempt_rt()?;
    let mut found = machine::kernel(release, real_time);
    let root = rustix::process::geteuid().is_root();
    found.push(machine::rights(missing, root, &requirements::binary()));
    found.push(machine::jit(
        facts::read("/proc/sys/net/core/bpf_jit_enable").as_deref(),
    ));
    found.push(machine::btf(Path::new("/sys/kernel/btf/vmlinux").exists()));
    found.push(machine::bpffs(&facts::bpffs(config.service.pin.as_deref())));
    let cpus = aya::util::online_cpus().map_or(1, |cpus| cpus.len());
    found.push(machine::tables(
        config.capacity,
        cpus,
        real_time,
        facts::available_memory(),
    ));
    found.push(machine::files(facts::open_files(), watched));
    found.push(machine::clock(
        &jiff::ZonedDateTime::now(),
        clock::is_synchronised().ok(),
    ));
    Ok(found)
}

/// What is to be said of the network, and how many interfaces would be watched.
async fn networked(config: &Config, by_tcx: bool) -> (Vec<Finding>, usize) {
    const CHECK: &str = "interface";
    let network = match Network::open() {
        Ok(network) => network,
        Err(error) => return (vec![no_netlink(&error)], 0),
    };
    let surveyed = match network::survey(&network).await {
        Ok(surveyed) => surveyed,
        Err(error) => return (vec![no_netlink(&error)], 0),
    };
    let chosen = choose_first(
        &config.interfaces,
        &config.sources,
        &surveyed.present,
        &surveyed.defaults,
    );
    let chosen: Vec<Interface> = match chosen {
        Ok(chosen) => chosen.into_iter().map(|candidate| candidate.interface).collect(),
        Err(error) => return (vec![links::nothing(&error)], 0),
    };
    let directions: &[Direction] = if config.names.dns {
        &Direction::ALL
    } else {
        &[Direction::Egress]
    };
    let mut found = Vec::new();
    for (at, interface) in chosen.iter().enumerate() {
        let device = surveyed.devices.get(&interface.index);
        let mut lines = vec![links::interface(
            interface,
            device,
            &config.interfaces,
            &surveyed.defaults,
        )];
        for direction in directions {
            let occupants = network::occupants(&network, interface.index, *direction).await;
            lines.push(hooks::occupants(&interface.name, *direction, &occupants, by_tcx));
        }
        lines.extend(device.and_then(|device| links::offload(interface, device)));
        if at >= IN_FULL {
            lines.retain(|line| line.verdict > Verdict::Ok);
        }
        found.append(&mut lines);
    }
    if chosen.len() > IN_FULL {
        found.push(Finding::ok(
            CHECK,
            format!(
                "{} more: what is not said of them is as it should be",
                chosen.len() - IN_FULL
            ),
        ));
    }
    found.extend(stacked(&chosen, &surveyed, &config.sources));
    found.extend(clients(config));
    (found, chosen.len())
}

fn no_netlink(error: &NetError) -> Finding {
    Finding::fail("interface", chain(error))
        .cure("a sandbox or a container forbids netlink: allow it (AF_NETLINK)")
}

fn stacked(chosen: &[Interface], surveyed: &network::Surveyed, sources: &Sources) -> Vec<Finding> {
    let watched: Vec<(Arc<str>, &Device)> = chosen
        .iter()
        .filter_map(|interface| {
            let device = surveyed.devices.get(&interface.index)?;
            Some((Arc::clone(&interface.name), device))
        })
        .collect();
    links::stacked(&watched, sources)
}

/// Whether most of what leaves will be answers.
fn clients(config: &Config) -> Option<Finding> {
    const CHECK: &str = "clients";
    let ports = greeting::listening(config);
    match (ports, &config.served) {
        (None, Some(_)) => Some(
            Finding::fail(
                CHECK,
                "the kernel does not say what this host listens on, which --skip-served needs",
            )
            .cure("modprobe tcp_diag udp_diag, or run without --skip-served"),
        ),
        (None, None) => None,
        (Some(ports), served) => greeting::served(served.is_some(), &ports).map(|text| match served {
            Some(_) => Finding::ok(CHECK, text),
            None => match text.rsplit_once("; ") {
                Some((says, cure)) => {
                    Finding::note(CHECK, says).cure(format!("{cure}, if they are not what you look for"))
                }
                None => Finding::note(CHECK, text),
            },
        }),
    }
}

fn records(config: &Config) -> Vec<Finding> {
    let mut found = places(config);
    if let Some(history) = &config.history {
        let target = facts::target(&history.path, true);
        let opened = facts::open(&history.path);
        found.push(stores::history(
            &target,
            &opened,
            history.named,
            history.bounds.bytes,
        ));
        found.extend(stores::space("history", &target));
    } else {
        found.push(
            Finding::note("history", "none is kept: tcpwatch report has nothing to sum up")
                .cure("--history FILE"),
        );
    }
    if let Some(path) = &config.record {
        let target = facts::target(path, false);
        found.push(stores::record(&target));
        found.extend(stores::space("record file", &target));
    }
    found
}

fn places(config: &Config) -> Vec<Finding> {
    match config.geo.open() {
        Ok((places, warnings)) => {
            let files: Vec<PlaceFile> = places
                .descriptions()
                .into_iter()
                .map(|Description { file, .. }| PlaceFile {
                    path: file.file.to_string(),
                    kind: file.kind.to_string(),
                    built: file.built,
                })
                .collect();
            let today = jiff::ZonedDateTime::now()
                .with_time_zone(jiff::tz::TimeZone::UTC)
                .date();
            stores::places(&files, &warnings, today)
        }
        Err(error) => vec![
            Finding::fail("places", chain(&error))
                .cure("name another file with --geo, or none: then those in the usual places are used"),
        ],
    }
}

fn instances(config: &Config) -> Vec<Finding> {
    let service = &config.service;
    let socket = service
        .control
        .clone()
        .unwrap_or_else(|| service.runtime.join("control.sock"));
    let directory = facts::pin_directory(service.pin.as_deref());
    stores::instance(
        facts::running(&socket),
        &socket,
        facts::pins(&directory),
        &directory,
    )
}
