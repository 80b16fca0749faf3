//! What the allocator keeps of memory that was freed.

/// Blocks from this size on are memory of their own, from the kernel and back to it.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: libc::c_int = 1 << 20;

/// From now on a large block that is freed goes back to the kernel at once.
///
/// glibc begins so, but takes each large block that is freed as a sign that there will be more of that size: from then on it
/// takes them from its arenas, one for each thread, and keeps them there. A record passes through four threads. Of 100,000
/// destinations it left 40 MB behind that were used once an interval, for some tens of milliseconds.
pub fn give_back_large_blocks() {
    // SAFETY: no pointer is involved. The call stores a limit; a thread that allocates meanwhile has the old or the new one.
    #[cfg(target_env = "gnu")]
    let set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
    #[cfg(target_env = "gnu")]
    if set == 0 {
        tracing::debug!("the allocator does not take a limit for large blocks");
    }
}
