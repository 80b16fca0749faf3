//! Others' programs that were put before ours on a TCX hook: we go back to the front, but do not fight for it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Incoming, Watch, Watched};
use crate::kernel::attach::{AttachError, Attachment, Direction};

/// The shortest time between two moves on one interface.
const REST: Duration = Duration::from_secs(60);
/// How long the kernel is given to let go of a link that had a name in the BPF file system.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Move,
    /// They are new, but the last move was a moment ago.
    Wait,
    /// They came back after we had moved before them: they want to be first.
    Stay,
}

/// What went on on one interface.
#[derive(Debug, Default)]
pub(super) struct Contest {
    moved: Option<Instant>,
    /// Programs that we moved before once.
    passed: BTreeSet<u32>,
    said: bool,
}

impl Contest {
    fn verdict(&mut self, now: Instant, before: &[u32]) -> Verdict {
        if before.iter().all(|id| self.passed.contains(id)) {
            return Verdict::Stay;
        }
        if self.moved.is_some_and(|moved| now.duration_since(moved) < REST) {
            return Verdict::Wait;
        }
        self.moved = Some(now);
        self.passed.extend(before);
        self.said = false;
        Verdict::Move
    }
}

impl Watch {
    /// Goes back to the front of the interface's hook, if that was not tried in vain. False: nothing is attached to it any more.
    pub(super) async fn contest(&mut self, index: u32, before: &[u32]) -> bool {
        let Some(watched) = self.watched.get(&index) else {
            return true;
        };
        let name = std::sync::Arc::clone(&watched.interface.name);
        let contest = self.contests.entry(index).or_default();
        let verdict = contest.verdict(Instant::now(), before);
        let others = before.len();
        if verdict != Verdict::Move {
            if !std::mem::replace(&mut contest.said, true) {
                let why = if verdict == Verdict::Wait {
                    "tcpwatch moves to the front at most once a minute"
                } else {
                    "they came back after tcpwatch had moved to the front, and it stays behind them"
                };
                tracing::warn!(
                    "{name}: {others} programs of others run before tcpwatch on the egress hook: what they pass or drop finally is not counted; {why}"
                );
            }
            return true;
        }
        match self.move_first(index).await {
            Ok(gap) => {
                tracing::warn!(
                    "{name}: {others} programs of others were put before tcpwatch on the egress hook: what they passed or dropped finally since then is not counted; tcpwatch is first again, after {} us without counting",
                    gap.as_micros()
                );
                true
            }
            Err(error) => {
                tracing::error!(
                    "{name}: cannot move to the front of the egress hook, attaching again: {:#}",
                    anyhow::Error::from(error)
                );
                false
            }
        }
    }

    /// Takes the program off and puts it first. The kernel has a program on a hook once only, and moves none, so between the two
    /// packets pass uncounted; a second copy of the program would count them twice. Returns for how long, at most.
    async fn move_first(&mut self, index: u32) -> Result<Duration, AttachError> {
        let Some(watched) = self.watched.remove(&index) else {
            return Ok(Duration::ZERO);
        };
        let Watched {
            interface,
            incoming,
            attachment,
            since,
        } = watched;
        let Some(layer) = interface.layer else {
            return Ok(Duration::ZERO);
        };
        let began = Instant::now();
        drop(attachment);
        let mut tries = 0;
        let attachment: Attachment = loop {
            match self
                .attacher
                .attach(&interface.name, index, layer, Direction::Egress)
                .await
            {
                Err(AttachError::Attach { .. }) if tries < TRIES => {
                    tries += 1;
                    sleep(PAUSE).await;
                }
                outcome => break outcome?,
            }
        };
        let gap = began.elapsed();
        let incoming: Incoming = incoming;
        self.watched.insert(
            index,
            Watched {
                interface,
                incoming,
                attachment,
                since,
            },
        );
        Ok(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_before_each_program_once_and_at_most_once_a_minute() {
        let mut contest = Contest::default();
        let start = Instant::now();
        assert_eq!(contest.verdict(start, &[1]), Verdict::Move);
        assert_eq!(contest.verdict(start, &[1]), Verdict::Stay);
        assert_eq!(contest.verdict(start, &[2]), Verdict::Wait);
        assert_eq!(contest.verdict(start + REST, &[1]), Verdict::Stay);
        assert_eq!(contest.verdict(start + REST, &[1, 2]), Verdict::Move);
        assert_eq!(contest.verdict(start + REST * 2, &[2]), Verdict::Stay);
    }
}
