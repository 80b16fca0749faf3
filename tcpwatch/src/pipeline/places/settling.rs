//! When a changed file may be read: when it has held still. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::enrich::{Seen, Sighting, Sightings};

/// How long a file that was replaced at once must have been as it is.
const QUIET: Duration = Duration::from_millis(500);

/// The same for one that is written where it lies, or was seen to change more than once: that may falter.
const QUIET_WHEN_WRITTEN: Duration = Duration::from_secs(2);

/// Files that have changed and are waited for.
#[derive(Debug, Default)]
pub struct Settling {
    restless: BTreeMap<PathBuf, Restless>,
}

#[derive(Debug)]
struct Restless {
    seen: Seen,
    since: Instant,
    quiet: Duration,
}

impl Settling {
    /// Takes in all files that are not what they were when they were judged, and returns those that have held still for long
    /// enough. Each file has its own time: one that is being written holds no other up.
    pub fn take(&mut self, sightings: Sightings, now: Instant) -> Sightings {
        let mut settled = Sightings::new();
        let mut restless = BTreeMap::new();
        for (path, Sighting { seen, in_place }) in sightings {
            let file = match self.restless.remove(&path) {
                Some(file) if file.seen == seen => file,
                before => {
                    let quiet = if in_place || before.is_some() {
                        QUIET_WHEN_WRITTEN
                    } else {
                        QUIET
                    };
                    let since = now;
                    Restless { seen, since, quiet }
                }
            };
            if now >= file.since + file.quiet {
                settled.insert(path, Sighting { seen, in_place });
            } else {
                restless.insert(path, file);
            }
        }
        self.restless = restless;
        settled
    }

    /// When the next file will have held still for long enough; none: none is waited for.
    pub fn next(&self) -> Option<Instant> {
        self.restless.values().map(|file| file.since + file.quiet).min()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    /// States of a file that differ from each other.
    const STATES: [Seen; 3] = [
        Seen::Absent,
        Seen::Hidden(ErrorKind::PermissionDenied),
        Seen::Hidden(ErrorKind::Other),
    ];

    fn sightings(files: &[(&str, usize)]) -> Sightings {
        files
            .iter()
            .map(|(path, state)| {
                let seen = STATES[*state];
                let in_place = path.ends_with("in place");
                (PathBuf::from(path), Sighting { seen, in_place })
            })
            .collect()
    }

    /// Looks at these moments, in milliseconds, and returns what had settled at each of them.
    fn settled(looks: &[(u64, &[(&str, usize)])]) -> Vec<Vec<String>> {
        let start = Instant::now();
        let mut settling = Settling::default();
        looks
            .iter()
            .map(|(at, files)| {
                let now = start + Duration::from_millis(*at);
                let settled = settling.take(sightings(files), now);
                settled.keys().map(|path| path.display().to_string()).collect()
            })
            .collect()
    }

    #[test]
    fn a_file_that_was_replaced_at_once_settles_after_half_a_second_and_is_given_out_once() {
        let nothing: [&str; 0] = [];
        assert_eq!(
            settled(&[
                (0, &[("a", 0)]),
                (499, &[("a", 0)]),
                (500, &[("a", 0)]),
                (501, &[])
            ]),
            [&nothing[..], &nothing, &["a"], &nothing]
        );
    }

    #[test]
    fn a_file_that_goes_on_changing_settles_two_seconds_after_the_last_change() {
        let looks: [(u64, &[(&str, usize)]); 6] = [
            (0, &[("a", 0)]),
            (400, &[("a", 1)]),
            (900, &[("a", 1)]),
            (1000, &[("a", 2)]),
            (2999, &[("a", 2)]),
            (3000, &[("a", 2)]),
        ];
        let settled = settled(&looks);
        assert!(settled[..5].iter().all(Vec::is_empty), "{settled:?}");
        assert_eq!(settled[5], ["a"]);
    }

    #[test]
    fn a_file_written_where_it_lies_settles_after_two_seconds() {
        let looks: [(u64, &[(&str, usize)]); 3] = [
            (0, &[("in place", 0)]),
            (1999, &[("in place", 0)]),
            (2000, &[("in place", 0)]),
        ];
        assert_eq!(settled(&looks), [&[][..], &[], &["in place".to_owned()]]);
    }

    #[test]
    fn a_file_that_is_being_written_holds_no_other_up() {
        let looks: [(u64, &[(&str, usize)]); 3] = [
            (0, &[("a", 0), ("b", 0)]),
            (300, &[("a", 1), ("b", 0)]),
            (500, &[("a", 2), ("b", 0)]),
        ];
        assert_eq!(settled(&looks)[2], ["b"]);
    }

    #[test]
    fn a_file_that_is_again_what_it_was_is_forgotten() {
        let looks: [(u64, &[(&str, usize)]); 4] = [
            (0, &[("a", 0)]),
            (100, &[]),
            (500, &[("a", 0)]),
            (999, &[("a", 0)]),
        ];
        assert!(settled(&looks).iter().all(Vec::is_empty));
    }

    #[test]
    fn the_next_look_is_when_the_first_file_may_have_settled() {
        let start = Instant::now();
        let mut settling = Settling::default();
        assert_eq!(settling.next(), None);
        settling.take(sightings(&[("a", 0)]), start);
        let later = start + Duration::from_millis(200);
        settling.take(sightings(&[("a", 0), ("b", 0)]), later);
        assert_eq!(settling.next(), Some(start + QUIET));
        settling.take(sightings(&[("a", 1), ("b", 0)]), later);
        assert_eq!(settling.next(), Some(later + QUIET));
    }
}
