//! A configuration that is read again while running: what it changes now, and what with the next start only.

use std::collections::HashSet;
use std::ffi::OsString;
use std::iter;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args as _, Command, FromArgMatches as _};
use ipnet::IpNet;

use super::{Config, ConfigError, Interfaces, Sources};
use crate::cli::RunArgs;
use crate::sink::{Format, text};

/// Where a configuration is from, so that it can be read again.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What was typed, behind the program and the command.
    pub typed: Arc<[OsString]>,
    /// The configuration file; none: there is none.
    pub file: Option<PathBuf>,
    /// Banned by option or in the configuration file itself, not in a ban file.
    pub given_bans: Arc<[IpNet]>,
    /// The ban files, in their order.
    pub ban_files: Vec<PathBuf>,
}

impl Origin {
    /// Whether there is a file that may have changed.
    #[must_use]
    pub const fn has_files(&self) -> bool {
        self.file.is_some() || !self.ban_files.is_empty()
    }

    /// The files, as one says them.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        let files = self.file.iter().chain(&self.ban_files);
        files.map(|path| path.display().to_string()).collect()
    }

    /// Reads everything again.
    ///
    /// # Errors
    /// What is wrong with the files now.
    pub fn read(&self) -> Result<Config, ConfigError> {
        let line = iter::once(OsString::from("run")).chain(self.typed.iter().cloned());
        let matches = RunArgs::augment_args(Command::new("run")).try_get_matches_from(line)?;
        Config::from_typed(RunArgs::from_arg_matches(&matches)?, self.typed.to_vec())
    }
}

/// What another configuration comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What can be put in force while running, as one says it.
    pub now: Vec<String>,
    /// The options that take effect with the next start.
    pub later: Vec<&'static str>,
}

impl Config {
    /// What becomes of the differences between this configuration, which is in force, and `new`.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Changes {
        // Whole, so that an option that is new has to be thought of here.
        let Self {
            interfaces,
            interval,
            intervals,
            sources,
            bans,
            served,
            format,
            record,
            history,
            service,
            geo,
            names,
            resolve,
            top,
            by,
            attach,
            periodic,
            capacity,
            origin: _,
        } = new;
        let mut now = Vec::new();
        now.extend(bans_said(&self.bans, bans));
        if *interfaces != self.interfaces {
            now.push(format!("interfaces: {}", interfaces_said(interfaces)));
        }
        if *sources != self.sources {
            now.push(format!("sources: {}", sources_said(sources)));
        }
        if *served != self.served {
            now.push(match served {
                None => "replies to clients are counted".to_owned(),
                Some(_) => "replies to clients are left out, with other served ports".to_owned(),
            });
        }
        // The classic format was told at the start how long an interval is.
        let interval_is_fixed = self.format == Some(Format::Classic);
        if *interval != self.interval && !interval_is_fixed {
            let (new, old) = (text::interval(*interval), text::interval(self.interval));
            now.push(format!("interval: {new}, was {old}"));
        }
        if *intervals != self.intervals {
            now.push("the number of intervals".to_owned());
        }
        let later = [
            ("interval", *interval != self.interval && interval_is_fixed),
            ("format", *format != self.format),
            ("record", *record != self.record),
            ("history", *history != self.history),
            ("pin", service.pin != self.service.pin),
            ("runtime", service.runtime != self.service.runtime),
            ("control", service.control != self.service.control),
            ("geo, lang", *geo != self.geo),
            ("names", *names != self.names),
            ("resolve", *resolve != self.resolve),
            ("top", *top != self.top),
            ("by", *by != self.by),
            ("attach", *attach != self.attach),
            ("report", *periodic != self.periodic),
            ("slots", capacity.slots != self.capacity.slots),
            ("spill", capacity.spill != self.capacity.spill),
        ];
        Changes {
            now,
            later: later
                .into_iter()
                .filter_map(|(option, differs)| differs.then_some(option))
                .collect(),
        }
    }

    /// Takes over what is in force now. The rest stays as it is at work.
    pub fn adopt(&mut self, new: Self) {
        if self.format != Some(Format::Classic) {
            self.interval = new.interval;
        }
        self.interfaces = new.interfaces;
        self.intervals = new.intervals;
        self.sources = new.sources;
        self.bans = new.bans;
        self.served = new.served;
        self.origin = new.origin;
    }
}

fn bans_said(old: &[IpNet], new: &[IpNet]) -> Option<String> {
    if old == new {
        return None;
    }
    let (before, after): (HashSet<_>, HashSet<_>) = (old.iter().collect(), new.iter().collect());
    let (added, removed) = (
        after.difference(&before).count(),
        before.difference(&after).count(),
    );
    // In another order they are the same.
    (added + removed > 0).then(|| format!("bans: {added} added, {removed} removed, {} now", after.len()))
}

fn interfaces_said(interfaces: &Interfaces) -> String {
    match interfaces {
        Interfaces::DefaultRoute => "those of the default route".to_owned(),
        Interfaces::All => "all".to_owned(),
        Interfaces::Named(names) => names.join(", "),
    }
}

fn sources_said(sources: &Sources) -> String {
    match sources {
        Sources::Auto => "auto".to_owned(),
        Sources::Any => "any".to_owned(),
        Sources::These(addresses) => {
            let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            texts.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A configuration file, a ban file, and what they come to.
    struct Files {
        directory: tempfile::TempDir,
    }

    impl Files {
        fn new(options: &str, bans: &str) -> (Self, Config) {
            let files = Self {
                directory: tempfile::tempdir().unwrap(),
            };
            files.write(options, bans);
            let path = files.directory.path().join("config.toml");
            let line = ["tcpwatch", "run", "--config"].map(OsString::from);
            let typed = line.into_iter().chain([path.into_os_string()]);
            let args = RunArgs::from_arg_matches(
                &RunArgs::augment_args(Command::new("run"))
                    .try_get_matches_from(typed.clone().skip(1))
                    .unwrap(),
            )
            .unwrap();
            let config = Config::new(args, typed).unwrap();
            (files, config)
        }

        fn write(&self, options: &str, bans: &str) {
            let path = self.directory.path().join("bans");
            let options = format!("ban-file = {:?}\n{options}", path.to_str().unwrap());
            fs::write(&path, bans).unwrap();
            fs::write(self.directory.path().join("config.toml"), options).unwrap();
        }
    }

    #[test]
    fn what_can_change_is_said_apart_from_what_waits_for_the_next_start() {
        let (files, mut config) = Files::new("interval = \"1m\"\ntop = 3\n", "192.0.2.1\n192.0.2.2\n");
        assert_eq!(config.changes(&config.origin.read().unwrap()), Changes::default());

        files.write(
            "interval = \"10s\"\nspill = 1000\nrecord = \"/tmp/r\"\nsource = \"any\"\ninterface = [\"a\", \"b\"]\nskip-served = true\n",
            "# one comes, one goes\n192.0.2.2\n203.0.113.0/24\n2001:db8::/32\n",
        );
        let new = config.origin.read().unwrap();
        let changes = config.changes(&new);
        assert_eq!(
            changes.now,
            [
                "bans: 2 added, 1 removed, 3 now",
                "interfaces: a, b",
                "sources: any",
                "replies to clients are left out, with other served ports",
                "interval: 10s, was 60s",
            ]
        );
        assert_eq!(changes.later, ["record", "top", "spill"]);

        // What waits is said again until it is in force.
        config.adopt(new);
        let changes = config.changes(&config.origin.read().unwrap());
        assert_eq!(changes.now, [""; 0]);
        assert_eq!(changes.later, ["record", "top", "spill"]);
    }

    #[test]
    fn the_order_of_bans_is_no_change_and_the_classic_format_keeps_its_interval() {
        let (files, config) = Files::new("format = \"classic\"\n", "192.0.2.1\n192.0.2.2\n");
        files.write(
            "format = \"classic\"\ninterval = \"5s\"\n",
            "192.0.2.2\n192.0.2.1\n",
        );
        let changes = config.changes(&config.origin.read().unwrap());
        assert_eq!(changes.now, [""; 0]);
        assert_eq!(changes.later, ["interval"]);
    }

    #[test]
    fn a_bad_file_is_named_with_its_line() {
        let (files, config) = Files::new("", "192.0.2.1\n");
        files.write("", "192.0.2.1\n192.0.2.300\n");
        let error = config.origin.read().unwrap_err().to_string();
        assert!(error.contains("bans:2: \"192.0.2.300\" is no address"), "{error}");
        files.write("\nintervall = 1", "");
        let error = config.origin.read().unwrap_err().to_string();
        assert!(
            error.contains("config.toml:3: there is no option \"intervall\": did you mean"),
            "{error}"
        );
        fs::remove_file(files.directory.path().join("config.toml")).unwrap();
        let error = config.origin.read().unwrap_err().to_string();
        assert!(error.starts_with("cannot read the configuration "), "{error}");
    }
}
