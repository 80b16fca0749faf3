//! Processor time and the processor itself: what is measured here must not move, nor pay for what others do.

use std::mem::{size_of, zeroed};
use std::time::Duration;

/// Keeps the calling thread on one processor until dropped.
pub struct Pinned {
    before: libc::cpu_set_t,
}

impl Pinned {
    /// To the last processor that the thread may use: the first has most of the machine's interrupts.
    pub fn new() -> Self {
        // SAFETY: a struct of integers: all zero is a value of it.
        let mut before: libc::cpu_set_t = unsafe { zeroed() };
        // SAFETY: the pointer and the length describe `before`; 0 is the calling thread.
        let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut before) };
        assert_eq!(
            result,
            0,
            "sched_getaffinity: {}",
            std::io::Error::last_os_error()
        );
        // SAFETY: every number is below the size of the set.
        let last = (0..libc::CPU_SETSIZE as usize).rfind(|cpu| unsafe { libc::CPU_ISSET(*cpu, &before) });
        // SAFETY: as above.
        let mut one: libc::cpu_set_t = unsafe { zeroed() };
        // SAFETY: the number is below the size of the set.
        unsafe { libc::CPU_SET(last.unwrap(), &mut one) };
        set_affinity(&one);
        Self { before }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        set_affinity(&self.before);
    }
}

fn set_affinity(set: &libc::cpu_set_t) {
    // SAFETY: the pointer and the length describe `set`; 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
    assert_eq!(
        result,
        0,
        "sched_setaffinity: {}",
        std::io::Error::last_os_error()
    );
}

/// Processor time of the calling thread, in user and kernel mode.
pub fn of_thread() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Processor time of all threads of a process, also of those that have ended.
pub fn of_process(pid: u32) -> Duration {
    let mut clock = 0;
    // SAFETY: the pointer is to a variable that outlives the call.
    let result = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
    assert_eq!(result, 0, "process {pid} has a clock");
    read(clock)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a variable that outlives the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "clock_gettime: {}", std::io::Error::last_os_error());
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
