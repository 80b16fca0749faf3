//! Puts the program on an interface's egress hook, first in order, and takes it off again: by a TCX link where the kernel
//! has it, else by a classic filter on the clsact qdisc.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{LinkOrder, ProgramError, TcAttachType, tc};
use aya::sys::SyscallError;
use futures_util::{StreamExt as _, TryStreamExt as _};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpf, TcFilterBpfOption, TcMessage, TcOption};

use super::bpf;
use super::load::{LoadError, Programs};

/// Handle of our classic filters ("tcpw"). With the name it tells them from everybody else's.
const HANDLE: TcHandle = TcHandle::new(0x7463, 0x7077);
/// ETH_P_ALL as the lower half of `tcm_info` has it: the classic filter sees every protocol.
const ALL_PROTOCOLS: u32 = (libc::ETH_P_ALL as u16).to_be() as u32;

/// What the frames of a device begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// An Ethernet header.
    Ethernet,
    /// Nothing: the packet begins with its IP header.
    None,
}

impl LinkLayer {
    /// The program for such devices.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Ethernet => "tcpwatch_l2",
            Self::None => "tcpwatch_l3",
        }
    }
}

/// Which way of attaching to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AttachMode {
    /// TCX where the kernel has it, else clsact.
    #[default]
    Auto,
    /// A TCX link (Linux 6.6): goes with the process, even when it is killed.
    Tcx,
    /// A filter on the clsact qdisc: stays when the process is killed, until the next start.
    Clsact,
}

/// Where the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// By a TCX link.
    Tcx,
    /// By a classic filter.
    Clsact,
}

impl Hook {
    /// As the record names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why the program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Asked for TCX, but the kernel has none.
    #[error(
        "{interface}: this kernel has no TCX (Linux 6.6 with CONFIG_NET_XGRESS): use --attach clsact or auto"
    )]
    NoTcx {
        /// The interface.
        interface: String,
    },
    /// Another tcpwatch counts on the same classic hook.
    #[error(
        "{interface}: another tcpwatch is already attached there by clsact: stop it first, or use --attach tcx, where two can run side by side"
    )]
    Busy {
        /// The interface.
        interface: String,
    },
    /// The qdisc.
    #[error("{interface}: cannot add the clsact qdisc")]
    Qdisc {
        /// The interface.
        interface: String,
        /// The cause.
        #[source]
        source: tc::TcError,
    },
    /// The filters on the hook.
    #[error("{interface}: cannot {step} the filters of its egress hook")]
    Filters {
        /// The interface.
        interface: String,
        /// What was being done.
        step: &'static str,
        /// The cause.
        #[source]
        source: rtnetlink::Error,
    },
    /// The programs on the hook.
    #[error("{interface}: cannot ask for the programs on its egress hook")]
    Query {
        /// The interface.
        interface: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The attaching itself.
    #[error("{interface}: cannot attach the program by {hook}")]
    Attach {
        /// The interface.
        interface: String,
        /// The way that was tried.
        hook: Hook,
        /// The cause.
        #[source]
        source: ProgramError,
    },
    /// The lock that tells a live instance from what a killed one left.
    #[error("{interface}: cannot take the lock for its clsact hook")]
    Lock {
        /// The interface.
        interface: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The name belonged to another interface when the program was attached.
    #[error("{interface}: the interface was renamed or replaced at this moment: try again")]
    Replaced {
        /// The interface.
        interface: String,
    },
    /// The program is not there.
    #[error(transparent)]
    Program(#[from] LoadError),
}

/// The program on one interface. Dropping it takes the program off, and nothing else.
#[derive(Debug)]
pub struct Attachment {
    /// How it is attached.
    pub hook: Hook,
    /// How many foreign filters run before us on the classic hook.
    pub behind: usize,
    /// The kernel's number of the attached program.
    program_id: u32,
    /// Held for its `Drop`, which detaches.
    _link: SchedClassifierLink,
    /// Held while a classic filter of ours is alive.
    _lock: Option<OwnedFd>,
}

/// Attaches programs to interfaces.
pub struct Attacher {
    programs: Programs,
    mode: AttachMode,
    netlink: rtnetlink::Handle,
}

impl Attacher {
    /// `netlink` must belong to a connection that is being polled.
    #[must_use]
    pub const fn new(programs: Programs, mode: AttachMode, netlink: rtnetlink::Handle) -> Self {
        Self {
            programs,
            mode,
            netlink,
        }
    }

    /// Attaches to `interface`, whose number is `ifindex`. Removes what a killed instance left there.
    ///
    /// # Errors
    /// Nothing of ours is left on the interface then.
    pub async fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        layer: LinkLayer,
    ) -> Result<Attachment, AttachError> {
        let attachment = match self.mode {
            AttachMode::Clsact => self.clsact(interface, ifindex, layer).await?,
            AttachMode::Tcx => {
                self.tcx(interface, ifindex, layer)
                    .await?
                    .ok_or_else(|| AttachError::NoTcx {
                        interface: interface.to_owned(),
                    })?
            }
            AttachMode::Auto => match self.tcx(interface, ifindex, layer).await? {
                Some(attachment) => attachment,
                None => self.clsact(interface, ifindex, layer).await?,
            },
        };
        // aya attaches by name; the policy and the books go by number.
        if index_of(interface) == Some(ifindex) {
            Ok(attachment)
        } else {
            Err(AttachError::Replaced {
                interface: interface.to_owned(),
            })
        }
    }

    /// Whether the program is still on the interface's hook: others may remove what they do not know.
    ///
    /// # Errors
    /// The hook cannot be looked at.
    pub async fn is_attached(
        &self,
        attachment: &Attachment,
        interface: &str,
        ifindex: u32,
    ) -> Result<bool, AttachError> {
        match attachment.hook {
            Hook::Tcx => {
                let programs = bpf::tcx_egress_programs(ifindex).map_err(|source| AttachError::Query {
                    interface: interface.to_owned(),
                    source,
                })?;
                Ok(programs.contains(&attachment.program_id))
            }
            Hook::Clsact => {
                let filters = self
                    .filters(ifindex)
                    .await
                    .map_err(|source| AttachError::Filters {
                        interface: interface.to_owned(),
                        step: "list",
                        source,
                    })?;
                Ok(filters.iter().any(is_ours))
            }
        }
    }

    /// None: the kernel has no TCX.
    async fn tcx(
        &mut self,
        interface: &str,
        ifindex: u32,
        layer: LinkLayer,
    ) -> Result<Option<Attachment>, AttachError> {
        let attach_error = |source| AttachError::Attach {
            interface: interface.to_owned(),
            hook: Hook::Tcx,
            source,
        };
        let program = self.programs.get_mut(layer)?;
        let program_id = program.info().map_err(attach_error)?.id();
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let attached = program
            .attach_with_options(interface, TcAttachType::Egress, options)
            .and_then(|id| program.take_link(id));
        let link = match attached {
            Ok(link) => link,
            Err(source) if lacks_tcx(&source) => return Ok(None),
            Err(source) => return Err(attach_error(source)),
        };
        // A killed instance that was attached by clsact would go on costing something here. When another instance lives
        // there, the lock is its own, and so is the filter.
        if let Ok(_lock) = lock(interface, ifindex) {
            self.remove_stale(interface, ifindex).await?;
        }
        Ok(Some(Attachment {
            hook: Hook::Tcx,
            behind: 0,
            program_id,
            _link: link,
            _lock: None,
        }))
    }

    async fn clsact(
        &mut self,
        interface: &str,
        ifindex: u32,
        layer: LinkLayer,
    ) -> Result<Attachment, AttachError> {
        let lock = lock(interface, ifindex)?;
        add_clsact(interface)?;
        let foreign = self.remove_stale(interface, ifindex).await?;
        let (priority, behind) = place(&foreign);
        let attach_error = |source| AttachError::Attach {
            interface: interface.to_owned(),
            hook: Hook::Clsact,
            source,
        };
        let program = self.programs.get_mut(layer)?;
        let program_id = program.info().map_err(attach_error)?.id();
        let options = NlOptions {
            priority,
            handle: HANDLE,
            classid: None,
        };
        let link = program
            .attach_with_options(interface, TcAttachType::Egress, TcAttachOptions::Netlink(options))
            .and_then(|id| program.take_link(id))
            .map_err(attach_error)?;
        Ok(Attachment {
            hook: Hook::Clsact,
            behind,
            program_id,
            _link: link,
            _lock: Some(lock),
        })
    }

    /// Removes the classic filters that are ours by name and handle, and says where the others stand. The caller holds
    /// the lock: whoever made ours is dead.
    async fn remove_stale(&mut self, interface: &str, ifindex: u32) -> Result<Vec<Position>, AttachError> {
        let filters_error = |step| {
            move |source| AttachError::Filters {
                interface: interface.to_owned(),
                step,
                source,
            }
        };
        let mut foreign = Vec::new();
        for filter in self.filters(ifindex).await.map_err(filters_error("list"))? {
            if is_ours(&filter) {
                tracing::info!("{interface}: removing the filter that a killed tcpwatch left behind");
                self.remove(filter).await.map_err(filters_error("clean up"))?;
            } else {
                foreign.push(Position::of(&filter));
            }
        }
        Ok(foreign)
    }

    async fn filters(&self, ifindex: u32) -> Result<Vec<TcMessage>, rtnetlink::Error> {
        let filters: Vec<TcMessage> = self
            .netlink
            .traffic_filter(ifindex.cast_signed())
            .get()
            .egress()
            .execute()
            .try_collect()
            .await?;
        // The kernel lists each chain's priorities, too: those have no handle and are no filters.
        Ok(filters
            .into_iter()
            .filter(|filter| u32::from(filter.header.handle) != 0)
            .collect())
    }

    async fn remove(&mut self, filter: TcMessage) -> Result<(), rtnetlink::Error> {
        let mut message = TcMessage::default();
        message.header = filter.header;
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::DelTrafficFilter(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut answers = self.netlink.request(request)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                return Err(rtnetlink::Error::NetlinkError(error));
            }
        }
        Ok(())
    }
}

/// The errors by which kernels say that they know no TCX; some 6.6 and later are built without CONFIG_NET_XGRESS.
fn lacks_tcx(error: &ProgramError) -> bool {
    /// Kernel-internal, but returned by `link_create()` for unknown attach types.
    const ENOTSUPP: i32 = 524;
    let ProgramError::SyscallError(SyscallError { io_error, .. }) = error else {
        return false;
    };
    matches!(
        io_error.raw_os_error(),
        Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP)
    )
}

/// Adds the qdisc that classic egress filters hang on. One that is there already is used; ours is never removed again,
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
fn lock(interface: &str, ifindex: u32) -> Result<OwnedFd, AttachError> {
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

/// The number of the interface that has this name now.
fn index_of(interface: &str) -> Option<u32> {
    let name = CString::new(interface).ok()?;
    // SAFETY: a terminated string; 0 is no interface's number.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => None,
        index => Some(index),
    }
}

fn is_ours(filter: &TcMessage) -> bool {
    let name = filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => options.iter().find_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name.as_str()),
            _ => None,
        }),
        _ => None,
    });
    u32::from(filter.header.handle) == u32::from(HANDLE)
        && name.is_some_and(|name| {
            [LinkLayer::Ethernet, LinkLayer::None]
                .iter()
                .any(|l| l.program() == name)
        })
}

/// Where a foreign filter stands on the classic hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
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
