//! Threads on CPUs of their own, what they take of them, and how they end.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Puts the calling thread on the `n`th of the CPUs that it may use, counted from zero. Returns its number.
///
/// # Panics
///
/// When there are not two at least, or the kernel refuses.
#[track_caller]
pub fn pin(n: usize) -> usize {
    // SAFETY: a set of bits; all zero is the empty set.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is as large as it is said to be and outlives the call.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut allowed) };
    assert!(result == 0, "sched_getaffinity: {}", io::Error::last_os_error());
    let cpus: Vec<usize> = (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the index is within the set.
        .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &allowed) })
        .collect();
    assert!(
        cpus.len() >= 2,
        "two CPUs are needed; this thread may use {cpus:?}"
    );
    // SAFETY: as above; the index comes from the set itself.
    let result = unsafe {
        let mut wanted: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpus[n], &mut wanted);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const wanted)
    };
    assert!(result == 0, "sched_setaffinity: {}", io::Error::last_os_error());
    cpus[n]
}

/// How long the calling thread has run, not counting how long others did.
///
/// # Panics
///
/// When the kernel refuses.
pub fn taken() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the struct is one that the call fills, and outlives it.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert!(result == 0, "clock_gettime: {}", io::Error::last_os_error());
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Raises a flag when it is dropped, also by a panic: for threads that go on until they are told to stop.
#[derive(Debug)]
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
