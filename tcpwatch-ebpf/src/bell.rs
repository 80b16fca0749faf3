//! The bell: the daemon sleeps for a second at a time, and is woken when tables or samples become many.

use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;

use crate::maps::BELL;

/// Wakes the daemon. Where it has not come yet since many calls, it has been woken.
#[inline(always)]
pub fn ring() {
    if let Some(mut entry) = BELL.reserve::<u64>(0) {
        entry.write(0);
        entry.submit(u64::from(BPF_RB_FORCE_WAKEUP));
    }
}
