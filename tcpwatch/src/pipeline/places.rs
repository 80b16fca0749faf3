//! Place databases that are replaced while tcpwatch runs. A task of its own looks at the files and opens what has changed, away
//! from the event loop; that takes the databases over whole, between two records.

mod settling;
mod signs;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::Instant;

use self::settling::Settling;
use self::signs::{Ground, Signs};
use crate::enrich::{Catalogue, Enricher, Places};

/// How often the files are looked at without any sign of a change: a link on the way to a link gives none, nor does a file system
/// of another machine.
const LOOK: Duration = Duration::from_secs(60);

/// How long signs of changes are collected before the files are looked at: a busy directory costs no more than that.
const COLLECT: Duration = Duration::from_millis(100);

/// How often files are looked at that have changed and are waited for, so that the last change is not noticed late.
const LOOK_WHILE_WAITING: Duration = Duration::from_millis(250);

/// Databases that replace those in use, as they come.
#[derive(Debug)]
pub struct Replacements {
    fresh: mpsc::Receiver<Places>,
    look: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Replacements {
    /// Begins to follow the files of a catalogue. Needs the runtime.
    #[must_use]
    pub fn follow(catalogue: Catalogue) -> Self {
        let (sender, fresh) = mpsc::channel(1);
        let look = Arc::new(Notify::new());
        let (signs, ground) = signs::listen();
        let follower = Follower {
            signs,
            settling: Settling::default(),
            fresh: sender,
            look: Arc::clone(&look),
        };
        let task = tokio::spawn(async move {
            match follower.run(catalogue, ground).await {
                Ok(()) => {}
                Err(error) => tracing::error!(
                    "place databases that are replaced are no longer noticed, those in use stay: {error}: please report this"
                ),
            }
        });
        Self { fresh, look, task }
    }

    /// Has the files looked at now, also those that could not be read.
    pub fn look(&self) {
        self.look.notify_one();
    }

    /// Completes when there are other databases. Nothing is lost when it is not waited for.
    pub async fn next(&mut self) -> Places {
        match self.fresh.recv().await {
            Some(places) => places,
            // The follower has ended, and has said why.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Replacements {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Lets go of databases in another thread: giving back so much memory takes its time.
pub fn let_go(places: Box<dyn Enricher>) {
    // Nothing waits for it.
    drop(spawn_blocking(move || drop(places)));
}

struct Follower {
    signs: Signs,
    settling: Settling,
    fresh: mpsc::Sender<Places>,
    look: Arc<Notify>,
}

impl Follower {
    /// Ends when nobody wants databases any more.
    async fn run(mut self, mut catalogue: Catalogue, mut ground: Ground) -> Result<(), JoinError> {
        let mut again = false;
        loop {
            let replaced = loop {
                let looked = spawn_blocking(move || {
                    // First the ear, then the eye: nothing comes in between.
                    ground.set(&catalogue.directories());
                    let sightings = catalogue.look(again);
                    (catalogue, ground, sightings)
                });
                let sightings;
                (catalogue, ground, sightings) = looked.await?;
                let replaced = self.settling.take(sightings, Instant::now());
                if !replaced.is_empty() {
                    break replaced;
                }
                if let Some(settled) = self.settling.next() {
                    tokio::time::sleep_until(settled.min(Instant::now() + LOOK_WHILE_WAITING)).await;
                } else {
                    again = self.wait().await;
                }
            };
            again = false;
            let taken = spawn_blocking(move || {
                let changes = catalogue.take(replaced);
                (catalogue, changes)
            });
            let changes;
            (catalogue, changes) = taken.await?;
            for warning in changes.warnings {
                tracing::warn!("{warning}");
            }
            for news in changes.news {
                tracing::info!("{news}");
            }
            if let Some(places) = changes.places
                && self.fresh.send(places).await.is_err()
            {
                return Ok(());
            }
        }
    }

    /// Waits until there is a reason to look. True: look also at what could not be read.
    async fn wait(&mut self) -> bool {
        tokio::select! {
            () = self.signs.next() => {
                tokio::time::sleep(COLLECT).await;
                self.signs.clear();
                false
            }
            () = self.look.notified() => true,
            () = tokio::time::sleep(LOOK) => true,
        }
    }
}
