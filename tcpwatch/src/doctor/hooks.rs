//! Ways of attaching, and who else is on the hooks. Pure: judges what was tried and asked.

use super::finding::Finding;
use crate::kernel::attach::survey::Filter;
use crate::kernel::attach::{AttachMode, Direction};

/// Programs of this name are tcpwatch's.
const OURS: &str = "tcpwatch_";

/// What came of trying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It works.
    Works,
    /// It does not, and why.
    Fails(String),
}

/// What came of trying both ways, or why they were not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trials {
    /// In a network namespace of their own.
    Tried {
        /// By a TCX link.
        tcx: Trial,
        /// By a classic filter.
        clsact: Trial,
    },
    /// The program itself cannot be loaded.
    Unloadable(String),
    /// No namespace; and whether the kernel seems to have TCX.
    Untried {
        /// Why.
        why: String,
        /// By its version.
        tcx: bool,
    },
}

/// By the ways that work, and the one that is wanted.
pub fn attach(trials: &Trials, wanted: AttachMode) -> Finding {
    const CHECK: &str = "attach";
    let (tcx, clsact) = match trials {
        Trials::Unloadable(why) => {
            return Finding::fail(CHECK, format!("the kernel does not take the program: {why}"))
                .cure("where rights are not missing, a container or a security module may forbid bpf(2): allow it there");
        }
        Trials::Untried { why, tcx } => {
            let by_version = if *tcx { "tcx and clsact" } else { "clsact" };
            return Finding::note(
                CHECK,
                format!("not tried ({why}); by its version, this kernel has {by_version}"),
            )
            .cure("sudo tcpwatch doctor tries it, in a network namespace of its own");
        }
        Trials::Tried { tcx, clsact } => (tcx, clsact),
    };
    match (wanted, tcx, clsact) {
        (AttachMode::Auto, Trial::Works, Trial::Works) => Finding::ok(CHECK, "tcx and clsact work (tried)"),
        (AttachMode::Auto | AttachMode::Tcx, Trial::Works, _) => Finding::ok(CHECK, "tcx works (tried)"),
        (AttachMode::Clsact, _, Trial::Works) => Finding::ok(CHECK, "clsact works (tried)"),
        (AttachMode::Auto, Trial::Fails(_), Trial::Works) => Finding::note(
            CHECK,
            "clsact works (tried), tcx does not: a killed tcpwatch leaves its filter until the next start",
        )
        .cure("nothing needs to be done; Linux 6.6 and later have tcx"),
        (AttachMode::Tcx, Trial::Fails(why), _) => {
            Finding::fail(CHECK, format!("tcx does not work: {why}")).cure("--attach auto")
        }
        (AttachMode::Clsact, _, Trial::Fails(why)) => {
            Finding::fail(CHECK, format!("clsact does not work: {why}"))
                .cure("--attach auto; or modprobe sch_ingress cls_bpf")
        }
        (AttachMode::Auto, Trial::Fails(tcx), Trial::Fails(clsact)) => Finding::fail(
            CHECK,
            format!("neither way works. tcx: {tcx}; clsact: {clsact}"),
        )
        .cure("modprobe sch_ingress cls_bpf; or a kernel with CONFIG_NET_XGRESS (6.6) or CONFIG_NET_CLS_BPF"),
    }
}

/// Who is on one hook of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupants {
    /// Programs on the TCX hook in the order in which they run, as number and name; none: it could not be asked, or is not there.
    pub tcx: Option<Vec<(u32, Option<String>)>>,
    /// Filters on the classic hook; none: it could not be asked.
    pub classic: Option<Vec<Filter>>,
}

/// `by_tcx`: whether tcpwatch will be attached by TCX.
pub fn occupants(interface: &str, direction: Direction, found: &Occupants, by_tcx: bool) -> Finding {
    const CHECK: &str = "hook";
    let place = format!("{interface} {direction}");
    let (Some(classic), tcx) = (&found.classic, found.tcx.as_deref().unwrap_or_default()) else {
        return Finding::note(CHECK, format!("{place}: who is there cannot be asked"))
            .cure("sudo tcpwatch doctor asks");
    };
    let ours = |name: &Option<String>| name.as_deref().is_some_and(|name| name.starts_with(OURS));
    let programs: Vec<String> = tcx
        .iter()
        .map(|(id, name)| match name {
            Some(name) => format!("{name} ({id})"),
            None => format!("program {id}"),
        })
        .collect();
    let filters: Vec<String> = classic
        .iter()
        .map(|filter| format!("{} (pref {})", filter.name, filter.priority))
        .collect();
    let own = tcx.iter().filter(|(_, name)| ours(name)).count()
        + classic.iter().filter(|filter| filter.is_ours).count();
    let others = programs.len() + filters.len() - own;
    let mut order = Vec::new();
    if !programs.is_empty() {
        order.push(format!("tcx {}", programs.join(", ")));
    }
    if !filters.is_empty() {
        order.push(format!("clsact {}", filters.join(", ")));
    }
    let order = order.join("; then ");
    let behind = if by_tcx {
        Vec::new()
    } else {
        before_us(classic, tcx.len())
    };
    if !behind.is_empty() && direction == Direction::Egress {
        return Finding::warn(
            CHECK,
            format!(
                "{place}: {order}; {} before tcpwatch, which counts what they let pass",
                run(behind.len())
            ),
        )
        .cure("give them a higher pref number (tc filter replace … pref N), or use --attach tcx");
    }
    if !by_tcx && classic.iter().any(|filter| filter.is_ours) {
        return Finding::note(
            CHECK,
            format!("{place}: {order}; where that tcpwatch runs, no other can be attached"),
        )
        .cure(
            "nothing where it is the one that you mean; a dead one's filter is replaced by the next start",
        );
    }
    match (others, own) {
        (0, 0) => Finding::ok(CHECK, format!("{place}: free")),
        (0, _) => Finding::ok(CHECK, format!("{place}: {order}")),
        (_, 0) => Finding::ok(CHECK, format!("{place}: {order}; tcpwatch goes first")),
        (..) => Finding::ok(CHECK, format!("{place}, in this order: {order}")),
    }
}

fn run(count: usize) -> &'static str {
    if count == 1 { "it runs" } else { "they run" }
}

/// Those that a classic filter of ours cannot be put before.
fn before_us(classic: &[Filter], tcx: usize) -> Vec<String> {
    let mut before: Vec<String> = (0..tcx).map(|_| "tcx".to_owned()).collect();
    let first = classic
        .iter()
        .filter(|filter| !filter.is_ours)
        .take_while(|filter| filter.priority == 1 && !filter.is_bpf);
    before.extend(first.map(|filter| filter.name.clone()));
    before
}
