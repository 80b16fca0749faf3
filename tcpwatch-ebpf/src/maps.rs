//! The kernel tables. Everything that a packet writes exists once per generation.
//!
//! `max_entries` here are the smallest useful sizes; the daemon sets the real ones before it loads the object.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray};
use tcpwatch_common::{
    Address, Counts, FlowKey, GENERATIONS, OUTCOMES, Policy, SOURCES_ROOM, Seen, SourceKey,
};

/// The generation that is written now: 0 or 1. Read once per packet.
#[map]
pub static GENERATION: Array<u64> = Array::with_max_entries(1, 0);

/// Per generation: what holds for its packets. Written only while the generation is the spare one.
#[map]
pub static POLICY: Array<Policy> = Array::with_max_entries(GENERATIONS as u32, 0);

/// Per generation and CPU: every packet once.
#[map]
pub static SEEN: PerCpuArray<Seen> = PerCpuArray::with_max_entries(GENERATIONS as u32, 0);

/// Per generation, outcome and CPU: every packet once more, in exactly one of them. Entries of their own, not an array in
/// one value: the verifier lets a pointer into a value move by a variable only with CAP_PERFMON.
#[map]
pub static OUTCOME: PerCpuArray<Counts> = PerCpuArray::with_max_entries((GENERATIONS * OUTCOMES) as u32, 0);

macro_rules! side {
    ($destinations:ident, $sources:ident, $bans:ident, $ban_counts:ident) => {
        #[map]
        pub static $destinations: HashMap<FlowKey, Counts> = HashMap::with_max_entries(1, 0);
        #[map]
        pub static $sources: HashMap<SourceKey, u8> =
            HashMap::with_max_entries(SOURCES_ROOM, BPF_F_NO_PREALLOC);
        // Value: index into the ban counters of the same generation, and BAN_IPV6.
        #[map]
        pub static $bans: LpmTrie<Address, u32> = LpmTrie::with_max_entries(1, 0);
        #[map]
        pub static $ban_counts: Array<Counts> = Array::with_max_entries(1, 0);
    };
}

side!(DESTINATIONS_0, SOURCES_0, BANS_0, BAN_COUNTS_0);
side!(DESTINATIONS_1, SOURCES_1, BANS_1, BAN_COUNTS_1);

/// The tables of one generation.
pub struct Side {
    pub destinations: &'static HashMap<FlowKey, Counts>,
    pub sources: &'static HashMap<SourceKey, u8>,
    pub bans: &'static LpmTrie<Address, u32>,
    pub ban_counts: &'static Array<Counts>,
}

pub const SIDE_0: Side = Side {
    destinations: &DESTINATIONS_0,
    sources: &SOURCES_0,
    bans: &BANS_0,
    ban_counts: &BAN_COUNTS_0,
};
pub const SIDE_1: Side = Side {
    destinations: &DESTINATIONS_1,
    sources: &SOURCES_1,
    bans: &BANS_1,
    ban_counts: &BAN_COUNTS_1,
};
