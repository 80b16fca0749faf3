//! Following which ports this host serves: a task looks once a second, the event loop puts what has changed in force.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::config::Config;
use crate::kernel::policy::PortBits;
use crate::net::listening::{Listening, ListeningError, ServedPorts};

/// How often is looked: what has changed is in force within a second or little more.
const LOOK: Duration = Duration::from_secs(1);

impl From<&ServedPorts> for PortBits {
    fn from(ports: &ServedPorts) -> Self {
        Self {
            tcp: Box::new(*ports.tcp.words()),
            udp: Box::new(*ports.udp.words()),
        }
    }
}

/// The served ports, as they change.
#[derive(Debug)]
pub struct ServedFollower {
    changes: mpsc::Receiver<Arc<PortBits>>,
}

impl ServedFollower {
    /// Looks for the first time, and has a task look from then on until the follower is dropped. None: nothing is to be left out.
    ///
    /// # Errors
    /// The kernel does not say what this host listens on.
    pub fn start(config: &Config) -> Result<Option<(Self, ServedPorts)>, ListeningError> {
        let Some(served) = &config.served else {
            return Ok(None);
        };
        let mut listening = Listening::new(served.overrides.clone());
        let first = listening.look(Instant::now())?.unwrap_or_default();
        let (to, changes) = mpsc::channel(1);
        tokio::spawn(follow(listening, to));
        Ok(Some((Self { changes }, first)))
    }

    /// What is served now. Ready only when that has changed.
    pub async fn changed(&mut self) -> Arc<PortBits> {
        match self.changes.recv().await {
            Some(ports) => ports,
            // The task has broken off, which it has said.
            None => std::future::pending().await,
        }
    }
}

async fn follow(mut listening: Listening, changes: mpsc::Sender<Arc<PortBits>>) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = changes.closed() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        // The kernel walks its tables of sockets meanwhile.
        let looked = spawn_blocking(move || {
            let ports = listening.look(Instant::now());
            (listening, ports)
        })
        .await;
        let (again, ports) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                tracing::error!("the served ports are no longer followed: {error}");
                return;
            }
        };
        listening = again;
        match ports {
            Ok(None) => failing = false,
            Ok(Some(ports)) => {
                failing = false;
                if changes.send(Arc::new(PortBits::from(&ports))).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(
                        "the served ports stay as they were: {:#}",
                        anyhow::Error::from(error)
                    );
                }
                failing = true;
            }
        }
    }
}
