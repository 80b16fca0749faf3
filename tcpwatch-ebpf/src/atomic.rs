//! The one atomic operation that every supported kernel has: add to a 64-bit word in memory, without its old value.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// Adds to a word that all CPUs share. Compiles to BPF's `lock *(u64 *)p += n`: the result is not used.
///
/// The intrinsic, because core's atomic types offer no `fetch_add` on a target without compare-and-swap.
///
/// # Safety
/// `word` must point into a map value and be 8-byte aligned.
#[inline(always)]
pub unsafe fn add(word: *mut u64, n: u64) {
    // SAFETY: the caller's promise.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, n) };
}
