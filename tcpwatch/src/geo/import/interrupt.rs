//! Ctrl-C while a file is in the making: the program tidies up instead of ending where it stands.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::kernel::requirements::ignores_hangup;

/// Whether the program was asked to end, since this was made.
#[derive(Debug)]
pub struct Interrupt {
    came: Arc<AtomicBool>,
}

impl Interrupt {
    /// From here on, SIGINT, SIGTERM and SIGHUP end nothing by themselves. SIGHUP stays ignored where it was (nohup).
    ///
    /// # Errors
    ///
    /// The system has no room for the handlers or the thread.
    pub fn watch() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        // Without /proc nobody knows; then the terminal's end is a reason to end.
        let outlives_the_terminal = ignores_hangup().unwrap_or(false);
        let (mut interrupt, mut terminate, mut hang_up) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                if outlives_the_terminal {
                    None
                } else {
                    Some(signal(SignalKind::hangup())?)
                },
            )
        };
        let came = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&came);
        // It ends with the program.
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                        _ = hung_up(hang_up.as_mut()) => {}
                    }
                });
                seen.store(true, Ordering::Relaxed);
            })?;
        Ok(Self { came })
    }

    /// It was.
    pub fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }
}

/// Never ready without a signal to wait for.
async fn hung_up(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
