//! The data that the place database is made of, and how to come by it: what Debian's packages have installed here, or the
//! same packages fetched and unpacked.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, bail};

use super::date;
use crate::cargo;
use crate::machine::Machine;
use crate::setup::packages;

/// The packages that are fetched: libloc's location database, Tor's country of every range, and the program that the
/// tests ask for libloc's own answers. None is installed: Tor's would bring and start tor, and the program's a timer that
/// fetches from the network.
pub const PACKAGES: [&str; 3] = ["libloc-database", "tor-geoipdb", "location"];

/// What of them is kept, all in one directory.
const WANTED: [&str; 4] = [
    "./usr/share/libloc-location/location.db",
    "./usr/share/tor/geoip",
    "./usr/share/tor/geoip6",
    "./usr/bin/location",
];

/// Where the installed packages have their data: libloc's, as delivered and as refreshed, and Tor's.
const LIBLOC: [&str; 2] = [
    "/usr/share/libloc-location/location.db",
    "/var/lib/location/database.db",
];
const TOR: [&str; 2] = ["/usr/share/tor/geoip", "/usr/share/tor/geoip6"];

/// Where those files of `paths` are that are there.
fn installed(paths: &[&str]) -> Vec<PathBuf> {
    paths
        .iter()
        .map(PathBuf::from)
        .filter(|path| path.is_file())
        .collect()
}

/// Data of the installed packages; empty where there is none.
pub fn here() -> Vec<PathBuf> {
    let mut files = installed(&LIBLOC);
    files.extend(installed(&TOR));
    files
}

/// The directory with what was fetched, where it is complete.
///
/// # Errors
///
/// The target directory cannot be written.
pub fn fetched() -> anyhow::Result<Option<PathBuf>> {
    let directory = directory()?;
    let complete = WANTED.iter().all(|path| directory.join(name(path)).is_file());
    Ok(complete.then_some(directory))
}

fn directory() -> anyhow::Result<PathBuf> {
    Ok(cargo::kept()?.join("places"))
}

/// The last part of a path.
fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Fetches the packages and keeps what is wanted of them.
///
/// # Errors
///
/// Debian does not have them, apt, dpkg or tar fails, or a package is not what it was.
pub fn fetch(machine: &Machine) -> anyhow::Result<PathBuf> {
    let scratch = cargo::scratch()?.join("places");
    let names = || packages::available(&PACKAGES).then(|| PACKAGES.map(str::to_owned).to_vec());
    let Some(archives) = packages::download_all(machine, names, &scratch)? else {
        bail!("apt does not know all of {}", PACKAGES.join(", "));
    };
    let files = scratch.join("files");
    for archive in archives {
        packages::extract(&archive, &files, &WANTED)?;
    }
    let place = directory()?;
    packages::discard(&place)?;
    fs::rename(&files, &place).with_context(|| format!("cannot make {}", place.display()))?;
    packages::discard(&scratch)?;
    fetched()?.with_context(|| {
        format!(
            "{} have not all of {} any more",
            PACKAGES.join(", "),
            WANTED.join(", ")
        )
    })
}

/// The files for the database: those of the installed packages, and of what is not installed those that were fetched, which
/// happens where there are none, or where they are wanted `anew`.
///
/// # Errors
///
/// As [`fetch`]; and there are none where this is not Debian.
pub fn for_database(machine: &Machine, anew: bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = here();
    let lacking: Vec<&str> = [(&LIBLOC, &WANTED[..1]), (&TOR, &WANTED[1..3])]
        .into_iter()
        .filter(|(places, _)| installed(&places[..]).is_empty())
        .flat_map(|(_, wanted)| wanted.iter().copied())
        .collect();
    if !lacking.is_empty() && machine.debian {
        let directory = match fetched()? {
            Some(directory) if !anew => directory,
            _ => fetch(machine)?,
        };
        files.extend(lacking.iter().map(|path| directory.join(name(path))));
    }
    if files.is_empty() {
        bail!(
            "no data to make a place database of: install libloc's location.db as {}",
            LIBLOC[0]
        );
    }
    Ok(files)
}

/// When the newest of `files` was put together, in seconds since 1970.
pub fn newest(files: &[PathBuf]) -> Option<u64> {
    files.iter().filter_map(|path| file_date(path)).max()
}

/// From the file's own header; where that is silent, the time the package gave the file.
fn file_date(path: &Path) -> Option<u64> {
    let mut file = BufReader::new(fs::File::open(path).ok()?);
    let mut start = [0; 16];
    if file.read_exact(&mut start).is_ok()
        && start.starts_with(b"LOCDBXX")
        && let Some(seconds) = start.last_chunk()
    {
        return Some(u64::from_be_bytes(*seconds));
    }
    let mut file = BufReader::new(fs::File::open(path).ok()?);
    let modified = file.get_mut().metadata().ok()?.modified().ok()?;
    let stated = file
        .lines()
        .map_while(Result::ok)
        .take_while(|line| line.starts_with('#'))
        .find_map(|line| date::parse(line.strip_prefix("# Generated:")?));
    stated.or_else(|| Some(modified.duration_since(UNIX_EPOCH).ok()?.as_secs()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_files_date_is_its_headers_or_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, bytes).unwrap();
            let file = fs::File::options().append(true).open(&path).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(1_767_225_600))
                .unwrap();
            path
        };
        let libloc = file("location.db", b"LOCDBXX\x01\0\0\0\0\x63\x5c\xc1\x5a...");
        let tor = file(
            "geoip",
            b"# x\n# Generated: Thu, 25 Jun 2026 04:33:59 GMT\n1,2,DE\n",
        );
        let silent = file("geoip6", b"# x\n::1,::2,DE\n");
        for (path, seconds) in [
            (&libloc, 1_667_023_194),
            (&tor, 1_782_362_039),
            (&silent, 1_767_225_600),
        ] {
            assert_eq!(file_date(path), Some(seconds), "{}", path.display());
        }
        assert_eq!(newest(&[libloc, silent, tor]), Some(1_782_362_039));
        assert_eq!(newest(&[directory.path().join("absent")]), None);
    }
}
