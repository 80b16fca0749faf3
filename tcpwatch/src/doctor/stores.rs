//! What records are made with and where they go. Pure: judges what was found.

use std::path::{Path, PathBuf};

use jiff::civil::Date;

use super::finding::Finding;
use crate::geo::info::OLD_DAYS;
use crate::sink::text::bytes;

/// Less free space than this is little.
const LITTLE_BYTES: u64 = 100_000_000;
/// The same as a share of the file system, in percent.
const LITTLE_PERCENT: u64 = 5;

/// A place database in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceFile {
    /// Its path.
    pub path: String,
    /// Its type.
    pub kind: String,
    /// When it was built.
    pub built: Date,
}

/// `warnings`: files that were skipped, or that there are none at all.
pub fn places(files: &[PlaceFile], warnings: &[String], today: Date) -> Vec<Finding> {
    const CHECK: &str = "places";
    let mut found: Vec<Finding> = files
        .iter()
        .map(|file| {
            let days = file.built.until(today).map_or(0, |span| span.get_days());
            let age = match days {
                ..=0 => "of today".to_owned(),
                1 => "1 day old".to_owned(),
                days => format!("{days} days old"),
            };
            let says = format!("{}: {}, {age}", file.path, file.kind);
            if days > OLD_DAYS {
                Finding::warn(CHECK, format!("{says}: addresses have moved since"))
                    .cure("tcpwatch geo update")
            } else {
                Finding::ok(CHECK, says)
            }
        })
        .collect();
    if files.is_empty() {
        found.push(
            Finding::warn(CHECK, "no place database: countries and networks stay unknown")
                .cure("tcpwatch geo update fetches one, tcpwatch geo import makes one; or --geo FILE"),
        );
    } else {
        found.extend(warnings.iter().map(|warning| {
            Finding::warn(CHECK, warning).cure("mend or remove it, or name the files to use with --geo FILE")
        }));
    }
    found
}

/// A file that is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// It.
    pub path: PathBuf,
    /// Its size, where it is there.
    pub bytes: Option<u64>,
    /// The nearest directory above it that is there.
    pub directory: PathBuf,
    /// Whether this user may write the file, or make it.
    pub writable: bool,
    /// The file system's free and whole size in bytes; none: it does not say.
    pub space: Option<(u64, u64)>,
}

/// How much room there is.
pub fn space(what: &'static str, target: &Target) -> Option<Finding> {
    let (free, whole) = target.space?;
    let says = format!(
        "{} for the {what}: {} of {} free",
        target.directory.display(),
        bytes(free),
        bytes(whole)
    );
    let little = free < LITTLE_BYTES || free < whole / 100 * LITTLE_PERCENT;
    Some(if little {
        Finding::warn("disk", format!("{says}, which is little")).cure(match what {
            "history" => {
                "make room, name another place with --history FILE, or bound it with --history-size 200MB"
            }
            _ => "make room, or name another place with --record FILE",
        })
    } else {
        Finding::ok("disk", says)
    })
}

/// What is known of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// There is none yet.
    Missing,
    /// It opens.
    Opens,
    /// It does not, and why.
    Refused(String),
}

/// `named`: the operator asked for this one. `most`: bytes that it may grow to.
pub fn history(target: &Target, opened: &Opened, named: bool, most: u64) -> Finding {
    const CHECK: &str = "history";
    let path = target.path.display();
    let useless: fn(&'static str, String) -> Finding = if named { Finding::fail } else { Finding::warn };
    if let Opened::Refused(why) = opened {
        return useless(CHECK, why.clone()).cure("another one: --history FILE; or none: --history none");
    }
    if !target.writable {
        return useless(
            CHECK,
            format!("{path} cannot be written by this user: no history is kept"),
        )
        .cure("as root, or with another file: --history FILE; or none: --history none");
    }
    let says = match (opened, target.bytes) {
        (Opened::Missing, _) | (_, None) => format!("{path} is made at the first start"),
        (_, Some(size)) => format!("{path} opens, {}", bytes(size)),
    };
    let room = most.saturating_sub(target.bytes.unwrap_or(0));
    match target.space {
        // Where there is little room, the disk's own line says so.
        Some((free, _)) if free < room && free >= LITTLE_BYTES => Finding::note(
            CHECK,
            format!(
                "{says}; it may grow to {}, for which there is no room",
                bytes(most)
            ),
        )
        .cure("bound it with --history-size, or make room"),
        _ => Finding::ok(CHECK, says),
    }
}

/// The record file.
pub fn record(target: &Target) -> Finding {
    const CHECK: &str = "record file";
    let path = target.path.display();
    if !target.writable {
        return Finding::fail(CHECK, format!("{path} cannot be written by this user")).cure(format!(
            "make its directory: mkdir -p {}; or as root",
            parent(&target.path)
        ));
    }
    match target.bytes {
        Some(size) => Finding::ok(CHECK, format!("{path}, {}: records are appended", bytes(size))),
        None => Finding::ok(CHECK, format!("{path} is made at the start")),
    }
}

fn parent(path: &Path) -> String {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.display().to_string(),
        Some(_) | None => ".".to_owned(),
    }
}

/// Whether a tcpwatch answers at its control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// It takes connections.
    Answers,
    /// The socket is there, and nobody behind it.
    Stale,
    /// This user may not connect.
    Forbidden,
    /// There is no socket.
    No,
}

/// What is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pins {
    /// Nothing.
    None,
    /// Something that no tcpwatch reads.
    Some,
    /// Something of a tcpwatch that runs.
    Held,
    /// This user may not look.
    Forbidden,
}

/// A tcpwatch that runs, or what one left.
pub fn instance(running: Running, socket: &Path, pins: Pins, directory: &Path) -> Vec<Finding> {
    const CHECK: &str = "running";
    let (socket, directory) = (socket.display(), directory.display());
    let mut found = vec![match running {
        Running::Answers => Finding::ok(CHECK, format!("a tcpwatch answers at {socket} (tcpwatch status)")),
        Running::Forbidden => Finding::note(CHECK, format!("this user may not connect to {socket}"))
            .cure("as root, or as a member of the group that the socket belongs to"),
        Running::Stale => Finding::note(CHECK, format!("{socket} is of a tcpwatch that is dead"))
            .cure("nothing: the next start replaces it"),
        Running::No => Finding::ok(CHECK, "no tcpwatch with a control socket"),
    }];
    match (pins, running) {
        (Pins::None, _) => {}
        (Pins::Forbidden, _) => found.push(
            Finding::note("pins", format!("{directory} cannot be looked into by this user"))
                .cure("sudo tcpwatch doctor"),
        ),
        (Pins::Held, _) => found.push(Finding::ok(
            "pins",
            format!("{directory}, of a tcpwatch that runs: counting goes on while it is restarted"),
        )),
        (Pins::Some, _) => found.push(
            Finding::warn(
                "pins",
                format!("{directory} has what a tcpwatch left that does not run: it goes on counting, and nobody reads it"),
            )
            .cure(format!("tcpwatch run --pin {directory} takes it over"))
            .cure(format!("tcpwatch detach --pin {directory} ends it")),
        ),
    }
    found
}
