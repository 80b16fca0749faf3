//! Who else is on an interface's hooks, and in which order. Changes nothing.

use std::collections::BTreeMap;
use std::io;

use aya::programs::loaded_programs;
use futures_util::TryStreamExt as _;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpf, TcFilterBpfOption, TcMessage, TcOption};

use super::Direction;
use super::clsact::is_ours;
use crate::kernel::bpf;

/// A filter on the classic hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What it calls itself, or else its kind.
    pub name: String,
    /// Lower ones run first.
    pub priority: u16,
    /// A program, and no classifier of another kind.
    pub is_bpf: bool,
    /// Whether it is tcpwatch's, by name and handle.
    pub is_ours: bool,
}

/// Numbers of the programs on a TCX hook, in the order in which they run; none: the kernel has no TCX.
///
/// # Errors
/// No right to ask, or the interface is gone.
pub fn tcx(ifindex: u32, direction: Direction) -> io::Result<Option<Vec<u32>>> {
    match bpf::tcx_programs(ifindex, direction == Direction::Ingress) {
        Ok(programs) => Ok(Some(programs)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Names of all loaded programs by number, as far as they have one; empty without CAP_SYS_ADMIN, which it takes to ask.
pub fn names() -> BTreeMap<u32, String> {
    loaded_programs()
        .filter_map(Result::ok)
        .filter_map(|info| Some((info.id(), info.name_as_str()?.to_owned())))
        .collect()
}

/// Filters on a classic hook, in the order in which they run.
///
/// # Errors
/// The kernel does not answer.
pub async fn classic(
    netlink: &rtnetlink::Handle,
    ifindex: u32,
    direction: Direction,
) -> Result<Vec<Filter>, rtnetlink::Error> {
    let ask = netlink.traffic_filter(ifindex.cast_signed()).get();
    let ask = match direction {
        Direction::Egress => ask.egress(),
        Direction::Ingress => ask.ingress(),
    };
    let messages: Vec<TcMessage> = ask.execute().try_collect().await?;
    let mut filters: Vec<Filter> = messages
        .iter()
        // The kernel lists each chain's priorities, too: those have no handle and are no filters.
        .filter(|message| u32::from(message.header.handle) != 0)
        .map(filter)
        .collect();
    filters.sort_by_key(|filter| filter.priority);
    Ok(filters)
}

fn filter(message: &TcMessage) -> Filter {
    let kind = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.as_str()),
        _ => None,
    });
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => options.iter().find_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name.as_str()),
            _ => None,
        }),
        _ => None,
    });
    Filter {
        name: name.or(kind).unwrap_or("a filter").to_owned(),
        priority: (message.header.info >> 16) as u16,
        is_bpf: kind == Some(TcFilterBpf::KIND),
        is_ours: is_ours(message),
    }
}
