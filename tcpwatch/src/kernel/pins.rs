//! What goes on counting without the daemon: tables and TCX links under names in a BPF file system.
//!
//! `DIR/v<ABI>/<instance>/` has the tables of one run by their names, and its links as `link-<interface>-<direction>`. The next run makes
//! tables of its own, puts its program into the links in place of the old one, so that every packet is counted by one of the two,
//! and then reads what the old tables have ([`Leftover`]).

mod left;

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Map, MapData};
use tcpwatch_common::ABI_VERSION;

use super::attach::Direction;
use super::tables::{TableError, call_error, map_error};

pub use self::left::Leftover;

/// The tables that counts are read from, and what is mapped with them.
const TABLES: [&str; 16] = [
    "CPUS",
    "FRONT4",
    "FRONT6",
    "BESIDE4",
    "BESIDE6",
    "OWN4",
    "OWN6",
    "PORTS",
    "SPILL_0",
    "SPILL_1",
    "NUMBERS_0",
    "NUMBERS_1",
    "BANS_0",
    "BANS_1",
    "BAN_COUNTS_0",
    "BAN_COUNTS_1",
];

/// What links' names begin with.
const LINK: &str = "link-";

/// Why nothing can be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// A directory elsewhere.
    #[error(
        "--pin {0}: not in a BPF file system: mount one (mount -t bpf bpf /sys/fs/bpf), or choose a directory below it"
    )]
    NotBpf(String),
    /// A run that is alive.
    #[error("--pin {0}: another tcpwatch keeps its tables there: stop it first, or choose another directory")]
    Busy(String),
    /// The file system.
    #[error("--pin {directory}: cannot {step}: it must be a directory that this user may write")]
    Directory {
        /// As given.
        directory: String,
        /// What was being done.
        step: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The directory of one run.
#[derive(Debug)]
pub struct Pins {
    /// As given.
    directory: PathBuf,
    /// That of this version's tables.
    version: PathBuf,
    /// This run's.
    own: PathBuf,
    instance: String,
    /// To put tables back that somebody removed from the directory.
    tables: Vec<(&'static str, MapData)>,
    /// The run is over, and what it has pinned stays.
    stays: bool,
    /// Held while this process lives.
    _lock: File,
}

impl Pins {
    /// Makes this run's directory, which goes again when this is dropped without [`Self::stay`].
    ///
    /// # Errors
    /// It is not in a BPF file system, another run is alive there, or no directory can be made.
    pub fn open(directory: &Path, instance: &str) -> Result<Self, PinError> {
        let name = || directory.display().to_string();
        let failed = |step| {
            let directory = name();
            move |source| PinError::Directory {
                directory,
                step,
                source,
            }
        };
        if !is_bpf(existing(directory)).map_err(failed("look at it"))? {
            return Err(PinError::NotBpf(name()));
        }
        let version = directory.join(format!("v{ABI_VERSION}"));
        let own = version.join(instance);
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        make(directory).map_err(failed("make it"))?;
        let lock = File::open(directory).map_err(failed("open it"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PinError::Busy(name())),
            Err(TryLockError::Error(source)) => return Err(failed("lock it")(source)),
        }
        make(&version).map_err(failed("make a directory in it"))?;
        DirBuilder::new()
            .mode(0o700)
            .create(&own)
            .map_err(failed("make a directory in it"))?;
        Ok(Self {
            directory: directory.to_owned(),
            version,
            own,
            instance: instance.to_owned(),
            tables: Vec::new(),
            stays: false,
            _lock: lock,
        })
    }

    /// What was given with --pin.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// This run's name.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Pins the tables of a loaded object.
    ///
    /// # Errors
    /// One is missing, or the kernel refuses: the file system is read-only, the right is missing.
    pub(super) fn pin_tables(&mut self, ebpf: &Ebpf) -> Result<(), PinError> {
        for name in TABLES {
            let data = match ebpf.map(name) {
                Some(Map::HashMap(data) | Map::Array(data) | Map::LpmTrie(data)) => data,
                _ => return Err(TableError::Missing(name.to_owned()).into()),
            };
            let fd = data
                .fd()
                .as_fd()
                .try_clone_to_owned()
                .map_err(call_error("use", name))?;
            let data = MapData::from_fd(fd).map_err(map_error("use", name))?;
            self.tables.push((name, data));
        }
        self.mend_tables()
    }

    /// Pins the tables that have no name in the directory.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn mend_tables(&self) -> Result<(), PinError> {
        let refused = |source| PinError::Directory {
            directory: self.directory.display().to_string(),
            step: "pin the kernel tables in it",
            source,
        };
        if !self.own.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.own)
                .map_err(refused)?;
        }
        for (name, data) in &self.tables {
            let path = self.own.join(name);
            if !path.exists() {
                data.pin(&path)
                    .map_err(|error| refused(io::Error::other(anyhow::Error::from(error))))?;
            }
        }
        Ok(())
    }

    /// Where this run pins its link on a hook.
    #[must_use]
    pub fn link(&self, ifindex: u32, direction: Direction) -> PathBuf {
        self.own.join(format!("{LINK}{ifindex}-{direction}"))
    }

    /// The links that other runs have pinned for a hook.
    #[must_use]
    pub fn others_links(&self, ifindex: u32, direction: Direction) -> Vec<PathBuf> {
        let name = format!("{LINK}{ifindex}-{direction}");
        self.all_others()
            .into_iter()
            .map(|run| run.join(&name))
            .filter(|path| path.exists())
            .collect()
    }

    /// Directories of other runs, of this version and others.
    fn all_others(&self) -> Vec<PathBuf> {
        subdirectories(&self.directory)
            .iter()
            .flat_map(|version| subdirectories(version))
            .filter(|run| *run != self.own)
            .collect()
    }

    /// Names of the runs that have left tables of this version.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let name = |run: &PathBuf| Some(run.file_name()?.to_str()?.to_owned());
        subdirectories(&self.version)
            .iter()
            .filter(|run| **run != self.own)
            .filter_map(name)
            .collect()
    }

    /// The tables of such a run.
    ///
    /// # Errors
    /// They are not whole, or cannot be read.
    pub fn leftover(&self, run: &str) -> Result<Leftover, TableError> {
        Leftover::open(&self.version.join(run))
    }

    /// Takes the links of all other runs off: what is to be counted has a link of this run.
    pub fn release_links(&self) {
        for run in self.all_others() {
            for path in entries(&run) {
                if is_link(&path) {
                    remove(&path);
                }
            }
        }
    }

    /// Removes what another run has left.
    pub fn remove(&self, run: &str) {
        remove_run(&self.version.join(run));
    }

    /// Removes the tables of other versions. Their names.
    pub fn remove_other_versions(&self) -> Vec<String> {
        let mut gone = Vec::new();
        for version in subdirectories(&self.directory) {
            if version != self.version {
                for run in subdirectories(&version) {
                    remove_run(&run);
                    gone.push(run.display().to_string());
                }
                remove_directory(&version);
            }
        }
        gone
    }

    /// Leaves everything where it is when the process ends.
    pub const fn stay(&mut self) {
        self.stays = true;
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if !self.stays {
            remove_run(&self.own);
            // Where nothing else is left, nothing is left.
            if fs::remove_dir(&self.version).is_ok() && fs::remove_dir(&self.directory).is_err() {
                tracing::debug!("{} stays", self.directory.display());
            }
        }
    }
}

/// Whether a directory is in a BPF file system.
///
/// # Errors
/// It cannot be looked at.
pub fn is_bpf(path: &Path) -> io::Result<bool> {
    /// BPF_FS_MAGIC, include/uapi/linux/magic.h.
    const MAGIC: u64 = 0xcafe_4a11;
    Ok(rustix::fs::statfs(path)?.f_type as u64 == MAGIC)
}

/// The nearest ancestor that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|path| !path.as_os_str().is_empty() && path.exists())
        .unwrap_or(Path::new("/"))
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path()).collect()
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let mut found = entries(directory);
    found.retain(|path| path.is_dir());
    found.sort_unstable();
    found
}

fn is_link(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(LINK))
}

/// Removes a name in the BPF file system; a failure is said.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("cannot remove {}: {error}", path.display());
    }
}

fn remove_directory(path: &Path) {
    if let Err(error) = fs::remove_dir(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("cannot remove {}: {error}", path.display());
    }
}

/// Links first: tables that are gone are not written to.
fn remove_run(run: &Path) {
    let (links, tables): (Vec<_>, Vec<_>) = entries(run).into_iter().partition(|path| is_link(path));
    for path in links.iter().chain(&tables) {
        remove(path);
    }
    remove_directory(run);
}
