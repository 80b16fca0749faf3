//! What a service may write to, and which ports it may connect to, enforced by Landlock where the kernel has it. Reading is as free as
//! before: place databases, the resolver's configuration and /proc are wherever they are.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use landlock::{
    ABI, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};

use crate::config::Config;

/// The newest rules that were thought through; an older kernel enforces those that it has.
const RULES: ABI = ABI::V5;

/// Where reverse look-ups are answered by TCP.
const DNS: u16 = 53;

/// Where SQLite sorts what is large.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// What a configuration makes necessary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Directories, with all that is below.
    directories: BTreeSet<PathBuf>,
    /// Reverse look-ups.
    asks_dns: bool,
}

/// What is enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforced {
    directories: Vec<PathBuf>,
    whole: bool,
}

impl Allowed {
    /// What this configuration writes to: also later, when a file is opened anew or a report is due.
    #[must_use]
    pub fn by(config: &Config) -> Self {
        let service = &config.service;
        let mut allowed = Self {
            asks_dns: config.names.ptr,
            ..Self::default()
        };
        for file in config
            .record
            .iter()
            .chain(config.history.as_ref().map(|history| &history.path))
            .chain(&service.control)
            .chain(&config.origin.ban_files)
        {
            allowed.add_file(file);
        }
        for directory in service.pin.iter().chain([&service.runtime]) {
            allowed.add(directory);
        }
        for directory in config.periodic.iter().filter_map(|report| report.directory()) {
            allowed.add(&directory);
        }
        for directory in TEMPORARY
            .map(PathBuf::from)
            .into_iter()
            .chain([std::env::temp_dir()])
        {
            allowed.add(&directory);
        }
        allowed
    }

    /// The directory of a file that may be replaced, and the one that a link leads to.
    fn add_file(&mut self, file: &Path) {
        self.add(parent(file));
        if let Ok(real) = file.canonicalize() {
            self.add(parent(&real));
        }
    }

    /// A directory, or the nearest above it that there is: below that, it will be made.
    fn add(&mut self, directory: &Path) {
        let existing = directory
            .ancestors()
            .map(|path| {
                if path.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    path
                }
            })
            .find_map(|path| path.canonicalize().ok());
        self.directories.extend(existing);
    }
}

fn parent(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

/// The directory that all files of a pattern are in: what stands before the first part with a letter of strftime in it.
#[must_use]
pub fn fixed_part(pattern: &Path) -> PathBuf {
    let fixed = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains('%');
    let directory: PathBuf = parent(pattern).components().take_while(fixed).collect();
    if directory.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        directory
    }
}

/// Confines this thread, and those that it starts from now on, for good. The text says why it could not be done.
///
/// # Errors
/// The kernel has no Landlock, or refuses a rule. Nothing is confined then.
pub fn enforce(allowed: &Allowed) -> Result<Enforced, String> {
    match restrict(allowed) {
        Ok(RulesetStatus::NotEnforced) => {
            Err("this kernel has no Landlock, or it is not switched on".to_owned())
        }
        Ok(status) => Ok(Enforced {
            directories: allowed.directories.iter().cloned().collect(),
            whole: status == RulesetStatus::FullyEnforced,
        }),
        Err(error) => Err(error.to_string()),
    }
}

fn restrict(allowed: &Allowed) -> Result<RulesetStatus, RulesetError> {
    let writing = AccessFs::from_write(RULES);
    let to_a_file: BitFlags<AccessFs> = AccessFs::from_file(RULES) & writing;
    let mut ruleset = Ruleset::default()
        .handle_access(writing)?
        .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?
        .create()?;
    for directory in &allowed.directories {
        // One that was removed since is nothing to write to.
        if let Ok(directory) = PathFd::new(directory) {
            ruleset = ruleset.add_rule(PathBeneath::new(directory, writing))?;
        }
    }
    if let Ok(null) = PathFd::new("/dev/null") {
        ruleset = ruleset.add_rule(PathBeneath::new(null, to_a_file))?;
    }
    if allowed.asks_dns {
        ruleset = ruleset.add_rule(NetPort::new(DNS, AccessNet::ConnectTcp))?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

impl fmt::Display for Enforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directories: Vec<_> = self
            .directories
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        write!(f, "tcpwatch writes only below {}", directories.join(", "))?;
        if !self.whole {
            write!(f, ", as far as this kernel's Landlock goes")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn allowed(directories: &[&Path]) -> Allowed {
        let mut allowed = Allowed::default();
        for directory in directories {
            allowed.add(directory);
        }
        allowed
    }

    #[test]
    fn what_is_not_there_yet_is_made_below_what_is() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        assert_eq!(allowed(&[&root.join("a/b")]).directories, [root.clone()].into());
        fs::create_dir(root.join("a")).unwrap();
        let mut links = Allowed::default();
        fs::write(root.join("a/real"), "").unwrap();
        std::os::unix::fs::symlink(root.join("a/real"), root.join("link")).unwrap();
        links.add_file(&root.join("link"));
        assert_eq!(links.directories, [root.clone(), root.join("a")].into());
    }

    #[test]
    fn the_files_of_a_pattern_are_below_its_fixed_part() {
        for (pattern, directory) in [
            ("/var/lib/x/%Y/%m.html", "/var/lib/x"),
            ("/var/lib/x/%Y-%m-%d.html", "/var/lib/x"),
            ("%Y.html", "."),
            ("reports/%Y.html", "reports"),
            ("/%Y/x.html", "/"),
        ] {
            assert_eq!(fixed_part(Path::new(pattern)), Path::new(directory), "{pattern}");
        }
    }

    #[test]
    fn a_confined_thread_writes_where_it_may_and_reads_everywhere() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_owned();
        let (inside, outside) = (root.join("inside"), root.join("outside"));
        fs::create_dir(&inside).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("old"), "old").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let confined = allowed(&[&inside]);
        std::thread::spawn(move || {
            let Ok(enforced) = enforce(&confined) else {
                // The kernels of the matrix have none; this one is asked again below.
                return;
            };
            assert!(enforced.to_string().contains("inside"), "{enforced}");
            fs::write(inside.join("record"), "1").unwrap();
            fs::rename(inside.join("record"), inside.join("record.1")).unwrap();
            fs::create_dir(inside.join("made")).unwrap();
            fs::remove_file(inside.join("record.1")).unwrap();
            fs::write("/dev/null", "gone").unwrap();
            for refused in [
                fs::write(outside.join("new"), "1"),
                fs::write(outside.join("old"), "1"),
                fs::remove_file(outside.join("old")),
                fs::create_dir(outside.join("made")),
            ] {
                assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
            }
            assert_eq!(fs::read_to_string(outside.join("old")).unwrap(), "old");
            if enforced.whole {
                assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
                assert!(TcpListener::bind("127.0.0.1:0").is_err());
            }
        })
        .join()
        .unwrap();
        // And nobody else is.
        fs::write(directory.path().join("outside/new"), "1").unwrap();
    }
}
