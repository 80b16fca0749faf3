//! A pseudo terminal, to see what the program writes when a person looks.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A terminal of 80 columns and 24 rows.
#[derive(Debug)]
pub struct Terminal {
    program_side: Option<OwnedFd>,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Opens one and reads everything that is written to it.
    ///
    /// # Panics
    ///
    /// When the kernel has no more of them.
    pub fn open() -> Self {
        let size = libc::winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let (mut ours, mut theirs) = (-1, -1);
        // SAFETY: the two results are written to; no name and no settings are asked for; the size outlives the call.
        let result = unsafe {
            libc::openpty(
                &raw mut ours,
                &raw mut theirs,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                &raw const size,
            )
        };
        assert!(result == 0, "openpty: {}", std::io::Error::last_os_error());
        // SAFETY: openpty has just opened both, and nothing else owns them.
        let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        let shown = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&shown);
        thread::spawn(move || {
            let mut ours = File::from(ours);
            let mut buffer = [0; 4096];
            // Reading fails with EIO once the last program has closed its side.
            while let Ok(length @ 1..) = ours.read(&mut buffer) {
                shared
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&buffer[..length]);
            }
        });
        Self {
            program_side: Some(theirs),
            shown,
        }
    }

    /// The side that a program gets as its standard output; once.
    ///
    /// # Panics
    ///
    /// When it was taken already.
    pub fn program_side(&mut self) -> Stdio {
        self.program_side.take().expect("one program per terminal").into()
    }

    /// What was written so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap_or_else(PoisonError::into_inner))
            .replace("\r\n", "\n")
    }
}
