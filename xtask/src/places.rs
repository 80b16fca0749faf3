//! The place database that tcpwatch falls back to: made at set-up by `tcpwatch geo import` from packages of Debian, never part
//! of this repository, because its data is share-alike.

pub mod date;
mod sources;

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, anyhow};

use crate::cargo;
use crate::machine::{Machine, shown, succeed};
use crate::setup::packages;
use crate::setup::{Finding, Known, Remedy, State};

pub use sources::fetch;

/// Where tcpwatch looks after the operator's own databases.
const DATABASE: &str = "/var/lib/tcpwatch/places.mmdb";

/// `database_type` of what `tcpwatch geo import` makes.
const TYPE: &str = "tcpwatch-Country-ASN";

/// Where operators keep databases of their own, which tcpwatch prefers to ours.
const OPERATORS: [&str; 2] = ["/usr/share/GeoIP", "/var/lib/GeoIP"];

/// What `location lookup` of libloc is written in, as a package.
const READER: &str = "python3-location";

/// When the database is made.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Renewal {
    /// Where there is none. Old data must not keep `cargo xtask run` from starting.
    #[default]
    WhenMissing,
    /// Also where this machine has newer data.
    WhenStale,
    /// In any case.
    Always,
}

/// Whether there is a database, as new as is wanted.
pub fn look(machine: &Machine, known: &Known) -> Finding {
    let (local, renewal) = (sources::here(), known.places);
    let missing = || State::Missing(action(&local), Remedy::PlaceDatabase);
    let newer = |built| sources::newest(&local).is_some_and(|date| date > built);
    let state = match built(Path::new(DATABASE)) {
        _ if renewal == Renewal::Always => missing(),
        Database::Of(built) if renewal == Renewal::WhenStale && newer(built) => missing(),
        Database::Of(built) => State::Ready(format!("{DATABASE}, data of {}", date::day(built))),
        Database::Hidden => State::Ready(format!("{DATABASE}, readable by root only")),
        Database::None if let Some(why) = &known.no_places => {
            State::Without(format!("records name no countries and networks: it cannot be made now: {why}"))
        }
        Database::None if !local.is_empty() || machine.debian => missing(),
        Database::None => match operators() {
            Some(path) => State::Ready(path.display().to_string()),
            None => State::Without(
                "records name no countries and networks unless `--geo FILE` or /usr/share/GeoIP has an MMDB file"
                    .to_owned(),
            ),
        },
    };
    Finding {
        name: "place database",
        state,
    }
}

/// What the tests compare the database with: its sources, and libloc's own reader.
pub fn look_for_tests(machine: &Machine) -> Vec<Finding> {
    let reader = if !packages::installed(&[READER]).is_empty() {
        State::Ready("installed".to_owned())
    } else if machine.debian {
        State::Missing(
            format!("apt-get install {READER} (libloc's own answers)"),
            Remedy::Packages(vec![READER]),
        )
    } else {
        State::Blocked(format!(
            "install {READER}, which is needed for libloc's own answers"
        ))
    };
    let packages = sources::PACKAGES.join(", ");
    let sources = match sources::fetched() {
        Ok(Some(directory)) => State::Ready(directory.display().to_string()),
        Ok(None) if machine.debian => State::Missing(
            format!("download {packages} and unpack them in the target directory (not installed)"),
            Remedy::PlaceSources,
        ),
        Ok(None) => State::Blocked(format!("the tests need data that only Debian has: {packages}")),
        Err(error) => State::Blocked(format!("{error:#}")),
    };
    vec![
        Finding {
            name: READER,
            state: reader,
        },
        Finding {
            name: "place data",
            state: sources,
        },
    ]
}

/// The directory with the sources, for the tests.
///
/// # Errors
///
/// They were not fetched.
pub fn data() -> anyhow::Result<PathBuf> {
    sources::fetched()?.context("the place data was not fetched: run `cargo xtask setup`")
}

/// A database of the operator's that knows countries, by its name.
fn operators() -> Option<PathBuf> {
    files_in(OPERATORS).into_iter().find(|path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_ascii_lowercase();
        name.contains("country") || name.contains("city")
    })
}

/// The MMDB files in some directories.
fn files_in(directories: impl IntoIterator<Item = impl AsRef<Path>>) -> Vec<PathBuf> {
    directories
        .into_iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "mmdb"))
        .collect()
}

fn action(local: &[PathBuf]) -> String {
    let origin = if local.is_empty() {
        "downloaded from Debian and not installed".to_owned()
    } else {
        let names: Vec<_> = local.iter().map(|path| path.display().to_string()).collect();
        format!(
            "what of it is not here ({}) downloaded from Debian",
            names.join(", ")
        )
    };
    format!("make {DATABASE} from libloc-database and tor-geoipdb, {origin}")
}

enum Database {
    /// Data of this date, in seconds since 1970.
    Of(u64),
    /// There, but not for our eyes.
    Hidden,
    /// Not there, or not one of ours that can be read.
    None,
}

fn built(path: &Path) -> Database {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Database::Hidden,
        Err(_absent) => Database::None,
        Ok(_) => match maxminddb::Reader::open_readfile(path) {
            // Also the one without marks of anycast.
            Ok(reader) if reader.metadata().database_type.starts_with(TYPE) => {
                Database::Of(reader.metadata().build_epoch)
            }
            Ok(_) | Err(_) => Database::None,
        },
    }
}

/// Builds tcpwatch, as `cargo xtask run` does, has it make the database and puts that in place in one step. `anew`: from
/// today's data.
///
/// # Errors
///
/// The data cannot be had, tcpwatch cannot be built or refuses it, or the database cannot be written.
pub fn make(machine: &Machine, anew: bool) -> anyhow::Result<()> {
    let files = sources::for_database(machine, anew)?;
    let program = cargo::program("tcpwatch", "tcpwatch", true)?;
    let file = cargo::scratch()?.join("places.mmdb");
    let mut import = Command::new(program);
    import.args(["geo", "import", "--output"]).arg(&file).args(&files);
    println!("+ {}", shown(&import));
    succeed(&mut import)?;
    put_in_place(machine, &file, Path::new(DATABASE))?;
    fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    println!("{DATABASE} is in place");
    Ok(())
}

/// A reader sees the old file or the new one, whole; also after a power cut.
fn put_in_place(machine: &Machine, file: &Path, place: &Path) -> anyhow::Result<()> {
    let script = r#"install -D -m 0644 "$1" "$2.new" && sync "$2.new" && mv -f "$2.new" "$2""#;
    let mut command = machine.elevated("sh", &[])?;
    command.args([
        OsStr::new("-c"),
        OsStr::new(script),
        OsStr::new("sh"),
        file.as_os_str(),
        place.as_os_str(),
    ]);
    if !machine.root {
        println!("+ sudo install {} {}", file.display(), place.display());
    }
    succeed(&mut command)
}

/// Type and date of every MMDB file in the places where tcpwatch looks, or why it cannot be read.
pub fn found() -> Vec<(String, anyhow::Result<String>)> {
    let ours = Path::new(DATABASE).parent();
    files_in(OPERATORS.map(Path::new).into_iter().chain(ours))
        .into_iter()
        .map(|path| {
            let described = maxminddb::Reader::open_readfile(&path).map(|reader| {
                let metadata = reader.metadata();
                format!("{}, {}", metadata.database_type, date::day(metadata.build_epoch))
            });
            (
                path.display().to_string(),
                described.map_err(|error| anyhow!(error)),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_ourselves() -> Machine {
        Machine::for_test_as_root()
    }

    #[test]
    fn replaces_a_database_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let (file, place) = (
            directory.path().join("made"),
            directory.path().join("deep/places.mmdb"),
        );
        for content in ["old", "new"] {
            fs::write(&file, content).unwrap();
            put_in_place(&as_ourselves(), &file, &place).unwrap();
            assert_eq!(fs::read_to_string(&place).unwrap(), content);
        }
        assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn keeps_the_old_database_where_the_new_one_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("places.mmdb");
        fs::write(&place, "old").unwrap();
        assert!(put_in_place(&as_ourselves(), &directory.path().join("absent"), &place).is_err());
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
    }

    #[test]
    fn a_damaged_database_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("places.mmdb");
        fs::write(&place, "not an MMDB").unwrap();
        assert!(matches!(built(&place), Database::None));
    }
}
