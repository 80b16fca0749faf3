//! `tcpwatch geo info`: describes the place databases in use.

use std::io::{self, Write};

use jiff::civil::Date;
use serde::Serialize;

use crate::enrich::geo::{Description, GeoError};
use crate::geo::{Databases, Ending};

/// From this age on a warning is given: addresses move all the time, and monthly files are a month old at most.
pub const OLD_DAYS: i32 = 60;

/// Arguments of `tcpwatch geo info`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// One JSON object for each file
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    databases: Databases,
}

/// Why nothing could be said.
#[derive(Debug, thiserror::Error)]
pub enum InfoError {
    /// A place database that was named.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// The standard output.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

/// Describes each file in use, in the order in which they are asked. There being none is a failure.
///
/// # Errors
/// See [`InfoError`].
pub fn run(arguments: &Arguments, out: &mut dyn Write, notices: &mut dyn Write) -> Result<Ending, InfoError> {
    let (places, warnings) = arguments.databases.selection().open()?;
    let today = jiff::Timestamp::now()
        .to_zoned_datetime(jiff::tz::TimeZone::UTC)
        .date();
    let files: Vec<Info> = places
        .descriptions()
        .into_iter()
        .map(|description| Info::new(description, today))
        .collect();
    let old = files
        .iter()
        .filter(|file| file.age_days > OLD_DAYS)
        .map(Info::warning);
    for warning in warnings.into_iter().chain(old) {
        // Nobody to read it is no reason to end.
        writeln!(notices, "tcpwatch: {warning}").unwrap_or_default();
    }
    match show(&files, arguments.json, out) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(InfoError::Write(error)),
        Ok(()) | Err(_) if files.is_empty() => Ok(Ending::Failed),
        Ok(()) | Err(_) => Ok(Ending::Done),
    }
}

fn show(files: &[Info], json: bool, out: &mut dyn Write) -> io::Result<()> {
    for (at, file) in files.iter().enumerate() {
        if json {
            serde_json::to_writer(&mut *out, file)?;
            writeln!(out)?;
        } else {
            if at > 0 {
                writeln!(out)?;
            }
            out.write_all(file.text().as_bytes())?;
        }
    }
    out.flush()
}

/// A file, as it is described.
#[derive(Serialize)]
struct Info {
    /// Its path.
    file: String,
    /// `database_type` of its metadata.
    #[serde(rename = "type")]
    kind: String,
    /// The day it was built, UTC.
    built: Date,
    /// Days since then.
    age_days: i32,
    /// Networks that it has a record of.
    networks: u64,
    /// Size in bytes.
    bytes: u64,
    /// 4 or 6 (both families).
    ip_version: u16,
    /// Languages that it has names in.
    languages: Vec<String>,
    /// Under which licence it may be used; null: its type does not tell.
    licence: Option<&'static str>,
    /// What it says of itself.
    description: Option<String>,
}

impl Info {
    fn new(description: Description, today: Date) -> Self {
        let Description {
            file,
            networks,
            bytes,
            ip_version,
            languages,
            text,
        } = description;
        Self {
            age_days: file.built.until(today).map_or(0, |span| span.get_days()),
            licence: licence(&file.kind),
            file: file.file.to_string(),
            kind: file.kind.to_string(),
            built: file.built,
            networks,
            bytes,
            ip_version,
            languages,
            description: text,
        }
    }

    fn warning(&self) -> String {
        format!(
            "{} is {} days old: addresses have moved since; `tcpwatch geo update` fetches a new one",
            self.file, self.age_days
        )
    }

    fn text(&self) -> String {
        let age = match self.age_days {
            0 => "today".to_owned(),
            1 => "1 day old".to_owned(),
            days if days < 0 => "in the future".to_owned(),
            days => format!("{days} days old"),
        };
        let families = if self.ip_version == 6 {
            "IPv4 and IPv6"
        } else {
            "IPv4 only"
        };
        let mut lines = vec![
            ("type", self.kind.clone()),
            ("built", format!("{}, {age}", self.built)),
            (
                "content",
                format!(
                    "{} networks, {families}, {:.1} MB",
                    self.networks,
                    self.bytes as f64 / 1e6
                ),
            ),
        ];
        if !self.languages.is_empty() {
            lines.push(("languages", self.languages.join(", ")));
        }
        lines.extend(self.licence.map(|licence| ("licence", licence.to_owned())));
        lines.extend(self.description.clone().map(|text| ("says", text)));
        let mut text = format!("{}\n", self.file);
        for (label, value) in lines {
            text.push_str(&format!("  {label:<9}  {value}\n"));
        }
        text
    }
}

/// By the type, because MaxMind's and DB-IP's files do not name their licence.
fn licence(kind: &str) -> Option<&'static str> {
    if kind.starts_with("GeoLite2-") {
        Some(
            "GeoLite End User License Agreement of MaxMind: keep it no longer than 30 days after a new one is out",
        )
    } else if kind.starts_with("GeoIP2-") {
        Some("MaxMind End User License Agreement")
    } else if kind.starts_with("DBIP-") && kind.contains("Lite") {
        Some("CC BY 4.0: IP Geolocation by DB-IP (https://db-ip.com)")
    } else if kind.starts_with(crate::enrich::geo::OUR_TYPE) {
        Some("that of its sources, see below")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::GeoFile;

    fn info(built: Date) -> Info {
        let description = Description {
            file: GeoFile {
                file: "/var/lib/GeoIP/GeoLite2-City.mmdb".into(),
                kind: "GeoLite2-City".into(),
                built,
            },
            networks: 5_000_000,
            bytes: 64_250_000,
            ip_version: 6,
            languages: vec!["de".to_owned(), "en".to_owned()],
            text: Some("GeoLite2 City database".to_owned()),
        };
        Info::new(description, jiff::civil::date(2026, 3, 1))
    }

    #[test]
    fn a_file_is_described_like_this() {
        assert_eq!(
            info(jiff::civil::date(2026, 1, 1)).text(),
            "/var/lib/GeoIP/GeoLite2-City.mmdb\n  \
               type       GeoLite2-City\n  \
               built      2026-01-01, 59 days old\n  \
               content    5000000 networks, IPv4 and IPv6, 64.2 MB\n  \
               languages  de, en\n  \
               licence    GeoLite End User License Agreement of MaxMind: keep it no longer than 30 days after a new one is out\n  \
               says       GeoLite2 City database\n"
        );
    }

    #[test]
    fn the_age_is_in_days_and_may_be_in_the_future() {
        for (day, age) in [
            (1, "built      2026-03-01, today\n"),
            (2, "2026-03-02, in the future\n"),
        ] {
            let text = info(jiff::civil::date(2026, 3, day)).text();
            assert!(text.contains(age), "{text}");
        }
        assert_eq!(info(jiff::civil::date(2025, 12, 31)).age_days, 60);
        assert!(info(jiff::civil::date(2025, 12, 30)).age_days > OLD_DAYS);
    }

    #[test]
    fn json_has_a_line_for_each_file() {
        let mut out = Vec::new();
        show(&[info(jiff::civil::date(2026, 1, 1))], true, &mut out).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert!(
            line.ends_with("}\n") && line.contains("\"networks\":5000000"),
            "{line}"
        );
        assert!(
            line.contains("\"built\":\"2026-01-01\",\"age_days\":59"),
            "{line}"
        );
    }
}
