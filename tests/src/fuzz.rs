//! Fuzzing: random changes that can be repeated, and work on their results under supervision.
//!
//! `TCPWATCH_FUZZ_SECONDS` and `TCPWATCH_FUZZ_SEED` lengthen and repeat it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub mod blind;
pub mod random;
pub mod watch;

pub use random::Random;

/// How long it goes on, unless `TCPWATCH_FUZZ_SECONDS` says otherwise.
const SECONDS: u64 = 60;

/// Numbers from the environment, for repeating.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

/// The seed to begin with: another one each time, unless `TCPWATCH_FUZZ_SEED` says which.
pub fn seed() -> u64 {
    setting("TCPWATCH_FUZZ_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        since.as_nanos() as u64
    })
}

/// How long to go on.
pub fn length() -> Duration {
    Duration::from_secs(setting("TCPWATCH_FUZZ_SECONDS").unwrap_or(SECONDS))
}
