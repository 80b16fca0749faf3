//! The package as somebody has it: installed, started by hand as its user, upgraded, removed and purged. In namespaces, over this
//! machine's files: what is written goes to memory, and nothing of it stays. systemd is not there; this file is in its place.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::ours;
use crate::cargo;
use crate::machine::{Machine, succeed};

const SCRIPT: &str = include_str!("installed.sh");

/// What the manager must have been told in between.
const TOLD: [&str; 4] = ["READY=1", "WATCHDOG=1", "STATUS=record", "STOPPING=1"];

/// Goes through all of it.
///
/// # Errors
///
/// The first thing that is not as it should be.
pub fn check(machine: &Machine, deb: &Path) -> anyhow::Result<()> {
    let shared = cargo::scratch()?.join("installed");
    if shared.exists() {
        std::fs::remove_dir_all(&shared).with_context(|| format!("cannot clear {}", shared.display()))?;
    }
    std::fs::create_dir_all(&shared).with_context(|| format!("cannot make {}", shared.display()))?;
    let copied = |from: &Path, name: &str| {
        std::fs::copy(from, shared.join(name)).with_context(|| format!("cannot copy {}", from.display()))
    };
    copied(deb, "tcpwatch.deb")?;
    copied(&ours("packaging/config.toml"), "config.toml")?;
    let script = shared.join("script");
    std::fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
    let manager = Manager::listen(&shared.join("notify"))?;

    let done = AtomicBool::new(false);
    let (outcome, told) = thread::scope(|scope| {
        let listening = scope.spawn(|| manager.told(&done));
        let outcome = machine
            .elevated("unshare", &[("LC_ALL", OsStr::new("C"))])
            .and_then(|mut command| {
                command
                    .args([
                        "--mount",
                        "--net",
                        "--pid",
                        "--fork",
                        "--kill-child",
                        "--propagation",
                        "private",
                    ])
                    .args(["sh", "-eu"])
                    .arg(&script)
                    .arg(&shared);
                succeed(&mut command)
            });
        done.store(true, Ordering::Relaxed);
        (outcome, listening.join())
    });
    outcome?;
    let Ok(told) = told else {
        bail!("the thread in the manager's place broke off");
    };
    for wanted in TOLD {
        if !told.iter().any(|told| told.starts_with(wanted)) {
            bail!("the service manager was not told {wanted}, but {told:?}");
        }
    }
    println!("ok       the service manager was told {}", TOLD.join(", "));
    Ok(())
}

/// What is in systemd's place.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(path: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let socket =
            UnixDatagram::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
        // tcpwatch's own user is to write to it.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
            .and_then(|()| socket.set_read_timeout(Some(Duration::from_millis(100))))
            .with_context(|| format!("cannot prepare {}", path.display()))?;
        Ok(Self(socket))
    }

    /// Every line, until `done` and nothing more comes.
    fn told(&self, done: &AtomicBool) -> BTreeSet<String> {
        let mut told = BTreeSet::new();
        let mut buffer = [0; 4096];
        loop {
            match self.0.recv(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                    told.extend(text.lines().map(str::to_owned));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if done.load(Ordering::Relaxed) => return told,
                Err(_) => {}
            }
        }
    }
}
