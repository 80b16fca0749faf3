//! The answer's sections: each gathers what its checks judge.

use std::path::Path;
use std::sync::Arc;

use super::finding::{Finding, Verdict, chain};
use super::links::{self, Device};
use super::network;
use super::stores::{self, PlaceFile};
use super::{facts, hooks, machine};
use crate::config::{Config, Sources};
use crate::enrich::geo::Description;
use crate::kernel::attach::Direction;
use crate::kernel::clock;
use crate::kernel::requirements::{self, RequirementError};
use crate::net::{Interface, NetError, Network};
use crate::pipeline::choice::choose_first;
use crate::pipeline::greeting;

/// Interfaces that have all of their lines; of the others, those that matter.
const IN_FULL: usize = 8;

/// The kernel, our rights in it, and the machine. `watched`: how many interfaces would be.
pub fn kernel(
    config: &Config,
    release: &str,
    missing: &[String],
    watched: usize,
) -> Result<Vec<Finding>, RequirementError> {
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
pub async fn networked(config: &Config, by_tcx: bool) -> (Vec<Finding>, usize) {
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

/// What records are made with, and where they go.
pub fn records(config: &Config) -> Vec<Finding> {
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

/// A tcpwatch that runs, or what one left.
pub fn instances(config: &Config) -> Vec<Finding> {
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
