//! What `cargo xtask bench` compares with: nothing at all, and the counter that one would write first.

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
use aya_ebpf::maps::HashMap;
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

/// What calling any program costs.
#[classifier]
pub fn empty(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// IPv4 only: is the source ours, is the destination banned, add to one hash map that all CPUs share.
#[classifier]
pub fn naive(ctx: TcContext) -> i32 {
    let start = ctx.data();
    if start + EthHdr::LEN + Ipv4Hdr::LEN > ctx.data_end() {
        return TC_ACT_UNSPEC;
    }
    // SAFETY: both headers lie inside the packet by the line above.
    let (ethernet, ip) = unsafe {
        (
            (start as *const EthHdr).read_unaligned(),
            ((start + EthHdr::LEN) as *const Ipv4Hdr).read_unaligned(),
        )
    };
    if ethernet.ether_type != EtherType::Ipv4 as u16
        || SOURCES.get_ptr(ip.src_addr).is_none()
        || BANS.get_ptr(ip.dst_addr).is_some()
    {
        return TC_ACT_UNSPEC;
    }
    // SAFETY: a context field; the verifier turns it into a load from the socket buffer.
    let bytes = u64::from(unsafe { (*ctx.as_ptr().cast::<__sk_buff>()).wire_len });
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

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
