//! The kernel tables. Everything that a packet writes exists once per generation.
//!
//! `max_entries` here are the smallest useful sizes; the daemon sets the real ones before it loads the object.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, RingBuf};
use tcpwatch_common::front::{BesideSet, Cpu, SOURCE_NUMBERS, Set4, Set6};
use tcpwatch_common::names::{FLOWS as FLOWS_ROOM, FlowId, FlowState};
use tcpwatch_common::own::{PLACES, Source4, Source6};
use tcpwatch_common::ports::{ALL_GROUPS, PortGroup};
use tcpwatch_common::{Address, Counts, FlowKey, GENERATIONS, Policy, SOURCES_ROOM, SourceKey, Traffic};

const ALL_PLACES: u32 = PLACES * GENERATIONS as u32;

/// By the number of the CPU: where it counts, and its totals. The daemon maps it.
#[map]
pub static CPUS: Array<Cpu> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Front table of IPv4 destinations: a region for each CPU and generation. The daemon maps it.
#[map]
pub static FRONT4: Array<Set4> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Front table of IPv6 destinations, with the same regions. The daemon maps it.
#[map]
pub static FRONT6: Array<Set6> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What is beside the slots of [`FRONT4`], with its sets. The daemon maps it.
#[map]
pub static BESIDE4: Array<BesideSet> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The same for [`FRONT6`].
#[map]
pub static BESIDE6: Array<BesideSet> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Own IPv4 sources: by generation, each in the place that its hash says. The daemon maps it.
#[map]
pub static OWN4: Array<Source4> = Array::with_max_entries(ALL_PLACES, BPF_F_MMAPABLE);

/// The same for IPv6.
#[map]
pub static OWN6: Array<Source6> = Array::with_max_entries(ALL_PLACES, BPF_F_MMAPABLE);

/// Local ports, by generation and protocol. The daemon maps it.
#[map]
pub static PORTS: Array<PortGroup> = Array::with_max_entries(ALL_GROUPS, BPF_F_MMAPABLE);

/// TCP connections that have just begun, and questions to name servers.
#[map]
pub static FLOWS: LruHashMap<FlowId, FlowState> = LruHashMap::with_max_entries(FLOWS_ROOM, 0);

/// QUIC connections that have just begun: apart, so that questions and other connections, however many, change no count.
#[map]
pub static QUIC_FLOWS: LruHashMap<FlowId, FlowState> = LruHashMap::with_max_entries(FLOWS_ROOM, 0);

/// Samples of names for the daemon, which makes it larger where it wants them.
#[map]
pub static SAMPLES: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Wakes the daemon, before the time at which it looks by itself.
#[map]
pub static BELL: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Per generation: what holds for its packets. Written only while the generation is the spare one.
#[map]
pub static POLICY: Array<Policy> = Array::with_max_entries(GENERATIONS as u32, 0);

macro_rules! side {
    ($spill:ident, $sources:ident, $numbers:ident, $bans:ident, $ban_counts:ident) => {
        #[map]
        pub static $spill: HashMap<FlowKey, Traffic> = HashMap::with_max_entries(1, 0);
        // Value: the upper half of the source's tag; 0: it has none.
        #[map]
        pub static $sources: HashMap<SourceKey, u32> =
            HashMap::with_max_entries(SOURCES_ROOM, BPF_F_NO_PREALLOC);
        #[map]
        pub static $numbers: Array<SourceKey> = Array::with_max_entries(SOURCE_NUMBERS, 0);
        // Value: index into the ban counters of the same generation, and BAN_IPV6.
        #[map]
        pub static $bans: LpmTrie<Address, u32> = LpmTrie::with_max_entries(1, 0);
        #[map]
        pub static $ban_counts: Array<Counts> = Array::with_max_entries(1, 0);
    };
}

side!(SPILL_0, SOURCES_0, NUMBERS_0, BANS_0, BAN_COUNTS_0);
side!(SPILL_1, SOURCES_1, NUMBERS_1, BANS_1, BAN_COUNTS_1);

/// The tables of one generation that are asked on the long way.
pub struct Side {
    pub spill: &'static HashMap<FlowKey, Traffic>,
    pub sources: &'static HashMap<SourceKey, u32>,
    /// What has each number.
    pub numbers: &'static Array<SourceKey>,
    pub bans: &'static LpmTrie<Address, u32>,
    pub ban_counts: &'static Array<Counts>,
}

pub const SIDE_0: Side = Side {
    spill: &SPILL_0,
    sources: &SOURCES_0,
    numbers: &NUMBERS_0,
    bans: &BANS_0,
    ban_counts: &BAN_COUNTS_0,
};
pub const SIDE_1: Side = Side {
    spill: &SPILL_1,
    sources: &SOURCES_1,
    numbers: &NUMBERS_1,
    bans: &BANS_1,
    ban_counts: &BAN_COUNTS_1,
};
