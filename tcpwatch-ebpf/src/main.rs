//! Entry points of the egress program, one for each kind of device. Both always let the packet through untouched.

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
mod count;
mod maps;
mod parse;

use aya_ebpf::bindings::TC_ACT_UNSPEC;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

use crate::parse::{Parsed, Slot};

/// For devices whose frames begin with an Ethernet header.
#[classifier]
pub fn tcpwatch_l2(ctx: TcContext) -> i32 {
    match parse::ethernet::<true>(&ctx, &mut Slot::uninit()) {
        Parsed::OutOfReach => ethernet_with_copies(&ctx),
        parsed => count::packet(&ctx, parsed),
    }
    // Any other value would end the chain for the programs behind us (net/core/dev.c, tcx_run()).
    TC_ACT_UNSPEC
}

/// For devices whose packets begin with the IP header: tun, WireGuard, PPP.
#[classifier]
pub fn tcpwatch_l3(ctx: TcContext) -> i32 {
    match parse::raw_ip::<true>(&ctx, &mut Slot::uninit()) {
        Parsed::OutOfReach => raw_ip_with_copies(&ctx),
        parsed => count::packet(&ctx, parsed),
    }
    TC_ACT_UNSPEC
}

// The rare way of parsing is a function of its own, so that the usual way stays short.
#[inline(never)]
fn ethernet_with_copies(ctx: &TcContext) {
    count::packet(ctx, parse::ethernet::<false>(ctx, &mut Slot::uninit()));
}

#[inline(never)]
fn raw_ip_with_copies(ctx: &TcContext) {
    count::packet(ctx, parse::raw_ip::<false>(ctx, &mut Slot::uninit()));
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
