//! What is attached to an interface's egress and ingress, and programs of other people to stand beside ours.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use aya::programs::SchedClassifier;
use aya::programs::tc::TcAttachType;

use crate::namespace::Namespace;

const BPF_PROG_LOAD: i64 = 5;
const BPF_PROG_QUERY: i64 = 16;
const BPF_LINK_GET_FD_BY_ID: i64 = 30;
const BPF_LINK_DETACH: i64 = 34;
const BPF_LINK_CREATE: i64 = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_TCX_EGRESS: u32 = 47;
const BPF_F_BEFORE: u32 = 1 << 3;

/// The names of the programs attached by TCX to `interface`, in the order in which they run.
///
/// # Panics
///
/// When there is no such interface.
#[track_caller]
pub fn tcx_programs(namespace: &Namespace, interface: &str) -> Vec<String> {
    tcx_programs_at(namespace, interface, TcAttachType::Egress)
}

/// The same of packets that arrive.
///
/// # Panics
///
/// When there is no such interface.
#[track_caller]
pub fn tcx_ingress_programs(namespace: &Namespace, interface: &str) -> Vec<String> {
    tcx_programs_at(namespace, interface, TcAttachType::Ingress)
}

#[track_caller]
fn tcx_programs_at(namespace: &Namespace, interface: &str, side: TcAttachType) -> Vec<String> {
    let (_, programs) = namespace
        .within(|| SchedClassifier::query_tcx(interface, side))
        .expect("the interface can be asked for its programs");
    programs
        .iter()
        .map(|program| program.name_as_str().expect("names are ASCII").to_owned())
        .collect()
}

/// The filters on the egress side of clsact, as `tc` shows them; empty without any.
///
/// # Panics
///
/// When there is no such interface.
#[track_caller]
pub fn clsact_filters(namespace: &Namespace, interface: &str) -> String {
    clsact_filters_at(namespace, interface, "egress")
}

/// The same of packets that arrive.
///
/// # Panics
///
/// When there is no such interface.
#[track_caller]
pub fn clsact_ingress_filters(namespace: &Namespace, interface: &str) -> String {
    clsact_filters_at(namespace, interface, "ingress")
}

#[track_caller]
fn clsact_filters_at(namespace: &Namespace, interface: &str, side: &str) -> String {
    if has_clsact(namespace, interface) {
        namespace.run(&format!("tc filter show dev {interface} {side}"))
    } else {
        String::new()
    }
}

/// Whether the interface has a clsact qdisc.
///
/// # Panics
///
/// When there is no such interface.
#[track_caller]
pub fn has_clsact(namespace: &Namespace, interface: &str) -> bool {
    namespace
        .run(&format!("tc qdisc show dev {interface}"))
        .contains("clsact")
}

/// Asserts that nothing at all is attached to the interface.
///
/// # Panics
///
/// When something is.
#[track_caller]
pub fn assert_bare(namespace: &Namespace, interface: &str) {
    assert_eq!(
        tcx_programs(namespace, interface),
        Vec::<String>::new(),
        "TCX programs on {interface}"
    );
    assert_eq!(
        tcx_ingress_programs(namespace, interface),
        Vec::<String>::new(),
        "TCX programs on the ingress of {interface}"
    );
    assert_eq!(
        clsact_filters(namespace, interface),
        "",
        "clsact filters on {interface}"
    );
    assert_eq!(
        clsact_ingress_filters(namespace, interface),
        "",
        "clsact filters on the ingress of {interface}"
    );
}

/// What a foreign program does with every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Lets the next program see it (`TCX_NEXT`).
    Next,
    /// Sends it off without asking any further program (`TCX_PASS`).
    Pass,
    /// Puts an 802.1Q tag on it, then lets the next program see it.
    TagVlan,
}

/// Where a foreign program goes among those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before all others.
    First,
    /// After all others.
    Last,
}

/// Somebody else's program on a TCX hook; detached when dropped.
#[derive(Debug)]
pub struct Foreign {
    _program: OwnedFd,
    _link: OwnedFd,
}

impl Foreign {
    /// Loads a program called `name` and attaches it to the egress of `interface`.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    #[track_caller]
    pub fn attach(
        namespace: &Namespace,
        interface: &str,
        name: &str,
        verdict: Verdict,
        place: Place,
    ) -> Self {
        let program = load(name, verdict);
        let mut request = Attributes::default();
        request.put(0, raw(&program));
        request.put(4, interface_index(namespace, interface));
        request.put(8, BPF_TCX_EGRESS);
        request.put(12, if place == Place::First { BPF_F_BEFORE } else { 0 });
        let link = namespace
            .within(|| request.call(BPF_LINK_CREATE))
            .expect("the program attaches");
        Self {
            _program: program,
            _link: link,
        }
    }
}

/// Detaches the first link on the egress of `interface`, as somebody with the right to do so may.
///
/// # Panics
///
/// When there is none.
#[track_caller]
pub fn detach_first(namespace: &Namespace, interface: &str) {
    let mut programs = [0_u32; 64];
    let mut links = [0_u32; 64];
    let mut query = Attributes::default();
    query.put(0, interface_index(namespace, interface));
    query.put(4, BPF_TCX_EGRESS);
    query.put_pointer(16, programs.as_mut_ptr() as u64);
    query.put(24, 64);
    query.put_pointer(40, links.as_mut_ptr() as u64);
    namespace
        .within(|| query.perform(BPF_PROG_QUERY))
        .expect("the hook can be asked");
    // The kernel has written into it.
    let first = std::hint::black_box(links)[0];
    assert_ne!(first, 0, "a link is on the hook");
    let mut by_id = Attributes::default();
    by_id.put(0, first);
    let link = by_id.call(BPF_LINK_GET_FD_BY_ID).expect("the link is there");
    let mut detach = Attributes::default();
    detach.put(0, raw(&link));
    detach.perform(BPF_LINK_DETACH).expect("it is detached");
}

fn interface_index(namespace: &Namespace, interface: &str) -> u32 {
    let text = namespace.run(&format!("cat /sys/class/net/{interface}/ifindex"));
    text.trim().parse().expect("an index is a number")
}

/// Loads a program of a few instructions.
fn load(name: &str, verdict: Verdict) -> OwnedFd {
    const MOV_R0: u64 = 0xb7;
    const MOV_R2: u64 = 0x02b7;
    const MOV_R3: u64 = 0x03b7;
    const CALL: u64 = 0x85;
    const EXIT: u64 = 0x95;
    const SKB_VLAN_PUSH: u64 = 18;
    let with = |operation: u64, immediate: u64| operation | immediate << 32;

    let mut code = Vec::new();
    if verdict == Verdict::TagVlan {
        code.push(with(MOV_R2, u64::from(0x8100_u16.to_be())));
        code.push(with(MOV_R3, 5));
        code.push(with(CALL, SKB_VLAN_PUSH));
    }
    let returned = if verdict == Verdict::Pass {
        0
    } else {
        u64::from(u32::MAX)
    };
    code.extend([with(MOV_R0, returned), EXIT]);

    let licence = c"GPL";
    let mut request = Attributes::default();
    request.put(0, BPF_PROG_TYPE_SCHED_CLS);
    request.put(4, u32::try_from(code.len()).expect("a few instructions"));
    request.put_pointer(8, code.as_ptr() as u64);
    request.put_pointer(16, licence.as_ptr() as u64);
    request.bytes[48..48 + name.len()].copy_from_slice(name.as_bytes());
    request.call(BPF_PROG_LOAD).expect("the program loads")
}

fn raw(descriptor: &OwnedFd) -> u32 {
    u32::try_from(descriptor.as_raw_fd()).expect("an open descriptor is not negative")
}

/// `union bpf_attr`, filled by byte offsets (linux/bpf.h); what is not filled is zero.
struct Attributes {
    bytes: [u8; 128],
}

impl Default for Attributes {
    fn default() -> Self {
        Self { bytes: [0; 128] }
    }
}

impl Attributes {
    fn put(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn put_pointer(&mut self, at: usize, value: u64) {
        self.bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }

    /// A call that yields nothing but success.
    fn perform(&self, command: i64) -> io::Result<()> {
        // SAFETY: as for `call`; what the kernel fills are the caller's arrays, which outlive the call.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.bytes.as_ptr(), self.bytes.len()) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// A call that yields a descriptor.
    fn call(&self, command: i64) -> io::Result<OwnedFd> {
        // SAFETY: the kernel reads as many bytes as it is told; the pointers in them are those of the caller, whose
        // buffers outlive the call.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.bytes.as_ptr(), self.bytes.len()) };
        let descriptor = i32::try_from(result).ok().filter(|descriptor| *descriptor >= 0);
        match descriptor {
            // SAFETY: the kernel has just opened it for us, and nothing else owns it.
            Some(descriptor) => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
            None => Err(io::Error::last_os_error()),
        }
    }
}
