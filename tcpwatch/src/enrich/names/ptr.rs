//! Reverse look-ups: what the owner of an address calls it. Nobody confirms that the name leads to the address, so a name says
//! what its owner wants it to say.
//!
//! The questions and their answers are packets of this host, and are counted as such: they go to the system's name servers.

mod system;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::enrich::scope;
use crate::record::Scope;

pub use system::{System, SystemError};

/// The most addresses that are asked for and not yet answered, or answered and not yet taken.
pub const MOST_PENDING: usize = 4096;

/// How long a name is believed, whatever its TTL.
const NAME_LIFE: [Duration; 2] = [Duration::from_secs(5 * 60), Duration::from_secs(24 * 60 * 60)];
/// How long it is believed that an address has no name.
const NOTHING_LIFE: Duration = Duration::from_secs(60 * 60);
/// How long an address is left alone after a failure.
const FAILED_LIFE: Duration = Duration::from_secs(5 * 60);

/// Look-ups in a row to which nobody was heard, from which on it is the name servers' fault, and not the addresses'.
const ALL_FAIL: u32 = 8;
/// The longest pause then.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// What a look-up ended with, and how long that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Names, normalised; at least one.
    Names {
        /// In no order.
        names: Vec<Arc<str>>,
        /// How long.
        life: Duration,
    },
    /// The address has no name, or none that is one.
    Nothing {
        /// How long.
        life: Duration,
    },
    /// Nobody knows: there was no answer, or none that says anything.
    Failed {
        /// How long not to ask again.
        life: Duration,
    },
}

impl Outcome {
    /// How long it holds.
    #[must_use]
    pub const fn life(&self) -> Duration {
        match self {
            Self::Names { life, .. } | Self::Nothing { life } | Self::Failed { life } => *life,
        }
    }

    const FAILED: Self = Self::Failed { life: FAILED_LIFE };
}

/// Names of an address, and their time to live; no names: the address has none.
pub type Answer = (Vec<Arc<str>>, Duration);

/// Nobody could say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// No name server was heard.
    Silence,
    /// A name server was, and it does not know either: those of the address's zone may be at fault.
    Refusal,
}

/// Who answers.
pub trait Resolve: Send + Sync + 'static {
    /// Looks an address up. It may take as long as it likes; nobody waits for ever.
    fn reverse(&self, address: IpAddr) -> impl Future<Output = Result<Answer, Unanswered>> + Send;

    /// Nobody has been heard for a while: the name servers may be others by now.
    fn refresh(&self) {}
}

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Look-ups at the same time.
    pub at_once: usize,
    /// The shortest time from the begin of one to that of the next.
    pub gap: Duration,
    /// How long one may take.
    pub patience: Duration,
}

impl Default for Pace {
    /// Eight at once, twenty a second, three seconds for each.
    fn default() -> Self {
        Self {
            at_once: 8,
            gap: Duration::from_millis(50),
            patience: Duration::from_secs(3),
        }
    }
}

/// Reverse look-ups in a task of their own. Neither asking nor taking an outcome ever waits.
#[derive(Debug)]
pub struct Lookups {
    questions: mpsc::Sender<IpAddr>,
    outcomes: mpsc::Receiver<(IpAddr, Outcome)>,
    pending: HashSet<IpAddr>,
    own: BTreeSet<IpAddr>,
    refused: u64,
    task: AbortHandle,
}

impl Drop for Lookups {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lookups {
    /// Starts the task. Must be called inside the runtime.
    #[must_use]
    pub fn start(resolver: impl Resolve, pace: Pace) -> Self {
        let (questions, queue) = mpsc::channel(MOST_PENDING);
        let (done, outcomes) = mpsc::channel(MOST_PENDING);
        let worker = Worker {
            resolver: Arc::new(resolver),
            pace,
            queue,
            done,
            running: JoinSet::new(),
            addresses: HashMap::new(),
            silences: 0,
            next: Instant::now(),
        };
        Self {
            questions,
            outcomes,
            pending: HashSet::new(),
            own: BTreeSet::new(),
            refused: 0,
            task: tokio::spawn(worker.run()).abort_handle(),
        }
    }

    /// The host's own addresses, which are never looked up.
    pub fn set_own(&mut self, own: BTreeSet<IpAddr>) {
        self.own = own;
    }

    /// Has an address looked up, unless it is no public one, is being looked up, or too many are.
    pub fn ask(&mut self, address: IpAddr) {
        let address = address.to_canonical();
        if scope(address) != Scope::Global || self.own.contains(&address) || self.pending.contains(&address) {
            return;
        }
        if self.pending.len() < MOST_PENDING && self.questions.try_send(address).is_ok() {
            self.pending.insert(address);
        } else {
            self.refused += 1;
        }
    }

    /// The next outcome, if there is one.
    pub fn take(&mut self) -> Option<(IpAddr, Outcome)> {
        let (address, outcome) = self.outcomes.try_recv().ok()?;
        self.pending.remove(&address);
        Some((address, outcome))
    }

    /// How many questions there was no room for.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

struct Worker<R> {
    resolver: Arc<R>,
    pace: Pace,
    queue: mpsc::Receiver<IpAddr>,
    /// Has room for all that is pending.
    done: mpsc::Sender<(IpAddr, Outcome)>,
    running: JoinSet<Result<Outcome, Unanswered>>,
    addresses: HashMap<tokio::task::Id, IpAddr>,
    /// In a row, without a word from a name server.
    silences: u32,
    /// When the next look-up may begin.
    next: Instant,
}

impl<R: Resolve> Worker<R> {
    async fn run(mut self) {
        loop {
            // While nobody is heard, one is enough to find out whether that is over.
            let at_once = if self.silences < ALL_FAIL {
                self.pace.at_once
            } else {
                1
            };
            tokio::select! {
                Some(ended) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    let (id, result) = match ended {
                        Ok(ended) => ended,
                        // A fault of the program says nothing about the servers, as a refusal does not.
                        Err(error) => (error.id(), Err(Unanswered::Refusal)),
                    };
                    if !self.ended(id, result) {
                        return;
                    }
                }
                address = question(&mut self.queue, self.next), if self.running.len() < at_once => {
                    let Some(address) = address else { return };
                    self.begin(address);
                }
            }
        }
    }

    fn begin(&mut self, address: IpAddr) {
        let resolver = Arc::clone(&self.resolver);
        let patience = self.pace.patience;
        let look_up = async move {
            let answer = timeout(patience, resolver.reverse(address)).await;
            answer.unwrap_or(Err(Unanswered::Silence)).map(outcome)
        };
        let id = self.running.spawn(look_up).id();
        self.addresses.insert(id, address);
        self.next = Instant::now() + self.pace.gap;
    }

    /// Whether there is still somebody to tell.
    fn ended(&mut self, id: tokio::task::Id, result: Result<Outcome, Unanswered>) -> bool {
        if result == Err(Unanswered::Silence) {
            self.silences = self.silences.saturating_add(1);
            let pause = pause(self.silences);
            if !pause.is_zero() {
                self.resolver.refresh();
                self.next = self.next.max(Instant::now() + pause);
            }
        } else {
            self.silences = 0;
        }
        let outcome = result.unwrap_or(Outcome::FAILED);
        match self.addresses.remove(&id) {
            Some(address) => self.done.try_send((address, outcome)).is_ok(),
            None => true,
        }
    }
}

/// The next question, not before its time.
async fn question(queue: &mut mpsc::Receiver<IpAddr>, not_before: Instant) -> Option<IpAddr> {
    sleep_until(not_before).await;
    queue.recv().await
}

fn outcome((names, life): Answer) -> Outcome {
    if names.is_empty() {
        return Outcome::Nothing { life: NOTHING_LIFE };
    }
    let [shortest, longest] = NAME_LIFE;
    Outcome::Names {
        names,
        life: life.clamp(shortest, longest),
    }
}

/// How long to wait after so many look-ups in a row to which nobody was heard: a second, and twice as long each time.
fn pause(silences: u32) -> Duration {
    match silences.checked_sub(ALL_FAIL) {
        None => Duration::ZERO,
        Some(more) => Duration::from_secs(1 << more.min(16)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests;
