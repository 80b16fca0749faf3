//! A network namespace of our own, with a name that tells whose it is.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{process, thread};

use crate::command;

/// Where `ip netns` keeps the names.
const DIRECTORY: &str = "/run/netns";

/// A network namespace; removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with its loopback up, called `tw-<pid>-<n>-<suffix>`.
    ///
    /// # Panics
    ///
    /// Without root, or when the kernel refuses.
    pub fn new(suffix: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();

        command::require_root();
        SWEPT.call_once(sweep);
        let name = format!(
            "tw-{}-{}-{suffix}",
            process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        command::run(&format!("ip netns add {name}"));
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in it and returns what it printed.
    ///
    /// # Panics
    ///
    /// When `ip` fails.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        command::run(&format!("ip -n {} {arguments}", self.name))
    }

    /// Runs a command line in it and returns what it printed.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        command::run(&format!("ip netns exec {} {line}", self.name))
    }

    /// Sets a kernel parameter of the namespace, such as `net.ipv4.tcp_timestamps`.
    ///
    /// # Panics
    ///
    /// When there is no such parameter.
    #[track_caller]
    pub fn sysctl(&self, name: &str, value: u32) {
        self.run(&format!("sysctl -q -w {name}={value}"));
    }

    /// Does `work` in the namespace. Sockets that it makes stay in it wherever they are used later.
    ///
    /// # Panics
    ///
    /// When `work` panics.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        // A namespace belongs to a thread, so the calling thread stays where it is.
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                work()
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Puts the calling thread into the namespace for the rest of its life.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn enter(&self) {
        let file = File::open(Path::new(DIRECTORY).join(&self.name)).expect("the namespace exists");
        // SAFETY: the descriptor is open for as long as the call lasts; setns changes the calling thread only.
        let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
        assert!(
            result == 0,
            "setns {}: {}",
            self.name,
            std::io::Error::last_os_error()
        );
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes what earlier test processes left behind when they were killed.
fn sweep() {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return; // the directory comes with the first namespace
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let owner = name.strip_prefix("tw-").and_then(|rest| rest.split('-').next());
        if let Some(owner) = owner.and_then(|digits| digits.parse::<u32>().ok())
            && !Path::new(&format!("/proc/{owner}")).exists()
        {
            remove(name);
        }
    }
}

/// Removes a namespace; says so when that fails, but does not panic, for it runs while a failed test unwinds.
fn remove(name: &str) {
    let output = command::attempt(&format!("ip netns del {name}"));
    if !output.status.success() {
        crate::note(format_args!(
            "ip netns del {name}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
}
