//! A command line of the real program: in a namespace, perhaps through another command, not yet started.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::daemon::{Ended, Tcpwatch};
use crate::namespace::Namespace;
use crate::wait;

/// The program under test.
///
/// # Panics
///
/// When it was not built.
pub fn binary() -> PathBuf {
    let path = env::var_os("TCPWATCH_BIN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/tcpwatch"),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "there is no {}: run cargo xtask test",
        path.display()
    );
    path
}

/// A command line of the program, not yet started.
#[derive(Clone, Debug)]
#[must_use]
pub struct Invocation {
    namespace: String,
    wrapper: Vec<String>,
    binary: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
}

impl Invocation {
    /// The program with `arguments` in a namespace.
    ///
    /// # Panics
    ///
    /// When the program was not built.
    pub fn new<'a>(namespace: &Namespace, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let invocation = Self {
            namespace: namespace.name().to_owned(),
            wrapper: Vec::new(),
            binary: binary(),
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        invocation.with(arguments)
    }

    /// Adds arguments.
    pub fn with<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(OsString::from));
        self
    }

    /// Adds an option with a path.
    pub fn with_path(mut self, option: &str, path: &Path) -> Self {
        self.arguments.extend([option.into(), path.into()]);
        self
    }

    /// Starts it through another command, such as `setarch` or `setpriv`, given as words.
    pub fn under(mut self, wrapper: &str) -> Self {
        self.wrapper = wrapper.split_whitespace().map(str::to_owned).collect();
        self
    }

    /// Starts this copy of the program instead.
    pub fn copy_at(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.binary);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The process to start. `ip netns exec`, `setpriv` and `setarch` replace themselves, so its process identifier is
    /// the program's; should the test die, the kernel kills the program.
    pub fn command(&self) -> Command {
        let mut command = Command::new("ip");
        command
            .args([
                "netns",
                "exec",
                &self.namespace,
                "setpriv",
                "--pdeathsig",
                "KILL",
                "--",
            ])
            .args(&self.wrapper)
            .arg(&self.binary)
            .args(&self.arguments)
            .env_remove("TCPWATCH_LOG")
            .env("TZ", "UTC")
            // No test may write into the history of the machine; one that wants a history names it.
            .env("TCPWATCH_HISTORY", "none")
            .env_remove("NO_COLOR")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// When `ip` cannot be started.
    pub fn spawn(&self) -> Tcpwatch {
        Tcpwatch::new(
            self.command()
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn(),
        )
    }

    /// Starts it and waits until it counts.
    ///
    /// # Panics
    ///
    /// When it ends before, or does not get that far.
    #[track_caller]
    pub fn start(&self) -> Tcpwatch {
        let mut program = self.spawn();
        program.wait_until_started();
        program
    }

    /// Runs it to its own end.
    ///
    /// # Panics
    ///
    /// When it does not end by itself.
    #[track_caller]
    pub fn finish(&self) -> Ended {
        self.spawn().wait(wait::PATIENCE)
    }
}
