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
use crate::parse::{Parsed, Slot};

/// For devices whose frames begin with an Ethernet header.
#[classifier]
pub fn tcpwatch_l2(ctx: TcContext) -> i32 {
    finish::<true>(&ctx, fast::ethernet(&ctx))
}

/// For devices whose packets begin with the IP header: tun, WireGuard, PPP.
#[classifier]
pub fn tcpwatch_l3(ctx: TcContext) -> i32 {
    finish::<false>(&ctx, fast::raw_ip(&ctx))
}

/// As `tcpwatch_l2`, where tasks can interrupt each other inside the hook.
#[classifier]
pub fn tcpwatch_l2_rt(ctx: TcContext) -> i32 {
    long_way::<true, true>(&ctx);
    TC_ACT_UNSPEC
}

/// As `tcpwatch_l3`, where tasks can interrupt each other inside the hook.
#[classifier]
pub fn tcpwatch_l3_rt(ctx: TcContext) -> i32 {
    long_way::<false, true>(&ctx);
    TC_ACT_UNSPEC
}

/// Does what the short way has left.
#[inline(always)]
fn finish<const ETHERNET: bool>(ctx: &TcContext, done: Done) -> i32 {
    let unsettled = match done {
        Done::Counted => return TC_ACT_UNSPEC,
        Done::Full(word) => word,
        Done::No => long_way::<ETHERNET, false>(ctx),
    };
    if unsettled != 0 {
        settle::<ETHERNET>(ctx, unsettled);
    }
    // Any other value would end the chain for the programs behind us (net/core/dev.c, tcx_run()).
    TC_ACT_UNSPEC
}

/// Answers with the word of a generation whose front table must be seen to, or 0.
#[inline(always)]
fn long_way<const ETHERNET: bool, const RT: bool>(ctx: &TcContext) -> u64 {
    match direct::<ETHERNET, RT>(ctx) {
        OUT_OF_REACH => copying::<ETHERNET, RT>(ctx),
        unsettled => unsettled,
    }
}

/// Answer of `direct`, which has done nothing: a header must be copied to be read. No word of a CPU has this value, as its lower
/// half is the number of a set.
const OUT_OF_REACH: u64 = u64::MAX;

// The long way's parts are functions of their own, so that the short way stays short. Side by side, not one inside the other: the
// kernel's stack for programs has 512 bytes.
#[inline(never)]
fn direct<const ETHERNET: bool, const RT: bool>(ctx: &TcContext) -> u64 {
    match parse::<ETHERNET, true>(ctx, &mut Slot::uninit()) {
        Parsed::OutOfReach => OUT_OF_REACH,
        parsed => count::packet::<RT>(ctx, parsed),
    }
}

#[inline(never)]
fn copying<const ETHERNET: bool, const RT: bool>(ctx: &TcContext) -> u64 {
    count::packet::<RT>(ctx, parse::<ETHERNET, false>(ctx, &mut Slot::uninit()))
}

#[inline(never)]
fn settle<const ETHERNET: bool>(ctx: &TcContext, word: u64) {
    count::settle(parse::<ETHERNET, false>(ctx, &mut Slot::uninit()), word);
}

#[inline(always)]
fn parse<'k, const ETHERNET: bool, const DIRECT: bool>(ctx: &TcContext, slot: &'k mut Slot) -> Parsed<'k> {
    if ETHERNET {
        parse::ethernet::<DIRECT>(ctx, slot)
    } else {
        parse::raw_ip::<DIRECT>(ctx, slot)
    }
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
