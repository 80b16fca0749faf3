//! The source: Debian's tor-geoipdb, ranges of addresses with a country code, and how to come by it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, anyhow, bail};

use super::date;
use crate::machine::{Machine, succeed};
use crate::setup::packages;

/// Country of every address range, from the IPFire location project by way of Tor, refreshed with Debian's security
/// updates.
pub const PACKAGE: &str = "tor-geoipdb";
const DIRECTORY: &str = "usr/share/tor";

/// The two source files.
#[derive(Debug)]
pub struct Files {
    v4: PathBuf,
    v6: PathBuf,
    date: u64,
}

impl Files {
    /// The files in `usr/share/tor` under `root`, where both are there.
    fn under(root: &Path) -> Option<Self> {
        let directory = root.join(DIRECTORY);
        let (v4, v6) = (directory.join("geoip"), directory.join("geoip6"));
        // The age of the database is that of its older half.
        let date = file_date(&v4)?.min(file_date(&v6)?);
        Some(Self { v4, v6, date })
    }

    /// When the data was exported, in seconds since 1970.
    pub fn date(&self) -> u64 {
        self.date
    }
}

/// From the file's own header; where that is silent, the time the package gave the file.
fn file_date(path: &Path) -> Option<u64> {
    let file = fs::File::open(path).ok()?;
    let modified = file
        .metadata()
        .ok()?
        .modified()
        .ok()?
        .duration_since(UNIX_EPOCH)
        .ok()?
        .as_secs();
    let stated = BufReader::new(file)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| line.starts_with('#'))
        .find_map(|line| date::parse(line.strip_prefix("# Generated:")?));
    Some(stated.unwrap_or(modified))
}

/// The files of the installed package.
pub fn installed() -> Option<Files> {
    Files::under(Path::new("/"))
}

/// Fetches the package into `directory` and unpacks it there. It is not installed, because it depends on tor, and
/// installing that starts it.
///
/// # Errors
///
/// apt or dpkg fails, or the package is not what it was.
pub fn download(machine: &Machine, directory: &Path) -> anyhow::Result<Files> {
    let directory = directory.join(PACKAGE);
    let archive = packages::download(machine, PACKAGE, &directory)?;
    succeed(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(archive)
            .arg(&directory),
    )?;
    Files::under(&directory).ok_or_else(|| anyhow!("{PACKAGE} has no {DIRECTORY}/geoip and geoip6 any more"))
}

/// Removes what [`download`] left in `directory`.
///
/// # Errors
///
/// It cannot be removed.
pub fn discard_download(directory: &Path) -> anyhow::Result<()> {
    packages::discard(&directory.join(PACKAGE))
}

/// Addresses from `first` to `last`, both included and of one family, in one country.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    pub first: IpAddr,
    pub last: IpAddr,
    pub country: [u8; 2],
}

impl Range {
    /// The country code as text.
    pub fn code(&self) -> &str {
        // Checked to be ASCII when it was read.
        std::str::from_utf8(&self.country).unwrap_or("??")
    }
}

/// All ranges of both files whose place is known, and the number of those whose place is not.
///
/// # Errors
///
/// A file cannot be read, or a line is not as it should be: file and line are named.
pub fn read(files: &Files) -> anyhow::Result<(Vec<Range>, usize)> {
    let mut ranges = Vec::new();
    let mut unknown = 0;
    for path in [&files.v4, &files.v6] {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        for (number, line) in text.lines().enumerate() {
            match parse(line).with_context(|| format!("{}:{}", path.display(), number + 1))? {
                Line::Range(range) => ranges.push(range),
                Line::Unknown => unknown += 1,
                Line::Comment => {}
            }
        }
    }
    Ok((ranges, unknown))
}

#[derive(PartialEq, Eq, Debug)]
enum Line {
    Range(Range),
    Unknown,
    Comment,
}

fn parse(line: &str) -> anyhow::Result<Line> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(Line::Comment);
    }
    let mut fields = line.split(',');
    let (Some(first), Some(last), Some(country), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        bail!("not `first,last,country`: {line}");
    };
    let (first, last) = (address(first)?, address(last)?);
    if first > last || first.is_ipv4() != last.is_ipv4() {
        bail!("{first} to {last} is not a range");
    }
    match *country.as_bytes() {
        [b'?', b'?'] => Ok(Line::Unknown),
        // A slip of some registries: the code is reserved for the United Kingdom, whose own is GB.
        [b'U', b'K'] => Ok(Line::Range(Range {
            first,
            last,
            country: *b"GB",
        })),
        [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok(Line::Range(Range {
            first,
            last,
            country: [a, b],
        })),
        _ => bail!("not a country code: {country}"),
    }
}

/// IPv4 is written as one number, IPv6 as usual.
fn address(field: &str) -> anyhow::Result<IpAddr> {
    if field.contains(':') {
        return Ok(field
            .parse::<Ipv6Addr>()
            .with_context(|| format!("not an IPv6 address: {field}"))?
            .into());
    }
    let number: u32 = field
        .parse()
        .with_context(|| format!("not an IPv4 address as a number: {field}"))?;
    Ok(Ipv4Addr::from_bits(number).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_families() {
        let expected = Range {
            first: Ipv4Addr::new(1, 0, 0, 0).into(),
            last: Ipv4Addr::new(1, 0, 0, 255).into(),
            country: *b"AU",
        };
        assert_eq!(parse("16777216,16777471,AU").unwrap(), Line::Range(expected));
        let Line::Range(range) = parse("2001:200::,2001:200:134:ffff:ffff:ffff:ffff:ffff,JP").unwrap() else {
            panic!("not a range");
        };
        assert_eq!(
            (range.first.to_string(), range.code()),
            ("2001:200::".to_owned(), "JP")
        );
    }

    #[test]
    fn tells_unknown_places_and_comments_from_ranges() {
        assert_eq!(parse("15726992,15726999,??").unwrap(), Line::Unknown);
        assert_eq!(parse("# Vendor, x, y").unwrap(), Line::Comment);
        assert_eq!(parse("").unwrap(), Line::Comment);
    }

    #[test]
    fn writes_the_united_kingdom_in_one_way() {
        let Line::Range(range) = parse("16777216,16777471,UK").unwrap() else {
            panic!("not a range")
        };
        assert_eq!(range.code(), "GB");
    }

    #[test]
    fn refuses_what_is_not_a_range() {
        for line in [
            "1,2",
            "1,2,US,x",
            "2,1,US",
            "1,::1,US",
            "4294967296,4294967297,US",
            "1,2,us",
            "1,2,USA",
            "a,b,US",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    fn files(directory: &Path, v4: &str, v6: &str) -> Option<Files> {
        fs::create_dir_all(directory.join(DIRECTORY)).unwrap();
        fs::write(directory.join(DIRECTORY).join("geoip"), v4).unwrap();
        fs::write(directory.join(DIRECTORY).join("geoip6"), v6).unwrap();
        Files::under(directory)
    }

    #[test]
    fn is_as_old_as_its_older_half() {
        let directory = tempfile::tempdir().unwrap();
        let v4 = "# Generated: Thu, 25 Jun 2026 04:33:59 GMT\n";
        let v6 = "# x\n# Generated: Wed, 24 Jun 2026 04:33:59 GMT\n1,2,US\n";
        assert_eq!(
            date::day(files(directory.path(), v4, v6).unwrap().date()),
            "2026-06-24"
        );
    }

    #[test]
    fn needs_both_files() {
        let directory = tempfile::tempdir().unwrap();
        assert!(files(directory.path(), "", "").is_some());
        fs::remove_file(directory.path().join(DIRECTORY).join("geoip6")).unwrap();
        assert!(Files::under(directory.path()).is_none());
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path(), "# x\n1,2,US\n", "# x\n::1,::2\n").unwrap();
        let error = format!("{:#}", read(&files).unwrap_err());
        assert!(error.contains("geoip6:2: not `first,last,country`"), "{error}");
    }
}
