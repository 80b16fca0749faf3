//! What is asked on the control socket, or by SIGHUP, answered from what the pipeline knows. Changes are in force before they are
//! answered, whole, or they are not made.

mod change;
mod status;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use tcpwatch_common::{Counts, Outcome};
use tokio::sync::mpsc;

use super::{Pipeline, PipelineError};
use crate::config::Config;
use crate::control::protocol::{Answer, Ban, BanOrigin};
use crate::control::server::{Asked, Server, Work, read_again};
use crate::kernel::drain::Moment;
use crate::service::notify;
use crate::tally::Drained;

/// Requests that wait; more wait in their connections.
const WAITING: usize = 4;

/// What a run knows of itself, and by what it is asked.
#[derive(Debug)]
pub struct Control {
    inbox: mpsc::Receiver<Asked>,
    /// For what signals ask.
    outbox: mpsc::Sender<Asked>,
    /// None: there is no socket.
    _server: Option<Server>,
    started: Moment,
    drains: u64,
    last_drain: Option<Timestamp>,
    overflow: Counts,
    unbalanced: u64,
    last_loss: Option<Timestamp>,
    /// How often each ban in force was met.
    hits: HashMap<IpNet, Hit>,
    /// Bans of this run only.
    added: BTreeSet<IpNet>,
    /// Bans that were taken off for this run only.
    removed: BTreeSet<IpNet>,
    /// Something was answered: before the next answer, everything else has its turn.
    owed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Hit {
    counts: Counts,
    last: Timestamp,
}

impl Control {
    /// Listens on the control socket, if there is to be one. Needs the runtime.
    ///
    /// # Errors
    /// Another tcpwatch listens there, or it cannot be made.
    pub async fn start(config: &Config) -> Result<Self, PipelineError> {
        let (outbox, inbox) = mpsc::channel(WAITING);
        let server = match &config.service.control {
            Some(path) => Some(Server::start(path, config.origin.clone(), outbox.clone()).await?),
            None => None,
        };
        Ok(Self {
            inbox,
            outbox,
            _server: server,
            started: Moment::now(),
            drains: 0,
            last_drain: None,
            overflow: Counts::default(),
            unbalanced: 0,
            last_loss: None,
            hits: HashMap::new(),
            added: BTreeSet::new(),
            removed: BTreeSet::new(),
            owed: false,
        })
    }

    /// The next request. Nothing is lost when it is not waited for.
    pub async fn next(&mut self) -> Asked {
        match self.inbox.recv().await {
            Some(asked) => asked,
            // Not while there is a sender here.
            None => std::future::pending().await,
        }
    }

    /// Whether the next request has to wait until everything else had its turn.
    pub const fn owes(&self) -> bool {
        self.owed
    }

    /// Everything else had its turn.
    pub const fn paid(&mut self) {
        self.owed = false;
    }

    /// Takes note of what a drain has brought up, which ended at `until`.
    pub fn note_drain(&mut self, drained: &Drained, until: Timestamp) {
        self.drains += 1;
        self.last_drain = Some(until);
        let overflow = drained.totals.outcomes[Outcome::Overflow as usize];
        if overflow.packets > 0 {
            self.overflow.add(overflow);
            self.last_loss = Some(until);
        }
        for (prefix, counts) in &drained.bans {
            let hit = self.hits.entry(*prefix).or_insert(Hit {
                counts: Counts::default(),
                last: until,
            });
            hit.counts.add(*counts);
            hit.last = until;
        }
    }

    /// Takes note of a drain whose books do not balance.
    pub fn note_imbalance(&mut self) {
        self.unbalanced += 1;
        self.last_loss = Some(Timestamp::now());
    }

    /// Has the configuration read again, away from the event loop, and put in force by it; what comes of it is logged. False: there
    /// is nothing to read.
    pub fn reload(&self, config: &Config) -> bool {
        if !config.origin.has_files() {
            return false;
        }
        let (origin, outbox) = (config.origin.clone(), self.outbox.clone());
        tokio::spawn(async move {
            let asked = Asked {
                work: read_again(origin).await,
                answer: None,
            };
            if outbox.send(asked).await.is_err() {
                tracing::debug!("the configuration was read too late: tcpwatch is ending");
            }
        });
        true
    }
}

impl Pipeline {
    /// Does what is asked, and answers.
    pub(super) async fn answer(&mut self, asked: Asked) -> Result<(), PipelineError> {
        self.control.owed = true;
        let Asked { work, answer: to } = asked;
        if to.as_ref().is_some_and(tokio::sync::oneshot::Sender::is_closed) {
            // Whoever asked has been told that it was not done in time.
            return Ok(());
        }
        let answer = match work {
            Work::Status => Answer::Status(Box::new(self.status())),
            Work::ListBans => {
                // Up to now, not up to the last record.
                if let Err(error) = self.drain().await? {
                    tracing::warn!("cannot drain the kernel tables for an answer: {error}");
                }
                Answer::Bans(self.bans())
            }
            Work::Ban(change) => self.ban(change).await?,
            Work::Unban(change) => self.unban(change).await?,
            Work::Reload(read) => self.reload(*read).await?,
        };
        match to {
            Some(to) => {
                if to.send(answer).is_err() {
                    tracing::debug!("whoever asked did not wait for the answer");
                }
            }
            // By SIGHUP: the service manager waits for the end of it.
            None => {
                say(&answer);
                notify::ready();
            }
        }
        Ok(())
    }

    /// The bans in force.
    fn bans(&self) -> Vec<Ban> {
        let given: HashSet<&IpNet> = self.config.origin.given_bans.iter().collect();
        let ban = |prefix: &IpNet| {
            let hit = self.control.hits.get(prefix);
            let counts = hit.map(|hit| hit.counts).unwrap_or_default();
            Ban {
                prefix: *prefix,
                origin: if self.control.added.contains(prefix) {
                    BanOrigin::Run
                } else if given.contains(prefix) {
                    BanOrigin::Option
                } else {
                    BanOrigin::File
                },
                packets: counts.packets,
                bytes: counts.bytes,
                last_hit: hit.map(|hit| hit.last),
            }
        };
        self.config.bans.iter().map(ban).collect()
    }

    /// Takes over bans that are in force.
    fn adopt_bans(&mut self, bans: Arc<[IpNet]>) {
        let kept: HashSet<&IpNet> = bans.iter().collect();
        self.control.hits.retain(|prefix, _| kept.contains(prefix));
        self.config.bans = bans;
    }
}

/// Tells the log what a signal has led to.
fn say(answer: &Answer) {
    match answer {
        Answer::Error(refusal) => tracing::error!("not reloaded, nothing is changed: {}", refusal.text),
        Answer::Reloaded(reloaded) => {
            let now = if reloaded.now.is_empty() {
                "as before".to_owned()
            } else {
                reloaded.now.join("; ")
            };
            tracing::info!("reloaded {}: {now}", reloaded.files.join(", "));
            if !reloaded.later.is_empty() {
                tracing::warn!(
                    "changed but takes effect with the next start: {}",
                    reloaded.later.join(", ")
                );
            }
            for note in &reloaded.notes {
                tracing::warn!("{note}");
            }
        }
        Answer::Status(_) | Answer::Bans(_) | Answer::Changed(_) => {}
    }
}
