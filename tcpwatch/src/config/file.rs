//! The configuration file: TOML with the long names of the options of `tcpwatch run`, and periodic reports.
//!
//! Its values become arguments in front of those that were typed, so that an option means the same in both places and every one
//! of them can be in the file. What was typed wins.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::{ArgAction, ArgMatches, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::periodic::{Periodic, PeriodicError};

/// The largest file: a list of a hundred thousand prefixes has two megabytes.
const MOST_BYTES: u64 = 64 << 20;

/// Options that make no sense in a file.
pub(crate) const TYPED_ONLY: [&str; 4] = ["config", "fast-intervals", "help", "version"];

/// What is wrong with a configuration file. Each text names file and line.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read the configuration {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is no configuration.
    #[error("the configuration {} has more than {MOST_BYTES} bytes: name another file", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not TOML.
    #[error("{place}: {message}: write it like interval = \"20s\"")]
    Syntax {
        /// File and line.
        place: String,
        /// What the parser said.
        message: String,
    },
    /// There is no such option.
    #[error("{place}: there is no option {name:?}{nearest}")]
    Unknown {
        /// File and line.
        place: String,
        /// As written.
        name: String,
        /// The name that comes nearest, as a question; empty: none is near.
        nearest: String,
    },
    /// A value of another kind.
    #[error("{place}: {name} must be {wanted}")]
    Kind {
        /// File and line.
        place: String,
        /// The option.
        name: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The option refuses the value.
    #[error("{place}: {message}")]
    Value {
        /// File and line.
        place: String,
        /// What it said.
        message: String,
    },
    /// A periodic report.
    #[error("{place}: {source}")]
    Periodic {
        /// File and line.
        place: String,
        /// What is wrong with it.
        source: PeriodicError,
    },
}

/// What a file says.
#[derive(Debug, Default)]
pub struct File {
    /// Name, and the arguments that it is written as.
    options: Vec<(String, Vec<OsString>)>,
    /// Reports that are made from time to time.
    pub periodic: Vec<Periodic>,
}

impl File {
    /// Reads a file for `command`, whose long options are its keys. Every value has been accepted by its option.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(path: &Path, command: &Command) -> Result<Self, FileError> {
        let unreadable = |source| FileError::Read {
            path: path.to_owned(),
            source,
        };
        if fs::metadata(path).map_err(unreadable)?.len() > MOST_BYTES {
            return Err(FileError::TooLarge {
                path: path.to_owned(),
            });
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        Self::parse(
            &String::from_utf8_lossy(&bytes),
            &path.display().to_string(),
            command,
        )
    }

    /// The same for a text that was read from `name`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str, name: &str, command: &Command) -> Result<Self, FileError> {
        let place = |span: Range<usize>| {
            let before = text.get(..span.start).unwrap_or_default();
            format!("{name}:{}", before.matches('\n').count() + 1)
        };
        let table = DeTable::parse(text).map_err(|error| FileError::Syntax {
            place: place(error.span().unwrap_or_default()),
            message: error.message().to_owned(),
        })?;
        let mut file = Self::default();
        // In the order of the file, so that the first mistake is the one that is said.
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let option = key.get_ref().as_ref();
            if option == "report" {
                file.periodic = periodic(value, &place)?;
                continue;
            }
            let arguments = arguments(option, key.span(), value, command, &place)?;
            accept(command, &arguments).map_err(|message| FileError::Value {
                place: place(value.span()),
                message,
            })?;
            file.options.push((option.to_owned(), arguments));
        }
        Ok(file)
    }

    /// The arguments of those options that were not typed.
    pub fn arguments(&self, typed: &ArgMatches, command: &Command) -> Vec<OsString> {
        let was_typed = |name: &str| {
            let id = command
                .get_arguments()
                .find(|argument| argument.get_long() == Some(name))
                .map(|argument| argument.get_id().as_str());
            id.and_then(|id| typed.value_source(id))
                .is_some_and(|source| source != clap::parser::ValueSource::DefaultValue)
        };
        self.options
            .iter()
            .filter(|(name, _)| !was_typed(name))
            .flat_map(|(_, arguments)| arguments.iter().cloned())
            .collect()
    }
}

/// A key and its value as arguments.
fn arguments(
    name: &str,
    at: Range<usize>,
    value: &Spanned<DeValue<'_>>,
    command: &Command,
    place: &dyn Fn(Range<usize>) -> String,
) -> Result<Vec<OsString>, FileError> {
    let usable = || {
        command.get_arguments().filter(|argument| {
            argument
                .get_long()
                .is_some_and(|long| !TYPED_ONLY.contains(&long))
        })
    };
    let Some(argument) = usable().find(|argument| argument.get_long() == Some(name)) else {
        let names = usable()
            .filter_map(|argument| argument.get_long())
            .chain(["report"]);
        return Err(FileError::Unknown {
            place: place(at),
            name: name.chars().take(60).collect(),
            nearest: nearest(name, names),
        });
    };
    let wrong = |wanted| FileError::Kind {
        place: place(value.span()),
        name: name.to_owned(),
        wanted,
    };
    let flag = OsString::from(format!("--{name}"));
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        return match value.get_ref() {
            DeValue::Boolean(true) => Ok(vec![flag]),
            DeValue::Boolean(false) => Ok(Vec::new()),
            _ => Err(wrong("true or false")),
        };
    }
    let many = matches!(argument.get_action(), ArgAction::Append);
    let values: Vec<String> = match value.get_ref() {
        DeValue::Array(items) if many => items
            .iter()
            .map(|item| scalar(item.get_ref()))
            .collect::<Option<_>>()
            .ok_or_else(|| wrong("a list of texts or numbers"))?,
        one => vec![scalar(one).ok_or_else(|| {
            wrong(if many {
                "a text or a list of texts"
            } else {
                "a text or a number"
            })
        })?],
    };
    // `--name=value`, because a value may begin with a dash.
    Ok(values
        .into_iter()
        .map(|value| {
            let mut argument = flag.clone();
            argument.push("=");
            argument.push(value);
            argument
        })
        .collect())
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether an option takes its value, else what it says about it, in one line.
fn accept(command: &Command, arguments: &[OsString]) -> Result<(), String> {
    let line = [OsString::from("tcpwatch")]
        .into_iter()
        .chain(arguments.iter().cloned());
    match command.clone().no_binary_name(false).try_get_matches_from(line) {
        Ok(_) => Ok(()),
        Err(error) => Err(refusal(&error)),
    }
}

/// What an option says about a value that it refuses, in one line.
pub(super) fn refusal(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let line = first.split_whitespace().collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    names
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3))
        .map_or_else(
            || ": `tcpwatch run --help` lists them".to_owned(),
            |(_, known)| format!(": did you mean {known:?}?"),
        )
}

fn periodic(
    value: &Spanned<DeValue<'_>>,
    place: &dyn Fn(Range<usize>) -> String,
) -> Result<Vec<Periodic>, FileError> {
    let wrong = || FileError::Kind {
        place: place(value.span()),
        name: "report".to_owned(),
        wanted: "a list of tables: begin each with [[report]]",
    };
    let DeValue::Array(tables) = value.get_ref() else {
        return Err(wrong());
    };
    let one = |table: &Spanned<DeValue<'_>>| {
        let DeValue::Table(entries) = table.get_ref() else {
            return Err(wrong());
        };
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let first = entries
            .first()
            .map_or_else(|| table.span(), |(key, _)| key.span());
        let mut periodic = Periodic::default();
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            let values = match value.get_ref() {
                DeValue::Array(items) => items
                    .iter()
                    .map(|item| scalar(item.get_ref()))
                    .collect::<Option<Vec<_>>>(),
                one => scalar(one).map(|value| vec![value]),
            };
            let values = values.ok_or_else(|| FileError::Kind {
                place: place(value.span()),
                name: name.to_owned(),
                wanted: "a text or a list of texts",
            })?;
            periodic.set(name, values).map_err(|source| match source {
                PeriodicError::Unknown => FileError::Unknown {
                    place: place(key.span()),
                    name: name.chars().take(60).collect(),
                    nearest: nearest(name, Periodic::KEYS.into_iter()),
                },
                source => FileError::Periodic {
                    place: place(value.span()),
                    source,
                },
            })?;
        }
        periodic.check().map_err(|source| FileError::Periodic {
            place: place(first),
            source,
        })?;
        Ok(periodic)
    };
    tables.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;
    use crate::cli::RunArgs;

    fn command() -> Command {
        RunArgs::augment_args(Command::new("run"))
    }

    fn parse(text: &str) -> Result<File, String> {
        File::parse(text, "c.toml", &command()).map_err(|error| error.to_string())
    }

    /// What `tcpwatch run` works with, given a file and typed arguments.
    fn merged(text: &str, typed: &[&str]) -> RunArgs {
        let typed = [&["run"], typed].concat();
        let matches = command().get_matches_from(&typed);
        let file = parse(text).unwrap();
        let line = [OsString::from("run")]
            .into_iter()
            .chain(file.arguments(&matches, &command()))
            .chain(typed[1..].iter().map(OsString::from));
        RunArgs::from_arg_matches(&command().get_matches_from(line)).unwrap()
    }

    #[test]
    fn the_file_speaks_where_nothing_was_typed() {
        let text = "# relays and clients\ninterval = \"1m\"\nban = [\"192.0.2.1\", \"203.0.113.0/24\"]\ntop = 3\ninterface = \"eth0\"\n";
        let args = merged(text, &[]);
        assert_eq!((args.interval.as_str(), args.top), ("1m", 3));
        assert_eq!(args.bans, ["192.0.2.1", "203.0.113.0/24"]);
        assert_eq!(args.interfaces, ["eth0"]);
        let args = merged(text, &["--interval", "5s", "--ban", "198.51.100.1"]);
        assert_eq!((args.interval.as_str(), args.top), ("5s", 3));
        assert_eq!(
            args.bans,
            ["198.51.100.1"],
            "what was typed takes the place of the file's list"
        );
    }

    #[test]
    fn mistakes_are_named_with_their_line_and_the_nearest_name() {
        for (text, expected) in [
            (
                "intervall = \"20s\"",
                "c.toml:1: there is no option \"intervall\": did you mean \"interval\"?",
            ),
            (
                "\n\nzzz = 1",
                "c.toml:3: there is no option \"zzz\": `tcpwatch run --help` lists them",
            ),
            ("config = \"x\"", "c.toml:1: there is no option \"config\""),
            ("interval = true", "c.toml:1: interval must be a text or a number"),
            ("ban = [[1]]", "c.toml:1: ban must be a list of texts or numbers"),
            (
                "interval = \"20s\"\ninterval = \"30s\"",
                "c.toml:2: duplicate key",
            ),
            ("interval = \"20s", "c.toml:1: "),
            ("top = -1", "c.toml:1: invalid value '-1' for '--top <N>'"),
            (
                "attach = \"hard\"",
                "c.toml:1: invalid value 'hard' for '--attach <ATTACH>'",
            ),
            (
                "\nserved-port = [443, \"-443/sctp\"]",
                "c.toml:2: invalid value '-443/sctp' for '--served-port <[+|-]PORT[/tcp|/udp]>': \"sctp\" is no protocol",
            ),
            (
                "names = [\"dns\", \"whois\"]",
                "c.toml:1: invalid value 'whois' for '--names <WHAT>...'",
            ),
            (
                "report = 1",
                "c.toml:1: report must be a list of tables: begin each with [[report]]",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}\n{expected}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn periodic_reports_have_keys_of_their_own() {
        let file = parse(
            "[[report]]\nschedule = \"daily 08:00\"\nfile = \"/var/lib/x/%Y-%m-%d.html\"\nformat = \"html\"\n\n\
             [[report]]\nschedule = \"weekly\"\ncommand = [\"mail\", \"root\"]\nfor = \"google\"\n",
        )
        .unwrap();
        assert_eq!(file.periodic.len(), 2);
        for (text, expected) in [
            ("[[report]]\nfile = \"x\"", "c.toml:2: a report needs a schedule"),
            (
                "[[report]]\nschedule = \"daily\"",
                "c.toml:2: a report needs a file or a command",
            ),
            (
                "[[report]]\nschedule = \"dayly\"",
                "c.toml:2: \"dayly\" is no schedule",
            ),
            (
                "[[report]]\nshedule = \"daily\"",
                "c.toml:2: there is no option \"shedule\": did you mean \"schedule\"?",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
