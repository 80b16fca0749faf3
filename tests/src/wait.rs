//! Waiting for something to become true: polling with a deadline, never a fixed sleep.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what should take milliseconds; the machine may be busy with other work.
pub const PATIENCE: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(10);

/// Asks `probe` until it yields a value.
///
/// # Panics
///
/// When that takes longer than `limit`; `what` says what did not happen.
#[track_caller]
pub fn until_some<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        thread::sleep(PAUSE);
    }
}

/// Asks `probe` until it is true.
///
/// # Panics
///
/// When that takes longer than [`PATIENCE`].
#[track_caller]
pub fn until(what: &str, mut probe: impl FnMut() -> bool) {
    until_some(PATIENCE, what, || probe().then_some(()));
}
