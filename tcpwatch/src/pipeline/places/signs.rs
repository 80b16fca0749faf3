//! Signs that a file may have changed: what the kernel tells about directories (inotify). They are only a reason to look; that
//! some never come is made up for by a look now and then.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use futures_util::{FutureExt as _, StreamExt as _};
use inotify::{EventStream, Inotify, WatchDescriptor, WatchMask, Watches};

/// Enough for some dozens of signs at a time.
const BUFFER_BYTES: usize = 4096;

/// What may happen to files in a directory, and to itself.
const FILES: WatchMask = WatchMask::CLOSE_WRITE
    .union(WatchMask::ATTRIB)
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVED_FROM)
    .union(ARRIVALS);

/// What is of interest in a directory because another may be made in it. The same one may be both, so this is added.
const ARRIVALS: WatchMask = WatchMask::CREATE
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR)
    .union(WatchMask::MASK_ADD);

/// Begins to listen. Without inotify there are no signs, which is said once.
pub fn listen() -> (Signs, Ground) {
    let opened =
        Inotify::init().and_then(|inotify| inotify.into_event_stream([0; BUFFER_BYTES]).map(Box::new));
    let (stream, watches, said) = match opened {
        Ok(stream) => {
            let watches = stream.watches();
            (Some(stream), Some(watches), false)
        }
        Err(error) => {
            tracing::warn!(
                "replaced place databases are noticed within a minute, not at once: no inotify: {error}: \
                 raise fs.inotify.max_user_instances"
            );
            (None, None, true)
        }
    };
    let ground = Ground {
        watches,
        watched: HashSet::new(),
        said,
    };
    (Signs { stream }, ground)
}

/// The signs as they come.
pub struct Signs {
    /// None: there are none to be had.
    stream: Option<Box<EventStream<[u8; BUFFER_BYTES]>>>,
}

impl Signs {
    /// Completes when there is one.
    pub async fn next(&mut self) {
        let Some(stream) = &mut self.stream else {
            return std::future::pending().await;
        };
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => self.give_up(&error.to_string()),
            None => self.give_up("inotify has ended"),
        }
    }

    /// Throws away those that have come meanwhile: one look answers them all.
    pub fn clear(&mut self) {
        while let Some(stream) = &mut self.stream
            && let Some(Some(Ok(_))) = stream.next().now_or_never()
        {}
    }

    fn give_up(&mut self, why: &str) {
        tracing::warn!("replaced place databases are noticed within a minute, not at once: {why}");
        self.stream = None;
    }
}

/// The directories that signs come from.
pub struct Ground {
    watches: Option<Watches>,
    watched: HashSet<WatchDescriptor>,
    /// Whether it was said that some give no signs.
    said: bool,
}

impl Ground {
    /// Listens to these directories and no others. For one that does not exist, to the nearest above it that does. To be called
    /// before every look, for a directory that was removed and made again is another.
    pub fn set(&mut self, directories: &[PathBuf]) {
        let Some(watches) = &mut self.watches else {
            return;
        };
        let mut watched = HashSet::new();
        for directory in directories {
            match watch(watches, directory) {
                Ok(descriptors) => watched.extend(descriptors),
                Err(_) if self.said => {}
                Err(error) => {
                    self.said = true;
                    let cure = match error.kind() {
                        ErrorKind::StorageFull => ": raise fs.inotify.max_user_watches",
                        _ => "",
                    };
                    tracing::warn!(
                        "replaced place databases in {} are noticed within a minute, not at once: {error}{cure}",
                        directory.display()
                    );
                }
            }
        }
        for left in self.watched.difference(&watched) {
            // Mostly because it is gone, and the watch with it.
            if let Err(error) = watches.remove(left.clone()) {
                tracing::debug!("a directory was not listened to any more: {error}");
            }
        }
        self.watched = watched;
    }
}

fn watch(watches: &mut Watches, directory: &Path) -> io::Result<Vec<WatchDescriptor>> {
    let mut descriptors = Vec::new();
    let mut mask = FILES;
    let mut at = directory;
    loop {
        let here = if at == Path::new("") { Path::new(".") } else { at };
        match watches.add(here, mask) {
            Ok(descriptor) => {
                descriptors.push(descriptor);
                // It may have been made before the one above it was listened to.
                if at == directory || descriptors.len() > 1 || !directory.exists() {
                    return Ok(descriptors);
                }
                (mask, at) = (FILES, directory);
            }
            Err(error) => match (error.kind(), at.parent()) {
                (ErrorKind::NotFound | ErrorKind::NotADirectory, Some(above)) => {
                    (mask, at) = (ARRIVALS, above);
                }
                _ => return Err(error),
            },
        }
    }
}
