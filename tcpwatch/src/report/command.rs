//! `tcpwatch report`: asks a history, and shows the answer.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::enrich::{Enricher, GeoError, Language, Selection};
use crate::history::{self, HistoryError, Reader};
use crate::report::{
    Dimension, Filter, FilterError, Groups, GroupsError, Look, Period, PeriodError, Question, Report, Sort,
    ask, csv, html, text,
};
use crate::sink::wants_colour;

/// Columns where stdout is no terminal.
const USUAL_WIDTH: usize = 80;

/// Arguments of `tcpwatch report`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The history to ask; default: /var/lib/tcpwatch/history.db as root, else tcpwatch/history.db in $XDG_STATE_HOME
    /// (~/.local/state)
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,

    /// The last 30m, 6h, 7d or 2w; default: 24h
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["from", "to"])]
    since: Option<String>,

    /// Where the period begins: 2026-01-02, "2026-01-02 03:04", RFC 3339, yesterday, today; a day means its beginning
    #[arg(long, value_name = "TIME")]
    from: Option<String>,

    /// Where it ends; default: now
    #[arg(long, value_name = "TIME")]
    to: Option<String>,

    /// The sections, in this order; default: country,network,destination, with --for: network,destination,source; as HTML all four
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',', value_name = "WHAT")]
    by: Vec<Dimension>,

    /// Ask about one target: a group (google, cloudflare, meta, microsoft, amazon, apple, telegram, netflix), AS15169, a part of a
    /// network's name, a domain, a country (US), an address or a prefix
    #[arg(long = "for", value_name = "X")]
    target: Option<String>,

    /// More groups for --for; repeatable. docs/reports.md has the form
    #[arg(long, value_name = "FILE")]
    groups: Vec<PathBuf>,

    /// What rows are sorted by, most first
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,

    /// Rows in each section; default: 10 as text, 50 as HTML (countries all), 1000 as JSON and CSV; hours and days all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,

    /// The form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,

    /// Write the answer to this file, which is replaced as a whole
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Look addresses up again in these place databases, the first that knows one wins; what is kept as a sum only keeps its place
    #[arg(long, value_name = "FILE", num_args = 1..)]
    regeo: Vec<PathBuf>,

    /// Language of countries' and cities' names with --regeo
    #[arg(long = "lang", value_name = "TAG", default_value_t)]
    language: Language,
}

/// The form of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object: the whole report.
    Json,
    /// One row for each number.
    Csv,
    /// One page for a browser, all in one file.
    Html,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The period.
    #[error(transparent)]
    Period(#[from] PeriodError),
    /// `--for`.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// `--groups`.
    #[error(transparent)]
    Groups(#[from] GroupsError),
    /// The history.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// `--regeo`.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// Nobody said where the history is, and there is no usual place.
    #[error("there is no home directory to look for a history in: name one with --history FILE")]
    NoHome,
    /// The report cannot be made into JSON.
    #[error("cannot write the report as JSON")]
    Json(#[source] serde_json::Error),
    /// The file of `-o`.
    #[error("cannot write {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The standard output.
    #[error("cannot write the report")]
    Write(#[source] io::Error),
}

impl ReportError {
    /// Whether what was asked is at fault, and not what happened while it was answered.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Period(_) | Self::Filter(_) | Self::Groups(_) | Self::Geo(_) | Self::NoHome => true,
            Self::History(error) => !matches!(
                error,
                HistoryError::Read(_) | HistoryError::Damaged { .. } | HistoryError::Open { .. }
            ),
            Self::Json(_) | Self::File { .. } | Self::Write(_) => false,
        }
    }
}

/// Answers on `out`, which is the standard output, or in the file of `-o`; warnings go to `notices`.
///
/// # Errors
/// See [`ReportError`].
pub fn run(arguments: &Arguments, out: &mut dyn Write, notices: &mut dyn Write) -> Result<(), ReportError> {
    let zone = TimeZone::system();
    let now = Timestamp::now().to_zoned_datetime(zone);
    let report = answer(arguments, &now)?;
    if arguments.sort == Sort::Connections && report.matched.connections().is_none() {
        // Nobody to read it is no reason to end.
        writeln!(
            notices,
            "tcpwatch: connections were not counted in this period: sorted by packets"
        )
        .unwrap_or_default();
    }
    let shown = show(&report, arguments, now.time_zone())?;
    match &arguments.output {
        Some(path) => replace(path, shown.as_bytes()).map_err(|source| ReportError::File {
            path: path.clone(),
            source,
        }),
        None => match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ReportError::Write(error)),
            Ok(()) | Err(_) => Ok(()),
        },
    }
}

/// The report that was asked for at `now`.
fn answer(arguments: &Arguments, now: &ZonedDateTime) -> Result<Report, ReportError> {
    let text = |text: &Option<String>| text.clone();
    let (since, from, to) = (text(&arguments.since), text(&arguments.from), text(&arguments.to));
    let period = Period::parse(since.as_deref(), from.as_deref(), to.as_deref(), now)?;
    let mut groups = Groups::built_in()?;
    for path in &arguments.groups {
        groups.add(path)?;
    }
    let filter = match &arguments.target {
        Some(target) => Some(Filter::parse(target, &groups)?),
        None => None,
    };
    let question = Question {
        period,
        by: sections(arguments, filter.is_some()),
        filter,
        sort: arguments.sort,
        top: arguments.top.and_then(|top| usize::try_from(top).ok()),
        usual: match arguments.format {
            Format::Text => 10,
            Format::Html => 50,
            Format::Json | Format::Csv => 1000,
        },
        zone: now.time_zone().clone(),
        hours: arguments.format == Format::Html,
    };
    let mut places = match &arguments.regeo[..] {
        [] => None,
        files => Some(Selection::new(files, arguments.language.clone()).open()?.0),
    };
    let path = match &arguments.history {
        Some(path) => path.clone(),
        None => history::usual_path().ok_or(ReportError::NoHome)?,
    };
    let reader = Reader::open(&path)?;
    let places = places.as_mut().map(|places| places as &mut dyn Enricher);
    Ok(ask(&reader, &question, places)?)
}

/// Each section once.
fn sections(arguments: &Arguments, has_target: bool) -> Vec<Dimension> {
    let usual: &[Dimension] = match (arguments.format, has_target) {
        // The page's map is made from countries.
        (Format::Html, _) => &[
            Dimension::Country,
            Dimension::Network,
            Dimension::Destination,
            Dimension::Source,
        ],
        (_, true) => &[Dimension::Network, Dimension::Destination, Dimension::Source],
        (_, false) => &[Dimension::Country, Dimension::Network, Dimension::Destination],
    };
    let asked = if arguments.by.is_empty() {
        usual
    } else {
        &arguments.by
    };
    let mut sections = Vec::new();
    for by in asked {
        if !sections.contains(by) {
            sections.push(*by);
        }
    }
    sections
}

fn show(report: &Report, arguments: &Arguments, zone: &TimeZone) -> Result<String, ReportError> {
    Ok(match arguments.format {
        Format::Text => {
            let stdout = io::stdout();
            let is_terminal = arguments.output.is_none() && stdout.is_terminal();
            let width = terminal_size::terminal_size().filter(|_| is_terminal);
            text(
                report,
                &Look {
                    width: width.map_or(USUAL_WIDTH, |(width, _)| usize::from(width.0)),
                    colour: is_terminal && wants_colour(&stdout),
                    zone: zone.clone(),
                },
            )
        }
        Format::Json => {
            let mut json = serde_json::to_string(report).map_err(ReportError::Json)?;
            json.push('\n');
            json
        }
        Format::Csv => csv(report),
        Format::Html => html::render(report),
    })
}

/// Replaces a file, so that whoever reads it sees the old one or the new one, whole. What is no file, like a pipe, is written to.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays a link.
    let path = fs::canonicalize(path).unwrap_or_else(|_not_there| path.to_owned());
    let is_special = fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
    if is_special {
        return File::options().write(true).open(&path)?.write_all(bytes);
    }
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        // What could not be written is the error; that it lies around is not worth another.
        fs::remove_file(&beside).unwrap_or_default();
    }
    written
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn said(arguments: &[&str]) -> Result<(), String> {
        let arguments = ["tcpwatch", "report"].iter().chain(arguments);
        let cli = Cli::try_parse_from(arguments).map_err(|error| error.to_string())?;
        let Command::Report(arguments) = cli.command else {
            return Err("another command".to_owned());
        };
        let error = run(&arguments, &mut Vec::new(), &mut Vec::new());
        error.map_err(|error| {
            assert!(error.is_usage(), "{error}");
            error.to_string()
        })
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_a_line_before_anything_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(
            file("text"),
            "no history, and not long enough to be anything else",
        )
        .unwrap();
        let (none, text) = (file("none"), file("text"));
        for (arguments, expected) in [
            (&["--since", "6"][..], "--since \"6\": not a length of time"),
            (&["--since", "-6h"], "unexpected argument"),
            (&["--since=-6h"], "--since \"-6h\": not a length of time"),
            (&["--since", "6h", "--from", "today"], "cannot be used with"),
            (&["--from", "noon"], "--from \"noon\": not a time"),
            (&["--to", "31.12.2025"], "--to \"31.12.2025\": not a time"),
            (&["--from", "now", "--to", "yesterday"], "before it begins"),
            (&["--by", "colour"], "invalid value 'colour'"),
            (&["--sort", "name"], "invalid value 'name'"),
            (&["--top", "0"], "0 is not in 1.."),
            (&["--top", "many"], "invalid value 'many'"),
            (&["--format", "pdf"], "invalid value 'pdf'"),
            (&["--for", ""], "--for: name a group"),
            (&["--for", "10.0.0.1/8"], "has host bits set"),
            (&["--for", "10.0.0.0/40"], "no address and no prefix"),
            (&["--groups", &none], "cannot read the groups"),
            (&["--groups", &text], "cannot be understood"),
            (&["--regeo", &none], &none),
            (&["--lang", "??"], "no language tag"),
            (&["--history", &none], "there is no history"),
            (&["--history", &text], "is no history of tcpwatch"),
            (&["surplus"], "unexpected argument"),
        ] {
            let said = said(arguments).unwrap_err();
            assert!(said.contains(expected), "{arguments:?}: {said}");
        }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.txt");
        replace(&path, b"one\n").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, b"two\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two\n");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        let nowhere = directory.path().join("none/report.txt");
        assert!(replace(&nowhere, b"three\n").is_err());
        replace(Path::new("/dev/null"), b"four\n").unwrap();
    }
}
