//! The place database that tcpwatch falls back to: made at set-up from Debian's tor-geoipdb, never part of this
//! repository, because its data is share-alike.

mod data;
mod database;
pub mod date;
mod names;

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, anyhow};

use crate::cargo;
use crate::machine::{Machine, succeed};
use crate::setup::{Finding, Remedy, State};

/// Where tcpwatch looks after the operator's own databases.
const DATABASE: &str = "/var/lib/tcpwatch/country.mmdb";

/// Where operators keep databases of their own, which tcpwatch prefers to ours.
const OPERATORS: [&str; 2] = ["/usr/share/GeoIP", "/var/lib/GeoIP"];

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

/// Whether there is a database, new enough for `renewal`.
pub fn look(machine: &Machine, renewal: Renewal) -> Finding {
    let local = data::installed();
    let missing = || State::Missing(action(local.as_ref()), Remedy::PlaceDatabase);
    let newer = |built| local.as_ref().is_some_and(|files| files.date() > built);
    let state = match built(Path::new(DATABASE)) {
        _ if renewal == Renewal::Always => missing(),
        Database::Of(built) if renewal == Renewal::WhenStale && newer(built) => missing(),
        Database::Of(built) => State::Ready(format!("{DATABASE}, data of {}", date::day(built))),
        Database::Hidden => State::Ready(format!("{DATABASE}, readable by root only")),
        Database::None => match operators() {
            Some(path) => State::Ready(path.display().to_string()),
            None if local.is_some() || machine.debian => missing(),
            None => State::Without(
                "records name no countries unless `--geo FILE` or /usr/share/GeoIP has an MMDB file"
                    .to_owned(),
            ),
        },
    };
    Finding {
        name: "place database",
        state,
    }
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

fn action(local: Option<&data::Files>) -> String {
    let origin = local.map_or(
        "downloaded from Debian (not installed: it would bring and start tor)",
        |_| "here",
    );
    format!("make {DATABASE} from {}, {origin}", data::PACKAGE)
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
            Ok(reader) if reader.metadata().database_type == database::TYPE => {
                Database::Of(reader.metadata().build_epoch)
            }
            Ok(_) | Err(_) => Database::None,
        },
    }
}

/// Makes the database, checks it against its source and puts it in place in one step.
///
/// # Errors
///
/// The data cannot be had or read, the database does not answer as the source does, or it cannot be written.
pub fn make(machine: &Machine) -> anyhow::Result<()> {
    let started = Instant::now();
    let scratch = cargo::scratch()?;
    let files = match data::installed() {
        Some(files) => files,
        None => data::download(machine, &scratch)?,
    };
    let (ranges, unknown) = data::read(&files)?;
    data::discard_download(&scratch)?;
    let made = database::make(&ranges, files.date())?;
    let checked = database::check(&made.bytes, &ranges)?;

    let file = scratch.join("country.mmdb");
    fs::write(&file, &made.bytes).with_context(|| format!("cannot write {}", file.display()))?;
    put_in_place(machine, &file, Path::new(DATABASE))?;
    fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    println!(
        "{DATABASE}: {} ranges of {}, {:.1} MB, {checked} addresses checked, {} ranges left out ({unknown} of unknown \
         place, {} in address space that stands for other addresses), {:.1} s",
        ranges.len(),
        date::day(files.date()),
        made.bytes.len() as f64 / 1e6,
        unknown + made.aliased,
        made.aliased,
        started.elapsed().as_secs_f64(),
    );
    println!("{}", database::ATTRIBUTION);
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
            directory.path().join("deep/country.mmdb"),
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
        let place = directory.path().join("country.mmdb");
        fs::write(&place, "old").unwrap();
        assert!(put_in_place(&as_ourselves(), &directory.path().join("absent"), &place).is_err());
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
    }

    #[test]
    fn a_damaged_database_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("country.mmdb");
        fs::write(&place, "not an MMDB").unwrap();
        assert!(matches!(built(&place), Database::None));
    }
}
