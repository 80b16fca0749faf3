//! Puts a program on one of an interface's hooks, first in order, and takes it off again: by a TCX link where the kernel has it,
//! else by a classic filter on the clsact qdisc.

mod clsact;
mod standing;
pub mod survey;

use std::ffi::CString;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, tc};
use aya::sys::SyscallError;

pub use self::clsact::remove_left;
pub use self::standing::Standing;
use super::bpf;
use super::load::{LoadError, Programs};
use super::pins::{self, Pins};
use crate::faults::die_at;

/// What the frames of a device begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// An Ethernet header.
    Ethernet,
    /// Nothing: the packet begins with its IP header.
    None,
}

impl LinkLayer {
    /// The program for such devices; `real_time`: on PREEMPT_RT kernels.
    #[must_use]
    pub const fn program(self, direction: Direction, real_time: bool) -> &'static str {
        match (direction, self, real_time) {
            (Direction::Egress, Self::Ethernet, false) => "tcpwatch_l2",
            (Direction::Egress, Self::None, false) => "tcpwatch_l3",
            (Direction::Egress, Self::Ethernet, true) => "tcpwatch_l2_rt",
            (Direction::Egress, Self::None, true) => "tcpwatch_l3_rt",
            (Direction::Ingress, Self::Ethernet, _) => "tcpwatch_l2_in",
            (Direction::Ingress, Self::None, _) => "tcpwatch_l3_in",
        }
    }
}

/// Which packets a hook is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Those that leave: they are counted.
    Egress,
    /// Those that arrive: name servers' answers are looked for.
    Ingress,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Egress, Self::Ingress];

    /// As aya has it.
    const fn hook(self) -> TcAttachType {
        match self {
            Self::Egress => TcAttachType::Egress,
            Self::Ingress => TcAttachType::Ingress,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        })
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
    #[error("{interface}: cannot {step} the filters of its hooks")]
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
    #[error("{interface}: cannot ask for the programs on its hooks")]
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
    /// The link's name in the BPF file system.
    #[error("{interface}: cannot pin the link, so that counting would end with tcpwatch")]
    Pin {
        /// The interface.
        interface: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
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
    /// Where.
    direction: Direction,
    /// How many foreign filters run before us on the classic hook.
    pub behind: usize,
    /// The kernel's number of the attached program.
    program_id: u32,
    /// Its `Drop` detaches; none: on the way out.
    link: Option<SchedClassifierLink>,
    /// The link's name in the BPF file system, by which it outlives the process.
    pin: Option<PathBuf>,
    /// Held while a classic filter of ours is alive.
    _lock: Option<OwnedFd>,
}

impl Attachment {
    /// Has the program go on when the process ends: by its pin, or, as a classic filter does, by itself.
    pub fn leave(mut self) {
        self.pin = None;
        if self.hook == Hook::Clsact
            && let Some(link) = self.link.take()
        {
            // Its drop would remove the filter.
            let _kept = ManuallyDrop::new(link);
        }
    }

    /// Gives the link its name again that somebody has removed. True: it was gone.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn mend_pin(&mut self, interface: &str) -> Result<bool, AttachError> {
        let Some(pin) = self.pin.take_if(|pin| !pin.exists()) else {
            return Ok(false);
        };
        if let Some(link) = self.link.take() {
            self.link = Some(pinned(link, &pin).map_err(pin_error(interface))?);
        }
        self.pin = Some(pin);
        Ok(true)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // The link is the last reference then.
        if let Some(pin) = &self.pin
            && let Err(error) = std::fs::remove_file(pin)
        {
            tracing::debug!("{}: {error}", pin.display());
        }
    }
}

fn pin_error<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    interface: &str,
) -> impl FnOnce(E) -> AttachError {
    let interface = interface.to_owned();
    move |source| AttachError::Pin {
        interface,
        source: source.into(),
    }
}

/// The link, which has this name from now on.
fn pinned(
    link: SchedClassifierLink,
    path: &std::path::Path,
) -> Result<SchedClassifierLink, Box<dyn std::error::Error + Send + Sync>> {
    let link = FdLink::try_from(link)?.pin(path)?;
    Ok(SchedClassifierLink::try_from(FdLink::from(link))?)
}

/// Attaches programs to interfaces.
pub struct Attacher {
    programs: Programs,
    mode: AttachMode,
    netlink: rtnetlink::Handle,
    pins: Option<Pins>,
}

impl Attacher {
    /// `netlink` must belong to a connection that is being polled. With `pins`, what is attached outlives the process once it is
    /// [left](Attachment::leave), and takes the place of what an earlier process has left.
    #[must_use]
    pub const fn new(
        programs: Programs,
        mode: AttachMode,
        netlink: rtnetlink::Handle,
        pins: Option<Pins>,
    ) -> Self {
        Self {
            programs,
            mode,
            netlink,
            pins,
        }
    }

    /// Whether something outlives the process.
    #[must_use]
    pub const fn has_pins(&self) -> bool {
        self.pins.is_some()
    }

    /// What outlives the process.
    pub const fn pins(&mut self) -> Option<&mut Pins> {
        self.pins.as_mut()
    }

    /// Attaches to `interface`, whose number is `ifindex`. Removes what a killed instance left there, when it is the egress hook, from
    /// both; so that one is attached to first.
    ///
    /// # Errors
    /// Nothing of ours is left on the interface then.
    pub async fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        layer: LinkLayer,
        direction: Direction,
    ) -> Result<Attachment, AttachError> {
        let at = Place {
            interface,
            ifindex,
            layer,
            direction,
        };
        let attachment = match self.mode {
            AttachMode::Clsact => self.clsact(at).await?,
            AttachMode::Tcx => self.tcx(at).await?.ok_or_else(|| AttachError::NoTcx {
                interface: interface.to_owned(),
            })?,
            AttachMode::Auto => match self.tcx(at).await? {
                Some(attachment) => attachment,
                None => self.clsact(at).await?,
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

    /// Takes the links of earlier processes off a hook that is attached to by a classic filter: both would count.
    fn release_left(&self, ifindex: u32, direction: Direction) {
        let left = self
            .pins
            .as_ref()
            .map(|pins| pins.others_links(ifindex, direction));
        for path in left.unwrap_or_default() {
            pins::remove(&path);
        }
    }

    /// None: the kernel has no TCX.
    async fn tcx(&mut self, at: Place<'_>) -> Result<Option<Attachment>, AttachError> {
        let Place {
            interface,
            ifindex,
            layer,
            direction,
        } = at;
        let attach_error = |source| AttachError::Attach {
            interface: interface.to_owned(),
            hook: Hook::Tcx,
            source,
        };
        let program = self.programs.get_mut(layer, direction)?;
        let program_id = program.info().map_err(attach_error)?.id();
        // What both an old filter and a new link count would be recorded twice.
        if direction == Direction::Egress && self.pins.is_some() {
            remove_left(&self.netlink, interface, ifindex).await?;
        }
        let left = self
            .pins
            .as_ref()
            .map(|pins| pins.others_links(ifindex, direction))
            .unwrap_or_default();
        let taken_over = left
            .iter()
            .find_map(|path| take_over(program, path, (ifindex, direction, program_id)));
        let attached = match taken_over {
            Some(id) => program.take_link(id),
            None => program
                .attach_with_options(
                    interface,
                    direction.hook(),
                    TcAttachOptions::TcxOrder(LinkOrder::first()),
                )
                .and_then(|id| program.take_link(id)),
        };
        die_at("replaced");
        let mut link = match attached {
            Ok(link) => link,
            Err(source) if lacks_tcx(&source) => return Ok(None),
            Err(source) => return Err(attach_error(source)),
        };
        let pin = self.pins.as_ref().map(|pins| pins.link(ifindex, direction));
        if let Some(pin) = &pin {
            link = pinned(link, pin).map_err(pin_error(interface))?;
            die_at("pinned");
            for path in left {
                // The link has its new name: the old one keeps nothing.
                pins::remove(&path);
            }
        }
        // A killed instance that was attached by clsact would go on costing something here.
        if direction == Direction::Egress && self.pins.is_none() {
            remove_left(&self.netlink, interface, ifindex).await?;
        }
        Ok(Some(Attachment {
            hook: Hook::Tcx,
            direction,
            behind: 0,
            program_id,
            link: Some(link),
            pin,
            _lock: None,
        }))
    }
}

/// Puts the program into a link that an earlier process has left, in place of that one's program: every packet meets one of the
/// two. None: the link is of a device that is gone, of another network namespace, or no link.
fn take_over(
    program: &mut SchedClassifier,
    path: &std::path::Path,
    (ifindex, direction, program_id): (u32, Direction, u32),
) -> Option<SchedClassifierLinkId> {
    let found = || -> Result<SchedClassifierLink, LinkError> {
        SchedClassifierLink::try_from(FdLink::from(PinnedLink::from_pin(path)?))
    };
    let gone = |error: &dyn fmt::Display| tracing::debug!("{}: {error}", path.display());
    let link = found().inspect_err(|error| gone(error)).ok()?;
    let id = program
        .attach_to_link(link)
        .inspect_err(|error| gone(error))
        .ok()?;
    match bpf::tcx_programs(ifindex, direction == Direction::Ingress) {
        Ok(programs) if programs.contains(&program_id) => Some(id),
        Ok(_) | Err(_) => {
            gone(&"the link is elsewhere");
            if let Err(error) = program.detach(id) {
                gone(&error);
            }
            None
        }
    }
}

/// Where and with which program to attach.
#[derive(Clone, Copy)]
struct Place<'a> {
    interface: &'a str,
    ifindex: u32,
    layer: LinkLayer,
    direction: Direction,
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

/// The number of the interface that has this name now.
fn index_of(interface: &str) -> Option<u32> {
    let name = CString::new(interface).ok()?;
    // SAFETY: a terminated string; 0 is no interface's number.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => None,
        index => Some(index),
    }
}
