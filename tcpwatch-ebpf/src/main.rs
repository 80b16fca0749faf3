//! Entry points of the egress program, one for each kind of device, and each once more for PREEMPT_RT kernels. All let the
//! packet through untouched.

#![no_std]
#![no_main]
#![feature(core_intrinsics, asm_experimental_arch)]
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
mod count;
mod fast;
mod front;
mod maps;
mod parse;
mod spill;

use aya_ebpf::bindings::TC_ACT_UNSPEC;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

use crate::fast::Done;
use crate::parse::{Parsed, Slot, ethernet, raw_ip};

/// For devices whose frames begin with an Ethernet header.
#[classifier]
pub fn tcpwatch_l2(ctx: TcContext) -> i32 {
    let unsettled = match fast::ethernet(&ctx) {
        Done::Counted => return TC_ACT_UNSPEC,
        Done::Full(word) => word,
        Done::No => match long_l2::<false>(&ctx) {
            OUT_OF_REACH => copying_l2::<false>(&ctx),
            unsettled => unsettled,
        },
    };
    if unsettled != 0 {
        settle_l2(&ctx, unsettled);
    }
    // Any other value would end the chain for the programs behind us (net/core/dev.c, tcx_run()).
    TC_ACT_UNSPEC
}

/// For devices whose packets begin with the IP header: tun, WireGuard, PPP.
#[classifier]
pub fn tcpwatch_l3(ctx: TcContext) -> i32 {
    let unsettled = match fast::raw_ip(&ctx) {
        Done::Counted => return TC_ACT_UNSPEC,
        Done::Full(word) => word,
        Done::No => match long_l3::<false>(&ctx) {
            OUT_OF_REACH => copying_l3::<false>(&ctx),
            unsettled => unsettled,
        },
    };
    if unsettled != 0 {
        settle_l3(&ctx, unsettled);
    }
    TC_ACT_UNSPEC
}

/// As `tcpwatch_l2`, where tasks can interrupt each other inside the hook.
#[classifier]
pub fn tcpwatch_l2_rt(ctx: TcContext) -> i32 {
    if long_l2::<true>(&ctx) == OUT_OF_REACH {
        copying_l2::<true>(&ctx);
    }
    TC_ACT_UNSPEC
}

/// As `tcpwatch_l3`, where tasks can interrupt each other inside the hook.
#[classifier]
pub fn tcpwatch_l3_rt(ctx: TcContext) -> i32 {
    if long_l3::<true>(&ctx) == OUT_OF_REACH {
        copying_l3::<true>(&ctx);
    }
    TC_ACT_UNSPEC
}

/// Answer of the long way, which has done nothing: a header must be copied to be read. No word of a CPU has this value, as
/// its lower half is the number of a set.
const OUT_OF_REACH: u64 = u64::MAX;

// The long way is a function of its own, so that the short way stays short, and its rare part once more: where a header is out
// of reach. Side by side, not one inside the other: the kernel's stack for programs has 512 bytes. Each answers with the
// word of a generation whose front table must be seen to, or 0.
#[inline(never)]
fn long_l2<const RT: bool>(ctx: &TcContext) -> u64 {
    match ethernet::<true>(ctx, &mut Slot::uninit()) {
        Parsed::OutOfReach => OUT_OF_REACH,
        parsed => count::packet::<RT>(ctx, parsed),
    }
}

#[inline(never)]
fn long_l3<const RT: bool>(ctx: &TcContext) -> u64 {
    match raw_ip::<true>(ctx, &mut Slot::uninit()) {
        Parsed::OutOfReach => OUT_OF_REACH,
        parsed => count::packet::<RT>(ctx, parsed),
    }
}

#[inline(never)]
fn copying_l2<const RT: bool>(ctx: &TcContext) -> u64 {
    count::packet::<RT>(ctx, ethernet::<false>(ctx, &mut Slot::uninit()))
}

#[inline(never)]
fn copying_l3<const RT: bool>(ctx: &TcContext) -> u64 {
    count::packet::<RT>(ctx, raw_ip::<false>(ctx, &mut Slot::uninit()))
}

#[inline(never)]
fn settle_l2(ctx: &TcContext, word: u64) {
    count::settle(ethernet::<false>(ctx, &mut Slot::uninit()), word);
}

#[inline(never)]
fn settle_l3(ctx: &TcContext, word: u64) {
    count::settle(raw_ip::<false>(ctx, &mut Slot::uninit()), word);
}

// A panic that is left in the object is refused by the verifier (an endless loop) instead of being undefined.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// What the kernel asks for: some helpers are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
