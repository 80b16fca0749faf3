//! A file system that is soon full.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::command;

/// A file system in memory, gone with the value.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Of `size`, as mount(8) takes it.
    ///
    /// # Panics
    ///
    /// Without root.
    pub fn mount(at: &Path, size: &str) -> Self {
        command::require_root();
        command::run(&format!("mount -t tmpfs -o size={size} tmpfs {}", at.display()));
        Self(at.to_owned())
    }

    /// Takes all the room there is, with the file that it returns.
    ///
    /// # Panics
    ///
    /// When anything but the room ends it.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = opened.expect("a file can be made");
        let error = loop {
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the program may not have ended when a test fails.
        command::run(&format!("umount --lazy {}", self.0.display()));
    }
}
