//! The real program as a child process: started in a namespace, its output captured, ended whatever happens.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::records::{self, Record};
use crate::wait;

/// The word of the start block on standard error that says that counting has begun.
const STARTED: &str = "watching";

/// How long the program may take to end after a signal.
const GRACE: Duration = Duration::from_secs(10);

/// The running program. Killed when dropped.
#[derive(Debug)]
pub struct Tcpwatch {
    child: Child,
    stdout: Option<Lines>,
    stderr: Lines,
}

impl Tcpwatch {
    /// Takes over a child process and captures those of its outputs that are pipes.
    ///
    /// # Panics
    ///
    /// When it was not started.
    #[track_caller]
    pub fn new(started: std::io::Result<Child>) -> Self {
        let mut child = started.expect("ip (package iproute2) can be started");
        let stdout = child.stdout.take().map(Lines::capture);
        let stderr = child
            .stderr
            .take()
            .map(Lines::capture)
            .expect("standard error is a pipe");
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Its process identifier.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the start block.
    ///
    /// # Panics
    ///
    /// When the program ends before, or does not get that far.
    #[track_caller]
    pub fn wait_until_started(&mut self) {
        let stderr = self.stderr.clone();
        wait::until_some(wait::PATIENCE, "tcpwatch says what it is watching", || {
            // The exit is looked at first: what the program wrote before it ended is then there to be shown.
            let ended = self.child.try_wait().expect("it is our child");
            let lines = stderr.so_far();
            if let Some(status) = ended {
                self.stderr.complete();
                panic!(
                    "tcpwatch ended with {status}:\n{}",
                    self.stderr.so_far().join("\n")
                );
            }
            lines.iter().any(|line| line.contains(STARTED)).then_some(())
        });
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// When it has ended.
    #[track_caller]
    pub fn signal(&self, signal: i32) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("process identifiers are small");
        // SAFETY: the child has not been waited for, so the identifier is still its own.
        let result = unsafe { libc::kill(pid, signal) };
        assert!(
            result == 0,
            "signal {signal}: {}",
            std::io::Error::last_os_error()
        );
    }

    /// The records on its standard output so far.
    ///
    /// # Panics
    ///
    /// When a line is not a record.
    #[track_caller]
    pub fn records(&self) -> Vec<Record> {
        records::parse(self.stdout_lines())
    }

    /// The complete lines on its standard output so far.
    ///
    /// # Panics
    ///
    /// When standard output is not captured.
    pub fn stdout_lines(&self) -> Vec<String> {
        self.stdout
            .as_ref()
            .expect("standard output is captured")
            .so_far()
    }

    /// The complete lines on its standard error so far.
    pub fn stderr_lines(&self) -> Vec<String> {
        self.stderr.so_far()
    }

    /// Waits until it has printed `count` records more than it has now.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[track_caller]
    pub fn wait_for_records(&self, count: usize) {
        let wanted = self.stdout_lines().len() + count;
        wait::until(&format!("{count} more records"), || {
            self.stdout_lines().len() >= wanted
        });
    }

    /// Whether it is still running.
    ///
    /// # Panics
    ///
    /// When the kernel does not know it.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Ends it with SIGTERM and returns all that it said.
    ///
    /// # Panics
    ///
    /// When it has ended before, or does not end.
    #[track_caller]
    pub fn stop(self) -> Ended {
        self.signal(libc::SIGTERM);
        self.wait(GRACE)
    }

    /// Kills it without giving it a chance to clean up, and waits until it is gone.
    ///
    /// # Panics
    ///
    /// When it has ended before.
    #[track_caller]
    pub fn kill(self) -> Ended {
        self.signal(libc::SIGKILL);
        self.wait(GRACE)
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it does not end within `limit`.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Ended {
        let status = wait::until_some(limit, "tcpwatch ends", || {
            self.child.try_wait().expect("it is our child")
        });
        self.stderr.complete();
        let stdout = self.stdout.take().map(|mut lines| {
            lines.complete();
            lines.so_far()
        });
        Ended {
            status,
            stdout: stdout.unwrap_or_default(),
            stderr: self.stderr.so_far(),
        }
    }
}

impl Drop for Tcpwatch {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Runs while a failed test unwinds: what the program said is what one wants to see then.
            if thread::panicking() {
                crate::note(format_args!(
                    "tcpwatch said:\n{}",
                    self.stderr.so_far().join("\n")
                ));
            }
            if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
                crate::note(format_args!("killing tcpwatch: {error}"));
            }
        }
    }
}

/// What the program left behind when it ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// The lines of its standard output; none when that was not captured.
    pub stdout: Vec<String>,
    /// The lines of its standard error.
    pub stderr: Vec<String>,
}

impl Ended {
    /// Its exit status; none after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Its records, after checking that it ended well and that they are one run with its books in order.
    ///
    /// # Panics
    ///
    /// When that is not so.
    #[track_caller]
    pub fn books(&self) -> Vec<Record> {
        assert_eq!(
            self.code(),
            Some(0),
            "tcpwatch ended with {}:\n{}",
            self.status,
            self.stderr.join("\n")
        );
        let records = records::parse(&self.stdout);
        records::check_books(&records);
        records
    }
}

/// Lines that a thread reads as they come.
#[derive(Clone, Debug)]
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Lines {
    fn capture(from: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                shared.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self {
            lines,
            reader: Arc::new(Mutex::new(Some(reader))),
        }
    }

    fn so_far(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the end of the output, which comes with the end of the program.
    fn complete(&mut self) {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            reader.join().expect("the reader does not panic");
        }
    }
}
