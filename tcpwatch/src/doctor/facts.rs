//! What the machine says of itself: thin reading, no judgement.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, getrlimit};

use super::machine::BpfFs;
use super::stores::{Opened, Pins, Running, Target};
use crate::history::{self, HistoryError};
use crate::kernel::pins::is_bpf;

/// Where file systems for BPF are mounted.
pub const BPFFS: &str = "/sys/fs/bpf";
/// Where tcpwatch's pins usually are.
const PINS: &str = "/sys/fs/bpf/tcpwatch";

/// A file of /proc or /sys; none: it is not there, or not for this user.
pub fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Memory that can be had without paging, in bytes.
pub fn available_memory() -> Option<u64> {
    available(&read("/proc/meminfo")?)
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Most files that this process may have open; none: there is no limit.
pub fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The file system for pins; `pin`: where this run is to pin.
pub fn bpffs(pin: Option<&Path>) -> BpfFs {
    let path = pin.map_or_else(|| PathBuf::from(BPFFS), Path::to_owned);
    let there = nearest(&path);
    BpfFs {
        mounted: is_bpf(&there).unwrap_or(false),
        writable: access(&there, Access::WRITE_OK).is_ok(),
        path: path.display().to_string(),
        wanted: pin.is_some(),
    }
}

/// The path itself, or the nearest directory above it that is there.
fn nearest(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|path| path.exists());
    match found {
        Some(path) if path != Path::new("") => path.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Where a file is to be written. `makes_directories`: whether its directory is made where there is none.
pub fn target(path: &Path, makes_directories: bool) -> Target {
    let metadata = fs::metadata(path).ok();
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => nearest(parent),
        Some(_) | None => PathBuf::from("."),
    };
    let has_directory = path
        .parent()
        .is_none_or(|parent| parent == Path::new("") || parent.is_dir());
    let writable = match &metadata {
        Some(metadata) => !metadata.is_dir() && access(path, Access::WRITE_OK).is_ok(),
        None => (has_directory || makes_directories) && access(&directory, Access::WRITE_OK).is_ok(),
    };
    let space = statvfs(&directory)
        .ok()
        .filter(|system| system.f_blocks > 0)
        .map(|system| {
            (
                system.f_bavail * system.f_frsize,
                system.f_blocks * system.f_frsize,
            )
        });
    Target {
        path: path.to_owned(),
        bytes: metadata.map(|metadata| metadata.len()),
        directory,
        writable,
        space,
    }
}

/// Opens a history as a reader does.
pub fn open(path: &Path) -> Opened {
    match history::open(path, history::Access::Read) {
        Ok(_) => Opened::Opens,
        Err(HistoryError::Missing { .. }) => Opened::Missing,
        Err(error) => Opened::Refused(super::finding::chain(&error)),
    }
}

/// Whether somebody answers at a socket.
pub fn running(socket: &Path) -> Running {
    match UnixStream::connect(socket) {
        Ok(_) => Running::Answers,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Running::No,
            io::ErrorKind::PermissionDenied => Running::Forbidden,
            _ => Running::Stale,
        },
    }
}

/// Where pins are looked for.
pub fn pin_directory(pin: Option<&Path>) -> PathBuf {
    pin.map_or_else(|| PathBuf::from(PINS), Path::to_owned)
}

/// What is pinned in a directory. The lock that a living tcpwatch holds on it is asked for, and let go at once.
pub fn pins(directory: &Path) -> Pins {
    let found = pinned(directory);
    let held = || File::open(directory).map(|directory| directory.try_lock());
    match found {
        Pins::Some if matches!(held(), Ok(Err(TryLockError::WouldBlock))) => Pins::Held,
        found => found,
    }
}

/// At any depth: empty directories are nothing.
fn pinned(directory: &Path) -> Pins {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Pins::Forbidden,
        Err(_) => return Pins::None,
    };
    for entry in entries.flatten() {
        let found = match entry.file_type() {
            Ok(kind) if kind.is_dir() => pinned(&entry.path()),
            Ok(_) => Pins::Some,
            Err(_) => Pins::None,
        };
        if found != Pins::None {
            return found;
        }
    }
    Pins::None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_a_line_of_meminfo() {
        assert_eq!(
            available("MemTotal:       4021448 kB\nMemFree: 1 kB\nMemAvailable:    3012345 kB\n"),
            Some(3_012_345 * 1024)
        );
        assert_eq!(available(""), None);
    }

    #[test]
    fn a_file_is_judged_by_the_nearest_directory_that_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b/history.db");
        let made = target(&deep, true);
        assert_eq!(made.directory, directory.path());
        assert!(made.writable && made.bytes.is_none() && made.space.is_some());
        assert!(!target(&deep, false).writable);
        assert!(!target(directory.path(), true).writable);
        fs::write(directory.path().join("x"), "abc").unwrap();
        assert_eq!(target(&directory.path().join("x"), false).bytes, Some(3));
    }

    #[test]
    fn empty_directories_are_no_pins() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(pins(&directory.path().join("none")), Pins::None);
        fs::create_dir_all(directory.path().join("v3/usual")).unwrap();
        assert_eq!(pins(directory.path()), Pins::None);
        fs::write(directory.path().join("v3/usual/FRONT4"), "").unwrap();
        assert_eq!(pins(directory.path()), Pins::Some);
        let lock = File::open(directory.path()).unwrap();
        lock.lock().unwrap();
        assert_eq!(pins(directory.path()), Pins::Held);
        drop(lock);
        assert_eq!(pins(directory.path()), Pins::Some);
    }

    #[test]
    fn a_socket_that_nobody_listens_on_is_stale() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        assert_eq!(running(&path), Running::No);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(running(&path), Running::Answers);
        drop(listener);
        assert_eq!(running(&path), Running::Stale);
    }
}
