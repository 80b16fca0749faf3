//! The journal: what was drained from the kernel and is in no record yet, in files that live as long as the machine runs.
//!
//! A file holds one interval. Before the kernel's tables are cleared, what was read of them is appended; when the interval ends, so
//! is the number of its record; when the record is written everywhere, the file goes. So whoever is killed at any moment leaves
//! everything either in the kernel or here, and the next start tells which.

mod entry;
mod written;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::kernel::drain::Moment;
use crate::record::WatchedInterface;
use crate::tally::{Drained, Tally};

use self::entry::{Entry, Stamp};
pub use self::written::is_written;

/// What follows the number in a file's name.
const EXTENSION: &str = "journal";

/// An interval that no record was confirmed for.
#[derive(Debug)]
pub struct Unfinished {
    /// When it began.
    pub start: Moment,
    /// Until when counts are in the tally.
    pub until: Moment,
    /// What was drained.
    pub tally: Tally,
    /// Interface names by number.
    pub names: HashMap<u32, Arc<str>>,
    /// What its record says; none: the interval had not ended.
    pub ended: Option<Ended>,
}

/// What the record of an interval says besides the counts.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Identifier of the run.
    pub run: Arc<str>,
    /// Number of the record.
    pub seq: u64,
    /// When the interval ended.
    pub end: Moment,
    /// Whether it was cut short.
    pub partial: bool,
    /// What was watched.
    pub interfaces: Vec<WatchedInterface>,
}

/// The journal of a run.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    /// The current interval's file; none: it cannot be made.
    file: Option<File>,
    /// Its number.
    number: u64,
    /// Bytes of whole entries in it.
    length: u64,
    /// When the current interval began.
    start: Moment,
    /// The interfaces that the file names.
    named: HashMap<u32, Arc<str>>,
    /// Ended intervals whose records are not confirmed, in order.
    ended: VecDeque<u64>,
    /// Generations that earlier runs have left here: their tables' name and epoch.
    kept: HashSet<(String, u64)>,
    /// A failure was said.
    failing: bool,
}

impl Journal {
    /// Opens the journal in a directory, which is made if there is none, and brings up what earlier runs have left, in order. If the last
    /// interval of that has not ended, it is gone on with.
    ///
    /// # Errors
    /// The directory cannot be made, read or written.
    pub fn open(directory: &Path, now: Moment) -> io::Result<(Self, Vec<Unfinished>)> {
        DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
        let mut journal = Self {
            directory: directory.to_owned(),
            file: None,
            number: 0,
            length: 0,
            start: now,
            named: HashMap::new(),
            ended: VecDeque::new(),
            kept: HashSet::new(),
            failing: false,
        };
        let mut unfinished: Vec<Unfinished> = Vec::new();
        for number in journal.numbers()? {
            journal.number = number;
            let Some(read) = journal.read(number)? else {
                continue;
            };
            match &read.ended {
                Some(_) => journal.ended.push_back(number),
                None => journal.go_on(number, &read)?,
            }
            unfinished.push(read);
        }
        if journal.file.is_none() {
            journal.begin(now)?;
        }
        Ok((journal, unfinished))
    }

    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION)
                && let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok())
            {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:016}.{EXTENSION}"))
    }

    /// What a file holds; none: nothing that can be used, and it is gone.
    fn read(&mut self, number: u64) -> io::Result<Option<Unfinished>> {
        let path = self.path(number);
        let bytes = fs::read(&path)?;
        let (entries, length) = entry::read_all(&bytes);
        self.length = length as u64;
        let mut entries = entries.into_iter();
        let Some(Entry::Begin { start }) = entries.next() else {
            // Killed while it was made, or of another version.
            if !bytes.is_empty() {
                tracing::error!(
                    "{} is no journal of this version: what it holds is in no record",
                    path.display()
                );
            }
            fs::remove_file(&path)?;
            return Ok(None);
        };
        if length < bytes.len() {
            // The entry that the kill cut short: its tables were not cleared.
            tracing::debug!(
                "{}: {} bytes of a torn entry",
                path.display(),
                bytes.len() - length
            );
        }
        let start = start.moment();
        let mut read = Unfinished {
            start,
            until: start,
            tally: Tally::default(),
            names: HashMap::new(),
            ended: None,
        };
        for entry in entries {
            match entry {
                Entry::Begin { .. } => {}
                Entry::Interfaces(names) => read.names.extend(names),
                Entry::Drain {
                    tables,
                    epoch,
                    retired,
                    counts,
                } => {
                    self.kept.insert((tables, epoch));
                    read.until = retired.moment();
                    if let Some(imbalance) = read.tally.add(counts.into()) {
                        tracing::error!("the books of the run before do not balance: {imbalance}");
                    }
                }
                Entry::End {
                    run,
                    seq,
                    end,
                    partial,
                    interfaces,
                } => {
                    read.ended = Some(Ended {
                        run,
                        seq,
                        end: end.moment(),
                        partial,
                        interfaces,
                    });
                }
            }
        }
        Ok(Some(read))
    }

    fn go_on(&mut self, number: u64, read: &Unfinished) -> io::Result<()> {
        let file = OpenOptions::new().append(true).open(self.path(number))?;
        file.set_len(self.length)?;
        self.file = Some(file);
        self.start = read.start;
        self.named.clone_from(&read.names);
        Ok(())
    }

    /// Whether earlier runs have left this generation here.
    #[must_use]
    pub fn has(&self, tables: &str, epoch: u64) -> bool {
        self.kept.contains(&(tables.to_owned(), epoch))
    }

    /// An interval begins.
    ///
    /// # Errors
    /// Its file cannot be made: tried again with the next drain.
    fn begin(&mut self, start: Moment) -> io::Result<()> {
        self.start = start;
        self.file = None;
        self.named.clear();
        self.number += 1;
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(self.number))?;
        self.length = 0;
        self.file = Some(file);
        self.append(entry::MAGIC)?;
        self.append_entry(&Entry::Begin {
            start: Stamp::of(start),
        })
    }

    fn append_entry(&mut self, entry: &Entry) -> io::Result<()> {
        let bytes = entry::to_bytes(entry)?;
        self.append(&bytes)
    }

    /// All of it, or nothing.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        match file.write_all(bytes) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                if file.set_len(self.length).is_err() {
                    // What comes behind half an entry could not be read.
                    self.file = None;
                }
                Err(error)
            }
        }
    }

    fn said<T>(&mut self, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.failing = false;
                Some(value)
            }
            Err(error) => {
                if !self.failing {
                    tracing::error!(
                        "cannot write the journal in {}: {error}; were tcpwatch killed now, the counts of this interval would be lost",
                        self.directory.display()
                    );
                }
                self.failing = true;
                None
            }
        }
    }

    /// The names of the interfaces that are counted on.
    pub fn interfaces(&mut self, names: &HashMap<u32, Arc<str>>) {
        if names
            .iter()
            .all(|(index, name)| self.named.get(index) == Some(name))
        {
            return;
        }
        let entry = Entry::Interfaces(
            names
                .iter()
                .map(|(index, name)| (*index, Arc::clone(name)))
                .collect(),
        );
        let appended = self.append_entry(&entry);
        if self.said(appended).is_some() {
            self.named
                .extend(names.iter().map(|(index, name)| (*index, Arc::clone(name))));
        }
    }

    /// Keeps what was read of a generation of `tables`. True: it is here, and may be cleared there. False was said.
    pub fn drained(&mut self, tables: &str, epoch: u64, drained: &Drained, retired: Moment) -> bool {
        let entry = Entry::Drain {
            tables: tables.to_owned(),
            epoch,
            retired: Stamp::of(retired),
            counts: drained.into(),
        };
        let begun = if self.file.is_none() {
            self.begin(self.start)
        } else {
            Ok(())
        };
        let appended = begun.and_then(|()| self.append_entry(&entry));
        self.said(appended).is_some()
    }

    /// The interval has this record, and another begins.
    pub fn end(&mut self, ended: &Ended) {
        let appended = self.append_entry(&Entry::End {
            run: Arc::clone(&ended.run),
            seq: ended.seq,
            end: Stamp::of(ended.end),
            partial: ended.partial,
            interfaces: ended.interfaces.clone(),
        });
        if self.said(appended).is_some() {
            self.ended.push_back(self.number);
        } else {
            // Without its end it would be counted again, in another record.
            self.remove(self.number);
        }
        let begun = self.begin(ended.end);
        self.said(begun);
    }

    /// Forgets ended intervals until only the last `waiting` are left: the records of all others are where they belong.
    pub fn forget(&mut self, waiting: usize) {
        while self.ended.len() > waiting
            && let Some(number) = self.ended.pop_front()
        {
            self.remove(number);
        }
    }

    /// Removes everything, the current interval too.
    pub fn remove_all(mut self) {
        self.forget(0);
        self.file = None;
        self.remove(self.number);
        if let Err(error) = fs::remove_dir(&self.directory) {
            tracing::debug!("{}: {error}", self.directory.display());
        }
    }

    fn remove(&self, number: u64) {
        let path = self.path(number);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests;
