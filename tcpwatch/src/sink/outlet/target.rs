//! Byte targets: standard output and files.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Takes bytes.
pub(super) trait Target: Send {
    /// Sees to it, until [`Self::release`], that nobody else's line comes between the bytes of a record. Does no harm when
    /// that is so already. `WouldBlock` means that somebody else's record is being written.
    fn hold(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The record is out whole, or nothing of it.
    fn release(&mut self) {}

    /// Writes some of `bytes`, unbuffered, and says how many. `BrokenPipe` means that nobody reads.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Takes back the last `count` bytes that were written, if that is possible.
    fn take_back(&mut self, count: usize) -> io::Result<()>;

    /// The same target opened anew; none when there is no such thing.
    fn reopen(&self) -> io::Result<Option<Box<dyn Target>>>;
}

/// Standard output without the buffer of `std::io::Stdout`, which keeps what could not be written.
pub(super) struct Stdout {
    file: fs::File,
    terminal: bool,
}

impl Stdout {
    pub(super) fn open() -> io::Result<Self> {
        let stdout = io::stdout();
        Ok(Self {
            file: stdout.as_fd().try_clone_to_owned()?.into(),
            terminal: stdout.is_terminal(),
        })
    }
}

impl Target for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|error| {
            // What a terminal that was hung up answers: its reader has gone as that of a pipe has.
            if self.terminal && error.raw_os_error() == Some(libc::EIO) {
                io::Error::new(io::ErrorKind::BrokenPipe, error)
            } else {
                error
            }
        })
    }

    fn take_back(&mut self, _count: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn reopen(&self) -> io::Result<Option<Box<dyn Target>>> {
        Ok(None)
    }
}

/// A file that is appended to, perhaps by several runs of the program: it is locked (flock) for each record, which may
/// take many writes.
pub(super) struct File {
    path: PathBuf,
    file: fs::File,
    lock: Lock,
}

/// Whether lines of others can be kept out.
enum Lock {
    Works,
    /// Somebody else has had it since.
    Missing(Instant),
    /// Somebody else has had it for too long: it is done without.
    GivenUp,
}

/// How long another run may take for a record. Who can read a file can lock it, and must not be able to stop the writing.
const PATIENCE: Duration = Duration::from_secs(2);

impl File {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // Opening a pipe would wait for a reader.
        if fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is a pipe, not a file",
            ));
        }
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .open(path)?;
        // Where another run is in the middle of a line, the line is not torn.
        if lock(&file).is_ok() {
            if has_torn_line(path)? {
                file.write_all(b"\n")?;
                tracing::warn!(
                    "{} ended in the middle of a line: a new line is begun",
                    path.display()
                );
            }
            unlock(&file);
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            lock: Lock::Works,
        })
    }
}

impl Target for File {
    fn hold(&mut self) -> io::Result<()> {
        let locked = lock(&self.file);
        self.lock = match (&locked, &self.lock) {
            (Ok(()), _) => Lock::Works,
            (Err(_), Lock::Works) => Lock::Missing(Instant::now()),
            (Err(_), Lock::Missing(since)) if since.elapsed() < PATIENCE => Lock::Missing(*since),
            (Err(_), Lock::Missing(_)) => {
                tracing::warn!(
                    "{} is locked by another program: lines of both may be mixed up",
                    self.path.display()
                );
                Lock::GivenUp
            }
            (Err(_), Lock::GivenUp) => Lock::GivenUp,
        };
        match self.lock {
            Lock::GivenUp => Ok(()),
            Lock::Works | Lock::Missing(_) => locked,
        }
    }

    fn release(&mut self) {
        unlock(&self.file);
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn take_back(&mut self, count: usize) -> io::Result<()> {
        // After a write in append mode the position is the end of what was written. If it is not the end of the
        // file, somebody else has appended, and cutting would take what is theirs.
        let end = self.file.stream_position()?;
        if !self.file.metadata()?.is_file() || self.file.metadata()?.len() != end {
            return Err(io::ErrorKind::Unsupported.into());
        }
        match u64::try_from(count).ok().and_then(|count| end.checked_sub(count)) {
            Some(length) => self.file.set_len(length),
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn reopen(&self) -> io::Result<Option<Box<dyn Target>>> {
        Ok(Some(Box::new(Self::open(&self.path)?)))
    }
}

/// `WouldBlock`: somebody else has the lock. What cannot be locked at all counts as locked: a file system may have no locks.
fn lock(file: &fs::File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(fs::TryLockError::Error(error)) => {
            tracing::debug!("cannot lock: {error}");
            Ok(())
        }
    }
}

fn unlock(file: &fs::File) {
    if let Err(error) = file.unlock() {
        tracing::debug!("cannot unlock: {error}");
    }
}

/// Whether the last byte of a file is not a line's end. Needs permission to read; without it, no line is torn.
fn has_torn_line(path: &Path) -> io::Result<bool> {
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn write_all(target: &mut dyn Target, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = target.write(bytes).unwrap();
            bytes = &bytes[count..];
        }
    }

    #[test]
    fn a_file_is_made_for_everyone_to_read_and_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records");
        write_all(&mut File::open(&path).unwrap(), b"one\n");
        write_all(&mut File::open(&path).unwrap(), b"two\n");
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & !0o644 & 0o777, 0, "{mode:o}");
    }

    #[test]
    fn a_line_that_a_crash_cut_short_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records");
        fs::write(&path, b"one\n{\"half").unwrap();
        write_all(&mut File::open(&path).unwrap(), b"two\n");
        assert_eq!(fs::read(&path).unwrap(), b"one\n{\"half\ntwo\n");
    }

    #[test]
    fn bytes_are_taken_back_only_from_the_end_of_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records");
        let mut file = File::open(&path).unwrap();
        write_all(&mut file, b"one\ntwo");
        file.take_back(3).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\n");
        write_all(&mut file, b"two");
        write_all(
            &mut File {
                path: path.clone(),
                file: fs::OpenOptions::new().append(true).open(&path).unwrap(),
                lock: Lock::Works,
            },
            b"x",
        );
        assert!(file.take_back(3).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwox");
    }

    #[test]
    fn a_record_of_one_run_is_held_against_the_lines_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records");
        let mut one = File::open(&path).unwrap();
        one.hold().unwrap();
        one.hold().unwrap();
        write_all(&mut one, b"one");
        // A line that is being written is not one that a crash cut short.
        let mut two = File::open(&path).unwrap();
        assert_eq!(two.hold().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        write_all(&mut one, b"\n");
        one.release();
        two.hold().unwrap();
        write_all(&mut two, b"two\n");
        assert_eq!(one.hold().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(two);
        one.hold().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn who_keeps_a_file_locked_does_not_stop_the_writing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records");
        let mut file = File::open(&path).unwrap();
        let other = fs::File::open(&path).unwrap();
        other.lock().unwrap();
        assert_eq!(file.hold().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        file.lock = Lock::Missing(Instant::now().checked_sub(PATIENCE).unwrap());
        file.hold().unwrap();
        file.hold().unwrap();
        // Once it is free, it is waited for again.
        other.unlock().unwrap();
        file.hold().unwrap();
        file.release();
        other.lock().unwrap();
        assert_eq!(file.hold().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_reader_that_has_gone_is_a_broken_pipe() {
        let (reader, writer) = io::pipe().unwrap();
        let mut stdout = Stdout {
            file: std::os::fd::OwnedFd::from(writer).into(),
            terminal: false,
        };
        write_all(&mut stdout, b"one\n");
        drop(reader);
        assert_eq!(
            stdout.write(b"two\n").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn what_cannot_be_appended_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(File::open(directory.path()).is_err());
        assert!(File::open(&directory.path().join("no/such/directory")).is_err());
        assert!(File::open(Path::new("/dev/null")).is_ok());
        let pipe = directory.path().join("pipe");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(
            File::open(&pipe).err().unwrap().to_string(),
            "it is a pipe, not a file"
        );
    }
}
