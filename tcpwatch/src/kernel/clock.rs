//! Whether the kernel's clock follows another one.

use std::io;

/// Whether somebody keeps the clock right: an NTP daemon, PTP or the hypervisor's.
///
/// # Errors
/// The kernel does not say, in a sandbox perhaps.
pub fn is_synchronised() -> io::Result<bool> {
    // SAFETY: a struct of integers: all zero is a value of it; with `modes` zero nothing is changed.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `timex` is valid for reads and writes.
    if unsafe { libc::adjtimex(&raw mut timex) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(timex.status & libc::STA_UNSYNC == 0)
}
