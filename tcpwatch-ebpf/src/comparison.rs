//! What `cargo xtask bench` compares with: nothing at all, the counter that one would write first, and the hash map that is
//! usually recommended in its place.

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the macro that declares a program passes the context so"
)]
#![allow(internal_features, reason = "see atomic.rs")]
#![allow(
    missing_docs,
    reason = "the macro that declares a program adds undocumented items"
)]

mod atomic;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST, TC_ACT_UNSPEC};
use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::{HashMap, PerCpuHashMap};
use aya_ebpf::programs::TcContext;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::Ipv4Hdr;
use tcpwatch_common::Counts;

#[map]
static SOURCES: HashMap<[u8; 4], u8> = HashMap::with_max_entries(256, 0);
#[map]
static BANS: HashMap<[u8; 4], u8> = HashMap::with_max_entries(16_384, 0);
#[map]
static DESTINATIONS: HashMap<[u8; 4], Counts> = HashMap::with_max_entries(262_144, 0);
#[map]
static PER_CPU_DESTINATIONS: PerCpuHashMap<[u8; 4], Counts> = PerCpuHashMap::with_max_entries(262_144, 0);

/// What calling any program costs.
#[classifier]
pub fn empty(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// IPv4 only: is the source ours, is the destination banned, add to one hash map that all CPUs share.
#[classifier]
pub fn naive(ctx: TcContext) -> i32 {
    let Some(ip) = ipv4(&ctx) else {
        return TC_ACT_UNSPEC;
    };
    if SOURCES.get_ptr(ip.src_addr).is_none() || BANS.get_ptr(ip.dst_addr).is_some() {
        return TC_ACT_UNSPEC;
    }
    let bytes = wire_bytes(&ctx);
    match DESTINATIONS.get_ptr_mut(ip.dst_addr) {
        Some(counts) => {
            // SAFETY: points to a map value, whose two words are 8-byte aligned.
            unsafe {
                atomic::add(&raw mut (*counts).packets, 1);
                atomic::add(&raw mut (*counts).bytes, bytes);
            }
        }
        None => {
            // A full map is not this program's concern.
            DESTINATIONS
                .insert(ip.dst_addr, Counts { packets: 1, bytes }, u64::from(BPF_NOEXIST))
                .unwrap_or(());
        }
    }
    TC_ACT_UNSPEC
}

/// IPv4 only: adds to the destination's entry in a hash map that has a value for each CPU, without atomics, which is sound
/// because the hook runs with bottom halves disabled. It asks neither whether the source is ours nor whether the destination
/// is banned: the least that a counter with a hash map can do.
#[classifier]
pub fn percpu(ctx: TcContext) -> i32 {
    let Some(ip) = ipv4(&ctx) else {
        return TC_ACT_UNSPEC;
    };
    let bytes = wire_bytes(&ctx);
    match PER_CPU_DESTINATIONS.get_ptr_mut(ip.dst_addr) {
        Some(counts) => {
            // SAFETY: points to this CPU's value, which nothing else writes while the program runs.
            unsafe {
                (*counts).packets += 1;
                (*counts).bytes += bytes;
            }
        }
        None => {
            // A full map is not this program's concern.
            PER_CPU_DESTINATIONS
                .insert(ip.dst_addr, Counts { packets: 1, bytes }, u64::from(BPF_NOEXIST))
                .unwrap_or(());
        }
    }
    TC_ACT_UNSPEC
}

/// The IPv4 header, where the frame has one and it lies in the linear part.
#[inline(always)]
fn ipv4(ctx: &TcContext) -> Option<Ipv4Hdr> {
    let start = ctx.data();
    if start + EthHdr::LEN + Ipv4Hdr::LEN > ctx.data_end() {
        return None;
    }
    // SAFETY: both headers lie inside the packet by the line above.
    let (ethernet, ip) = unsafe {
        (
            (start as *const EthHdr).read_unaligned(),
            ((start + EthHdr::LEN) as *const Ipv4Hdr).read_unaligned(),
        )
    };
    (ethernet.ether_type == EtherType::Ipv4 as u16).then_some(ip)
}

/// Bytes on the wire, the headers of every segment included.
#[inline(always)]
fn wire_bytes(ctx: &TcContext) -> u64 {
    // SAFETY: a context field; the verifier turns it into a load from the socket buffer.
    u64::from(unsafe { (*ctx.as_ptr().cast::<__sk_buff>()).wire_len })
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
