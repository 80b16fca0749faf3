//! What the compiler must not know, so that it makes what the verifier accepts, and no more instructions than are needed.

use core::arch::asm;

/// Keeps the compiler from knowing where a pointer comes from. Else it would join two pointers into one that moves by a
/// variable. Without CAP_PERFMON the verifier refuses one whose bounds depend on the way there, and follows each addition of a
/// variable twice: there are few of them.
#[inline(always)]
#[expect(
    clippy::pointers_in_nomem_asm_block,
    reason = "nothing is read or written through it there"
)]
pub fn opaque<T>(mut pointer: *mut T) -> *mut T {
    // SAFETY: assigns a register to itself.
    unsafe {
        asm!("{0} = {0}", inlateout(reg) pointer, options(pure, nomem, nostack, preserves_flags));
    }
    pointer
}

/// Keeps the compiler from knowing how a number came about.
#[inline(always)]
pub fn wide(mut number: u64) -> u64 {
    // SAFETY: assigns a register to itself.
    unsafe {
        asm!("{0} = {0}", inlateout(reg) number, options(pure, nomem, nostack, preserves_flags));
    }
    number
}

/// The same, so that it checks the number's bounds where the verifier can see it.
#[inline(always)]
pub fn unknown(number: u32) -> u32 {
    wide(u64::from(number)) as u32
}

/// A number shifted to the right by the lower six bits of another, as the instruction does it (RFC 9669 section 4.1; the kernel leaves
/// that to the processor, see kernel/bpf/core.c, and those of x86-64 and arm64 do it). The compiler would take the six bits out first.
#[inline(always)]
pub fn shifted(mut number: u64, by: u64) -> u64 {
    // SAFETY: two registers.
    unsafe {
        asm!("{0} >>= {1}", inlateout(reg) number, in(reg) by, options(pure, nomem, nostack, preserves_flags));
    }
    number
}
