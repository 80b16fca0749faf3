//! The kernel part of tcpwatch alone: its programs run on single packets by BPF_PROG_TEST_RUN, its tables drained.

use std::collections::BTreeSet;
use std::net::IpAddr;

use aya::programs::{TestRun as _, TestRunOptions};
use tcpwatch::kernel::attach::{Direction, LinkLayer};
use tcpwatch::kernel::capacity::Capacity;
use tcpwatch::kernel::drain::{CounterSource as _, Drain};
use tcpwatch::kernel::load::{self, Programs};
use tcpwatch::kernel::policy::{PolicySet, to_address};
use tcpwatch::kernel::tables::KernelTables;
use tcpwatch::tally::Drained;
use tcpwatch_common::SourceKey;

use crate::command;
use crate::faulty::{Fault, Faulty};

/// The interface that the kernel has test packets leave through, unless it is told another: loopback.
pub const LOOPBACK: u32 = 1;

/// Loads the programs and their empty tables.
///
/// # Panics
///
/// Without root, or when the kernel refuses.
pub fn load(destinations: u32, bans: u32) -> (Programs, KernelTables) {
    load_with(Capacity {
        slots: None,
        spill: destinations,
        bans,
        samples: 0,
    })
}

/// Loads the programs and empty tables of these sizes.
///
/// # Panics
///
/// Without root, or when the kernel refuses.
pub fn load_with(capacity: Capacity) -> (Programs, KernelTables) {
    command::require_root();
    load::load(capacity).expect("the kernel takes the programs")
}

/// A policy of own sources on one interface and banned prefixes.
///
/// # Panics
///
/// When one of the literals is neither address nor prefix.
pub fn policy(ifindex: u32, sources: &[&str], bans: &[&str]) -> PolicySet {
    let sources: BTreeSet<SourceKey> = sources
        .iter()
        .map(|text| text.parse::<IpAddr>().expect("a literal address"))
        .map(|address| SourceKey {
            address: to_address(address),
            ifindex,
        })
        .collect();
    let bans = bans
        .iter()
        .map(|text| text.parse().expect("a literal prefix"))
        .collect();
    PolicySet {
        any_source: false,
        sources,
        bans,
        ..PolicySet::default()
    }
}

/// What a test sets of the socket buffer (`struct __sk_buff`); zero leaves it to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skb {
    /// The interface the packet leaves through; zero: loopback.
    pub ifindex: u32,
    /// Bytes on the wire, headers of every segment included; zero: the packet's own length.
    pub wire_len: u32,
    /// Number of segments.
    pub gso_segs: u32,
    /// Payload bytes of a segment.
    pub gso_size: u32,
}

impl Skb {
    /// The kernel's form. The fields lie where linux/bpf.h has them; it wants zero in all that may not be set.
    pub fn context(self) -> [u8; 192] {
        let mut context = [0; 192];
        for (at, value) in [
            (40, self.ifindex),
            (160, self.wire_len),
            (164, self.gso_segs),
            (176, self.gso_size),
        ] {
            context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        context
    }
}

/// What a program run yields besides its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What the program returned.
    pub returned: i32,
    /// The packet after the run.
    pub packet: Vec<u8>,
}

/// Runs the program for `layer` once on `packet`.
///
/// # Panics
///
/// When the kernel refuses packet or context.
#[track_caller]
pub fn run(programs: &mut Programs, layer: LinkLayer, packet: &[u8], skb: Skb) -> Run {
    let context = skb.context();
    let mut out = vec![0; packet.len() + 256];
    let options = TestRunOptions {
        data_in: Some(packet),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    };
    let program = programs
        .get_mut(layer, Direction::Egress)
        .expect("the object has it");
    let result = match program.test_run(options) {
        Ok(result) => result,
        Err(error) => panic!(
            "BPF_PROG_TEST_RUN with {} bytes and {skb:?}: {error:?}",
            packet.len()
        ),
    };
    out.truncate(result.data_size_out as usize);
    Run {
        returned: result.return_value.cast_signed(),
        packet: out,
    }
}

/// Runs the program for Ethernet `times` times on `packet`, within one system call.
///
/// # Panics
///
/// When the kernel does not do all of them.
#[track_caller]
pub fn run_often(programs: &mut Programs, packet: &[u8], times: u32) {
    run_often_as(programs, packet, Skb::default(), times);
}

/// The same with other fields of the socket buffer.
///
/// # Panics
///
/// When the kernel does not do all of them.
#[track_caller]
pub fn run_often_as(programs: &mut Programs, packet: &[u8], skb: Skb, times: u32) {
    let context = skb.context();
    let options = TestRunOptions {
        data_in: Some(packet),
        // Without a context the kernel leaves the wire length at zero.
        ctx_in: Some(&context),
        repeat: times,
        ..TestRunOptions::new()
    };
    let program = programs
        .get_mut(LinkLayer::Ethernet, Direction::Egress)
        .expect("the object has it");
    program.test_run(options).expect("every run is done");
}

/// The programs with their tables, for single packets.
pub struct Counter {
    programs: Programs,
    drain: Drain<Faulty>,
}

impl Counter {
    /// Loads everything with `policy` in force.
    ///
    /// # Panics
    ///
    /// Without root, or when the kernel refuses.
    pub fn new(policy: PolicySet) -> Self {
        Self::with(
            Capacity {
                slots: None,
                spill: 1024,
                bans: 64,
                samples: 0,
            },
            policy,
        )
    }

    /// The same with tables of these sizes.
    ///
    /// # Panics
    ///
    /// Without root, or when the kernel refuses.
    pub fn with(capacity: Capacity, policy: PolicySet) -> Self {
        Self::over(load_with(capacity), policy)
    }

    /// The same with programs and tables that were loaded already.
    ///
    /// # Panics
    ///
    /// When the kernel refuses the policy.
    pub fn over((programs, tables): (Programs, KernelTables), policy: PolicySet) -> Self {
        Self {
            programs,
            drain: Drain::new(Faulty::new(tables, Fault::None), policy).expect("the policy is installed"),
        }
    }

    /// Runs the program for `layer` on `packet`; counts stay until the next drain.
    ///
    /// # Panics
    ///
    /// When the kernel refuses packet or context.
    #[track_caller]
    pub fn run(&mut self, layer: LinkLayer, packet: &[u8], skb: Skb) -> Run {
        run(&mut self.programs, layer, packet, skb)
    }

    /// Runs the program for Ethernet `times` times on `packet`, within one system call.
    ///
    /// # Panics
    ///
    /// When the kernel does not do all of them.
    #[track_caller]
    pub fn run_often(&mut self, packet: &[u8], skb: Skb, times: u32) {
        run_often_as(&mut self.programs, packet, skb, times);
    }

    /// What the drains so far have seen of the ways of packets.
    pub fn tables(&mut self) -> &Faulty {
        self.drain.tables()
    }

    /// Everything counted since the drain before.
    ///
    /// # Panics
    ///
    /// When that fails.
    #[track_caller]
    pub fn drain(&mut self) -> Drained {
        self.drain.drain().expect("the tables can be drained").drained
    }

    /// The same, with books that balance.
    ///
    /// # Panics
    ///
    /// When it fails, or when they do not.
    #[track_caller]
    pub fn drain_balanced(&mut self) -> Drained {
        let drained = self.drain();
        assert_eq!(drained.imbalance(), None);
        drained
    }

    /// Makes `policy` hold from the next drain on.
    pub fn set_policy(&mut self, policy: PolicySet) {
        self.drain.set_policy(policy);
    }
}
