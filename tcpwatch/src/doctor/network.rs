//! What the kernel says of its network: asked in this namespace, and tried in one of its own.

use std::collections::BTreeMap;
use std::io;

use futures_util::TryStreamExt as _;
use netlink_packet_route::link::{LinkAttribute, LinkInfo, LinkMessage, State};

use super::finding::chain;
use super::hooks::{Occupants, Trial, Trials};
use super::links::Device;
use crate::config::Config;
use crate::kernel::attach::{AttachError, AttachMode, Attacher, Direction, LinkLayer, survey};
use crate::kernel::capacity::Capacity;
use crate::kernel::load::load;
use crate::kernel::sandbox;
use crate::net::{Defaults, Interface, LOOPBACK_INDEX, NetError, Network};

/// As small as tables can be: only the programs matter.
const CAPACITY: Capacity = Capacity {
    slots: Some(64),
    spill: 1,
    bans: 1,
    samples: 0,
};
/// The first kernel with TCX (commit e420bed02507).
const TCX: (u32, u32) = (6, 6);

/// Interfaces, devices and occupants of the hooks of those that are to be watched.
pub struct Surveyed {
    /// All interfaces.
    pub present: Vec<Interface>,
    /// Those of the default route.
    pub defaults: Defaults,
    /// The same as devices, by number.
    pub devices: BTreeMap<u32, Device>,
}

/// Asks in the namespace that the doctor runs in.
///
/// # Errors
/// No netlink.
pub async fn survey(network: &Network) -> Result<Surveyed, NetError> {
    let links: Vec<LinkMessage> = network
        .handle()
        .link()
        .get()
        .execute()
        .try_collect()
        .await
        .map_err(|source| NetError::Ask {
            what: "its interfaces",
            source,
        })?;
    Ok(Surveyed {
        present: network.interfaces().await?,
        defaults: network.defaults().await?,
        devices: links
            .iter()
            .map(|link| (link.header.index, device(link)))
            .collect(),
    })
}

fn device(link: &LinkMessage) -> Device {
    let mut device = Device {
        index: link.header.index,
        ..Device::default()
    };
    let mut elsewhere = false;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Link(index) => device.on = Some(*index).filter(|on| *on != 0),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::Controller(index) => device.part_of = Some(*index),
            LinkAttribute::GsoMaxSize(bytes) => device.gso_bytes = Some(*bytes),
            LinkAttribute::GsoMaxSegs(packets) => device.gso_packets = Some(*packets),
            LinkAttribute::OperState(State::Up) => device.operational = Some(true),
            LinkAttribute::OperState(State::Down | State::LowerLayerDown | State::Dormant) => {
                device.operational = Some(false);
            }
            LinkAttribute::LinkInfo(infos) => {
                device.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    if elsewhere {
        // Its number there says nothing here.
        device.on = None;
    }
    device
}

/// Who is on a hook.
pub async fn occupants(network: &Network, ifindex: u32, direction: Direction) -> Occupants {
    let names = survey::names();
    let tcx = survey::tcx(ifindex, direction)
        .ok()
        .flatten()
        .map(|ids| ids.into_iter().map(|id| (id, names.get(&id).cloned())).collect());
    Occupants {
        tcx,
        classic: survey::classic(&network.handle(), ifindex, direction).await.ok(),
    }
}

/// Loads the programs, and attaches one to the loopback of a network namespace that ends with its thread.
pub fn attach(config: &Config, release: &str, may: bool) -> Trials {
    if !may {
        return untried("rights are missing, see above", release);
    }
    sandbox::apart(|| {
        let namespace = match sandbox::enter() {
            Ok(namespace) => namespace,
            // Whether it can be loaded is seen all the same.
            Err(error) => {
                let loaded = load(CAPACITY).and_then(|(mut programs, _)| programs.load_all(config.names.dns));
                return match loaded {
                    Ok(()) => untried(no_namespace(&error), release),
                    Err(error) => Trials::Unloadable(chain(&error)),
                };
            }
        };
        let tried = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
            .and_then(|runtime| runtime.block_on(try_both(config)));
        drop(namespace);
        tried.unwrap_or_else(Trials::Unloadable)
    })
}

async fn try_both(config: &Config) -> Result<Trials, String> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let mut results = Vec::new();
    for mode in [AttachMode::Tcx, AttachMode::Clsact] {
        let (mut programs, _tables) = load(CAPACITY).map_err(|error| chain(&error))?;
        if results.is_empty() {
            programs
                .load_all(config.names.dns)
                .map_err(|error| chain(&error))?;
        }
        let mut attacher = Attacher::new(programs, mode, handle.clone(), None);
        let attached = attacher
            .attach("lo", LOOPBACK_INDEX, LinkLayer::Ethernet, Direction::Egress)
            .await;
        results.push(match attached {
            Ok(_) => Trial::Works,
            Err(AttachError::NoTcx { .. }) => Trial::Fails("this kernel has none (Linux 6.6)".to_owned()),
            Err(error) => Trial::Fails(chain(&error)),
        });
    }
    match <[Trial; 2]>::try_from(results) {
        Ok([tcx, clsact]) => Ok(Trials::Tried { tcx, clsact }),
        Err(_) => Err("not both ways were tried".to_owned()),
    }
}

fn no_namespace(error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(libc::EPERM) {
        "a namespace of its own takes CAP_SYS_ADMIN"
    } else {
        "no namespace of its own can be made"
    }
}

fn untried(why: &str, release: &str) -> Trials {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Trials::Untried {
        why: why.to_owned(),
        tcx: version >= TCX,
    }
}
