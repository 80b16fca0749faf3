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

mod add;
mod atomic;
mod bell;
mod count;
mod cpu;
mod fast;
mod find;
mod front;
mod maps;
mod names;
mod opaque;
mod parse;
mod settle;
mod spill;
mod spot;
mod transport;
mod verdict;

use aya_ebpf::bindings::TC_ACT_UNSPEC;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use network_types::eth::EthHdr;

use crate::count::{LOOK, SETTLE};
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
    see_to::<true>(&ctx, long_way::<true, true>(&ctx));
    TC_ACT_UNSPEC
}

/// As `tcpwatch_l3`, where tasks can interrupt each other inside the hook.
#[classifier]
pub fn tcpwatch_l3_rt(ctx: TcContext) -> i32 {
    see_to::<false>(&ctx, long_way::<false, true>(&ctx));
    TC_ACT_UNSPEC
}

/// For what comes in by devices with an Ethernet header: looks at name servers' answers.
#[classifier]
pub fn tcpwatch_l2_in(ctx: TcContext) -> i32 {
    if names::dns::may_answer::<{ EthHdr::LEN }>(&ctx) {
        incoming::<true>(&ctx);
    }
    TC_ACT_UNSPEC
}

/// As `tcpwatch_l2_in`, for devices whose packets begin with the IP header.
#[classifier]
pub fn tcpwatch_l3_in(ctx: TcContext) -> i32 {
    if names::dns::may_answer::<0>(&ctx) {
        incoming::<false>(&ctx);
    }
    TC_ACT_UNSPEC
}

/// Does what the short way has left.
#[inline(always)]
fn finish<const ETHERNET: bool>(ctx: &TcContext, done: Done) -> i32 {
    match done {
        Done::Counted => {}
        Done::Full(word) => see_to::<ETHERNET>(ctx, word | SETTLE),
        Done::No => see_to::<ETHERNET>(ctx, long_way::<ETHERNET, false>(ctx)),
    }
    // Any other value would end the chain for the programs behind us (net/core/dev.c, tcx_run()).
    TC_ACT_UNSPEC
}

/// Does what is left to be done when the packet has been counted.
#[inline(always)]
fn see_to<const ETHERNET: bool>(ctx: &TcContext, duties: u64) {
    if duties & SETTLE != 0 {
        settle::<ETHERNET>(ctx, duties);
    }
    if duties & LOOK != 0 {
        outgoing::<ETHERNET>(ctx, duties);
    }
}

/// Answers as [`count::packet`].
#[inline(always)]
fn long_way<const ETHERNET: bool, const RT: bool>(ctx: &TcContext) -> u64 {
    match direct::<ETHERNET, RT>(ctx) {
        OUT_OF_REACH => copying::<ETHERNET, RT>(ctx),
        duties => duties,
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
    settle::after(parse::<ETHERNET, false>(ctx, &mut Slot::uninit()), word);
}

#[inline(never)]
fn outgoing<const ETHERNET: bool>(ctx: &TcContext, word: u64) {
    if let Some(cpu) = cpu::this_cpu() {
        let flags = cpu::get!(cpu::usual(cpu, word), flags);
        names::outgoing(
            ctx,
            parse::<ETHERNET, false>(ctx, &mut Slot::uninit()),
            flags.into(),
        );
    }
}

#[inline(never)]
fn incoming<const ETHERNET: bool>(ctx: &TcContext) {
    names::dns::incoming(ctx, parse::<ETHERNET, false>(ctx, &mut Slot::uninit()));
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
