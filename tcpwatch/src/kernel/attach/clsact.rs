//! Classic filters on the clsact qdisc, for kernels without TCX: ours is told from others', put before them, and found
//! again when a killed instance left it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use aya::programs::ProgramError;
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use futures_util::{StreamExt as _, TryStreamExt as _};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpf, TcFilterBpfOption, TcMessage, TcOption};

use super::{AttachError, Attacher, Attachment, Direction, Hook, LinkLayer, Place};

/// Handle of our classic filters ("tcpw"). With the name it tells them from everybody else's.
const HANDLE: TcHandle = TcHandle::new(0x7463, 0x7077);
/// ETH_P_ALL as the lower half of `tcm_info` has it: the classic filter sees every protocol.
const ALL_PROTOCOLS: u32 = (libc::ETH_P_ALL as u16).to_be() as u32;

/// How often and how long apart it is tried to take a place that changes.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

impl Attacher {
    /// Attaches by a classic filter.
    pub(super) async fn clsact(&mut self, at: Place<'_>) -> Result<Attachment, AttachError> {
        let Place {
            interface,
            ifindex,
            layer,
            direction,
        } = at;
        // The lock is that of the filter for packets that leave, which cleans up on both hooks.
        let lock = match direction {
            Direction::Egress => Some(lock(interface, ifindex)?),
            Direction::Ingress => None,
        };
        add_clsact(interface)?;
        // What an earlier process has left goes on counting until our program is in its place.
        let takes_over = self.pins.is_some();
        if takes_over {
            self.release_left(ifindex, direction);
        } else if direction == Direction::Egress {
            remove_stale(&self.netlink, interface, ifindex, Direction::Ingress).await?;
            remove_stale(&self.netlink, interface, ifindex, Direction::Egress).await?;
        }
        let attach_error = |source| AttachError::Attach {
            interface: interface.to_owned(),
            hook: Hook::Clsact,
            source,
        };
        let mut tries = 0;
        let (link, program_id, behind) = loop {
            let (own, foreign): (Vec<_>, Vec<_>) = filters(&self.netlink, interface, ifindex, direction)
                .await?
                .into_iter()
                .partition(is_ours);
            let left = own
                .first()
                .filter(|_| takes_over)
                .map(|filter| Position::of(filter).priority);
            let foreign: Vec<_> = foreign.iter().map(Position::of).collect();
            let (priority, behind) = match left {
                Some(priority) => (priority, before(&foreign, priority)),
                None => place(&foreign),
            };
            let program = self.programs.get_mut(layer, direction)?;
            let program_id = program.info().map_err(attach_error)?.id();
            let attached = if left.is_some() {
                SchedClassifierLink::attached(interface, direction.hook(), priority, HANDLE, None)
                    .map_err(|source| ProgramError::from(tc::TcError::IoError(source)))
                    .and_then(|link| program.attach_to_link(link))
            } else {
                let options = NlOptions {
                    priority,
                    handle: HANDLE,
                    classid: None,
                };
                program.attach_with_options(interface, direction.hook(), TcAttachOptions::Netlink(options))
            };
            match attached.and_then(|id| program.take_link(id)) {
                Ok(link) => break (link, program_id, behind),
                // A filter that the list has not shown, or that somebody has removed since.
                Err(error) if takes_over && tries < TRIES && has_changed(&error) => {
                    tracing::debug!("{interface}: the {direction} hook has changed, once more: {error}");
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(attach_error(error)),
            }
        };
        Ok(Attachment {
            hook: Hook::Clsact,
            direction,
            behind,
            program_id,
            link: Some(link),
            pin: None,
            _lock: lock,
        })
    }
}

/// Removes our filters from both hooks of an interface, if whoever made them is dead.
///
/// # Errors
/// The hooks cannot be looked at, or the kernel refuses.
pub async fn remove_left(
    netlink: &rtnetlink::Handle,
    interface: &str,
    ifindex: u32,
) -> Result<(), AttachError> {
    if let Ok(_lock) = lock(interface, ifindex) {
        for direction in Direction::ALL {
            remove_stale(netlink, interface, ifindex, direction).await?;
        }
    }
    Ok(())
}

/// Removes the classic filters that are ours by name and handle, and says where the others stand. The caller holds
/// the lock: whoever made ours is dead.
async fn remove_stale(
    netlink: &rtnetlink::Handle,
    interface: &str,
    ifindex: u32,
    direction: Direction,
) -> Result<Vec<Position>, AttachError> {
    let mut foreign = Vec::new();
    for filter in filters(netlink, interface, ifindex, direction).await? {
        if is_ours(&filter) {
            tracing::info!("{interface}: removing the filter that a killed tcpwatch left behind");
            remove(netlink, filter)
                .await
                .map_err(filters_error(interface, "clean up"))?;
        } else {
            foreign.push(Position::of(&filter));
        }
    }
    Ok(foreign)
}

/// The filters on one of the interface's hooks.
pub(super) async fn filters(
    netlink: &rtnetlink::Handle,
    interface: &str,
    ifindex: u32,
    direction: Direction,
) -> Result<Vec<TcMessage>, AttachError> {
    let ask = netlink.traffic_filter(ifindex.cast_signed()).get();
    let ask = match direction {
        Direction::Egress => ask.egress(),
        Direction::Ingress => ask.ingress(),
    };
    let filters: Vec<TcMessage> = ask
        .execute()
        .try_collect()
        .await
        .map_err(filters_error(interface, "list"))?;
    // The kernel lists each chain's priorities, too: those have no handle and are no filters.
    Ok(filters
        .into_iter()
        .filter(|filter| u32::from(filter.header.handle) != 0)
        .collect())
}

async fn remove(netlink: &rtnetlink::Handle, filter: TcMessage) -> Result<(), rtnetlink::Error> {
    let mut message = TcMessage::default();
    message.header = filter.header;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::DelTrafficFilter(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut answers = netlink.clone().request(request)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(rtnetlink::Error::NetlinkError(error));
        }
    }
    Ok(())
}

/// What turns a failure of netlink into one that says what was being done with an interface's filters.
fn filters_error(interface: &str, step: &'static str) -> impl FnOnce(rtnetlink::Error) -> AttachError {
    let interface = interface.to_owned();
    move |source| AttachError::Filters {
        interface,
        step,
        source,
    }
}

/// The errors of an attachment to a hook that is not as it was listed a moment before.
fn has_changed(error: &ProgramError) -> bool {
    let ProgramError::TcError(tc::TcError::NetlinkError(error)) = error else {
        return false;
    };
    matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOENT))
}

/// Adds the qdisc that classic filters hang on. One that is there already is used; ours is never removed again,
/// because others may have come to rely on it.
fn add_clsact(interface: &str) -> Result<(), AttachError> {
    match tc::qdisc_add_clsact(interface) {
        Ok(()) => Ok(()),
        Err(tc::TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        Err(source) => Err(AttachError::Qdisc {
            interface: interface.to_owned(),
            source,
        }),
    }
}

/// An abstract socket name is taken by one process of the network namespace at a time, and is free again when the process
/// ends in any way. So a filter of ours under a free name is a dead instance's.
pub(super) fn lock(interface: &str, ifindex: u32) -> Result<OwnedFd, AttachError> {
    let address = SocketAddr::from_abstract_name(format!("tcpwatch/clsact/{ifindex}")).map_err(|source| {
        AttachError::Lock {
            interface: interface.to_owned(),
            source,
        }
    })?;
    match UnixDatagram::bind_addr(&address) {
        Ok(socket) => Ok(socket.into()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(AttachError::Busy {
            interface: interface.to_owned(),
        }),
        Err(source) => Err(AttachError::Lock {
            interface: interface.to_owned(),
            source,
        }),
    }
}

/// Whether a filter is ours, by handle and name. Without CAP_PERFMON aya gives programs no name: it finds out whether the kernel knows
/// names by a program of a kind that takes this right (`is_prog_name_supported()`, aya 0.14).
pub(super) fn is_ours(filter: &TcMessage) -> bool {
    let name = filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => options.iter().find_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name.as_str()),
            _ => None,
        }),
        _ => None,
    });
    u32::from(filter.header.handle) == u32::from(HANDLE)
        && name.is_some_and(|name| {
            if name.is_empty() {
                return true;
            }
            let programs = |layer: LinkLayer, real_time| {
                Direction::ALL
                    .iter()
                    .any(|direction| layer.program(*direction, real_time) == name)
            };
            [LinkLayer::Ethernet, LinkLayer::None]
                .into_iter()
                .any(|layer| programs(layer, false) || programs(layer, true))
        })
}

/// Where a foreign filter stands on the classic hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    priority: u16,
    /// Whether a filter of ours can be given the same priority: same kind, same protocol.
    shareable: bool,
}

impl Position {
    fn of(filter: &TcMessage) -> Self {
        let bpf = filter
            .attributes
            .iter()
            .any(|attribute| matches!(attribute, TcAttribute::Kind(kind) if kind == TcFilterBpf::KIND));
        Self {
            priority: (filter.header.info >> 16) as u16,
            shareable: bpf && filter.header.info & 0xffff == ALL_PROTOCOLS,
        }
    }
}

/// The priority that puts us before as many foreign filters as possible, and how many stay before us. Within a priority
/// the newest BPF filter runs first (`cls_bpf_change()`, net/sched/cls_bpf.c, adds at the head).
fn place(foreign: &[Position]) -> (u16, usize) {
    let mut behind = 0;
    for priority in 1..u16::MAX {
        let here: Vec<_> = foreign
            .iter()
            .filter(|position| position.priority == priority)
            .collect();
        if here.iter().all(|position| position.shareable) {
            return (priority, behind);
        }
        behind += here.len();
    }
    (u16::MAX, behind)
}

/// How many foreign filters are before one of ours with this priority.
fn before(foreign: &[Position], priority: u16) -> usize {
    foreign
        .iter()
        .filter(|position| position.priority < priority)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn bpf(priority: u16) -> Position {
        Position {
            priority,
            shareable: true,
        }
    }

    const fn other(priority: u16) -> Position {
        Position {
            priority,
            shareable: false,
        }
    }

    #[test]
    fn our_filter_runs_before_all_bpf_filters() {
        assert_eq!(place(&[]), (1, 0));
        assert_eq!(place(&[bpf(1), bpf(1), other(5)]), (1, 0));
    }

    #[test]
    fn filters_that_cannot_share_a_priority_stay_before_us_and_are_counted() {
        assert_eq!(place(&[other(1), other(1), bpf(2)]), (2, 2));
        assert_eq!(place(&[other(1), other(2), other(49_152)]), (3, 2));
    }
}
