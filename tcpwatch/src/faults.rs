//! Dying at a chosen step, for the fault tests; a program that is built without the feature `faults` never does.
//!
//! `TCPWATCH_DIE_AT=cleared` ends the process at the first step of that name, `TCPWATCH_DIE_AT=cleared:3` at the third.

/// Kills this process as `kill -9` would when the environment asks for it at this step, and does nothing otherwise.
#[inline]
pub fn die_at(step: &str) {
    imp::die_at(step);
}

#[cfg(not(feature = "faults"))]
mod imp {
    pub(super) const fn die_at(_step: &str) {}
}

#[cfg(feature = "faults")]
mod imp {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The step, and at which of its times.
    static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let text = std::env::var("TCPWATCH_DIE_AT").ok()?;
        Some(match text.split_once(':') {
            Some((step, times)) => (step.to_owned(), times.parse().unwrap_or(1)),
            None => (text, 1),
        })
    });
    static TIMES: AtomicU64 = AtomicU64::new(0);

    pub(super) fn die_at(step: &str) {
        let Some((wanted, times)) = &*WANTED else {
            return;
        };
        if wanted == step && TIMES.fetch_add(1, Ordering::Relaxed) + 1 == *times {
            // Only a process that may not signal itself gets to the abort.
            if rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).is_ok()
            {
                loop {
                    std::thread::park();
                }
            }
            std::process::abort();
        }
    }
}
