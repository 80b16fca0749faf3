//! What comes out of a started kernel: lines of the test programs with how each ended, and the kernel's own messages.
//! Pure: it is given lines and says what they mean.

use anyhow::bail;

/// Before the name of a program and its exit status.
pub const STATUS: &str = "== ended: ";
/// The last line.
pub const END: &str = "== end of the tests";

/// What a kernel writes when it has found itself to be wrong, and what it was. Loading our programs must not get it there.
const COMPLAINTS: [&str; 4] = ["Kernel panic - not syncing", "BUG: ", "Oops: ", "INFO: task "];

/// How many of the kernel's messages are shown when something went wrong.
pub const SHOWN: usize = 40;

/// What the lines so far say.
#[derive(Default, Debug)]
pub struct Transcript {
    statuses: Vec<(String, i32)>,
    ended: bool,
}

impl Transcript {
    /// Takes a line, without its end. True where it is for the reader, false where it is for us.
    pub fn take(&mut self, line: &str) -> bool {
        if line == END {
            self.ended = true;
            return false;
        }
        let status = line
            .strip_prefix(STATUS)
            .and_then(|rest| rest.rsplit_once(' '))
            .and_then(|(name, status)| Some((name.to_owned(), status.parse().ok()?)));
        let is_ours = status.is_some();
        self.statuses.extend(status);
        !is_ours
    }

    /// Whether the kernel ran everything to a good end; `kernel_log` is all that it said.
    ///
    /// # Errors
    ///
    /// A program failed, none ran, the kernel complained, or the end is missing.
    pub fn judge(&self, kernel_log: &str) -> anyhow::Result<()> {
        let complaint = kernel_log
            .lines()
            .find(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)));
        if let Some(complaint) = complaint {
            bail!("the kernel said: {}", complaint.trim());
        }
        if !self.ended {
            bail!("the kernel stopped before the tests had ended");
        }
        if self.statuses.is_empty() {
            bail!("no test program was run");
        }
        let failed: Vec<String> = self
            .statuses
            .iter()
            .filter(|(_, status)| *status != 0)
            .map(|(name, status)| format!("{name} (status {status})"))
            .collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

/// The end of the kernel's messages.
pub fn last(kernel_log: &str) -> Vec<&str> {
    let lines: Vec<&str> = kernel_log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(lines: &[&str], kernel_log: &str) -> Result<(), String> {
        let mut transcript = Transcript::default();
        for line in lines {
            transcript.take(line);
        }
        transcript.judge(kernel_log).map_err(|error| error.to_string())
    }

    #[test]
    fn all_programs_ended_well() {
        let lines = [
            "test x ... ok",
            "== ended: packets 0",
            "== ended: matrix 0",
            "== end of the tests",
        ];
        assert_eq!(verdict(&lines, "[    1.0] Linux version 6.1"), Ok(()));
    }

    #[test]
    fn shows_the_lines_of_the_programs_only() {
        let mut transcript = Transcript::default();
        assert!(transcript.take("test x ... ok"));
        assert!(transcript.take("== ended: oddly"));
        assert!(!transcript.take("== ended: packets 101"));
        assert!(!transcript.take("== end of the tests"));
    }

    #[test]
    fn a_failed_program_is_named() {
        let lines = [
            "== ended: packets 101",
            "== ended: matrix 0",
            "== end of the tests",
        ];
        assert_eq!(
            verdict(&lines, ""),
            Err("failed: packets (status 101)".to_owned())
        );
    }

    #[test]
    fn without_the_end_nothing_is_proven() {
        let error = verdict(&["== ended: packets 0"], "").unwrap_err();
        assert_eq!(error, "the kernel stopped before the tests had ended");
        assert!(verdict(&["== end of the tests"], "").is_err());
    }

    #[test]
    fn a_panic_is_told_before_what_it_led_to() {
        let log = "[ 1.0] x\n[ 1.1] Kernel panic - not syncing: Attempted to kill init!\n[ 1.2] y\n";
        let error = verdict(&[], log).unwrap_err();
        assert_eq!(
            error,
            "the kernel said: [ 1.1] Kernel panic - not syncing: Attempted to kill init!"
        );
    }

    #[test]
    fn a_complaint_of_the_kernel_fails_tests_that_passed() {
        let lines = ["== ended: matrix 0", "== end of the tests"];
        let log = "[ 2.0] BUG: scheduling while atomic: sender/99/0x00000002";
        assert!(verdict(&lines, log).is_err());
    }

    #[test]
    fn shows_the_end_of_a_long_log() {
        let log: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let last = last(&log);
        assert_eq!(
            (last.len(), last.first(), last.last()),
            (SHOWN, Some(&"line 60"), Some(&"line 99"))
        );
    }
}
