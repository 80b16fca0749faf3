//! `tcpwatch geo lookup`: says what addresses belong to.

use std::io::{self, BufRead, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;

use crate::enrich::{Enricher as _, GeoError, Places, scope};
use crate::geo::{Databases, Ending};
use crate::record::{Place, Scope};

/// Columns of the longest IPv4 address: what is said of an address begins at the same column where that is possible.
const ADDRESS_WIDTH: usize = 15;

/// Arguments of `tcpwatch geo lookup`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Addresses; none, or `-`: one on each line of the standard input
    #[arg(value_name = "ADDR")]
    addresses: Vec<String>,

    /// One JSON object for each address
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    databases: Databases,
}

/// Why nothing could be looked up.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// A place database that was named.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// Not an address.
    #[error("{0:?} is no IP address: write it like 192.0.2.1 or 2001:db8::1")]
    Address(String),
    /// The standard input.
    #[error("cannot read the standard input")]
    Read(#[source] io::Error),
    /// The standard output.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

/// Answers for each address.
///
/// # Errors
/// See [`LookupError`]. A line of the standard input that is no address is said, and the others are answered.
pub fn run(
    arguments: &Arguments,
    out: &mut dyn Write,
    notices: &mut dyn Write,
) -> Result<Ending, LookupError> {
    let typed = match &arguments.addresses[..] {
        [] => None,
        [only] if only == "-" => None,
        addresses => Some(
            addresses
                .iter()
                .map(|text| address(text).ok_or_else(|| LookupError::Address(text.clone())))
                .collect::<Result<Vec<_>, _>>()?,
        ),
    };
    let (places, warnings) = arguments.databases.selection().open()?;
    for warning in warnings {
        // Nobody to read it is no reason to end.
        writeln!(notices, "tcpwatch: {warning}").unwrap_or_default();
    }
    let mut answers = Answers {
        places,
        json: arguments.json,
        out,
    };
    let answered = match typed {
        Some(addresses) => addresses
            .into_iter()
            .try_for_each(|address| answers.give(address))
            .map(|()| Ending::Done),
        None => lines(&mut io::stdin().lock(), &mut answers, notices)?,
    };
    match answered.and_then(|ending| answers.out.flush().map(|()| ending)) {
        Ok(ending) => Ok(ending),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Ending::Done),
        Err(error) => Err(LookupError::Write(error)),
    }
}

/// Answers line by line, so that it can stand at the end of a pipe that never ends. The inner error is that of writing.
fn lines(
    from: &mut dyn BufRead,
    answers: &mut Answers<'_>,
    notices: &mut dyn Write,
) -> Result<io::Result<Ending>, LookupError> {
    let mut ending = Ending::Done;
    for (number, line) in from.split(b'\n').enumerate() {
        let line = line.map_err(LookupError::Read)?;
        let line = String::from_utf8_lossy(&line);
        let text = line.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        match address(text) {
            Some(address) => {
                if let Err(error) = answers.give(address).and_then(|()| answers.out.flush()) {
                    return Ok(Err(error));
                }
            }
            None => {
                ending = Ending::Failed;
                let complaint = LookupError::Address(text.chars().take(100).collect());
                writeln!(notices, "tcpwatch: line {}: {complaint}", number + 1).unwrap_or_default();
            }
        }
    }
    Ok(Ok(ending))
}

/// An address, also with a port behind it or in brackets, as logs have them.
fn address(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = inner
        .unwrap_or(text)
        .parse::<IpAddr>()
        .or_else(|_not_alone| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok()
}

struct Answers<'a> {
    places: Places,
    json: bool,
    out: &'a mut dyn Write,
}

/// What is known of an address, in the words of a record.
#[derive(Serialize)]
struct Answer {
    address: IpAddr,
    scope: Scope,
    #[serde(flatten)]
    place: Arc<Place>,
}

impl Answers<'_> {
    fn give(&mut self, address: IpAddr) -> io::Result<()> {
        let answer = Answer {
            address,
            scope: scope(address),
            place: self.places.place(address),
        };
        if self.json {
            serde_json::to_writer(&mut self.out, &answer)?;
            writeln!(self.out)
        } else {
            writeln!(
                self.out,
                "{:ADDRESS_WIDTH$}  {}",
                address.to_string(),
                answer.text()
            )
        }
    }
}

impl Answer {
    fn text(&self) -> String {
        if self.scope != Scope::Global {
            return match self.scope {
                Scope::Unspecified => "the unspecified address".to_owned(),
                Scope::Broadcast => "the broadcast address".to_owned(),
                special => format!("{} address", special.word().replace('_', "-")),
            };
        }
        let Place {
            country,
            country_name,
            city,
            asn,
            network,
            anycast,
        } = &*self.place;
        let mut parts = Vec::new();
        let name = [country.as_deref(), country_name.as_deref()];
        let name: Vec<&str> = name.into_iter().flatten().collect();
        if !name.is_empty() {
            let city = city
                .as_deref()
                .map_or_else(String::new, |city| format!(", {city}"));
            parts.push(format!("{}{city}", name.join(" ")));
        }
        match (asn, network) {
            (Some(number), Some(name)) => parts.push(format!("AS{number} {name}")),
            (Some(number), None) => parts.push(format!("AS{number}")),
            (None, _) => {}
        }
        if *anycast == Some(true) {
            parts.push("anycast".to_owned());
        }
        if parts.is_empty() {
            "unknown".to_owned()
        } else {
            parts.join(" · ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_logs_have_them() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:443", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
        ] {
            assert_eq!(address(text), Some(expected.parse().unwrap()), "{text}");
        }
        for text in ["", "example.com", "192.0.2.256", "192.0.2.0/24", "[]", "1"] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    fn answer(scope: Scope, place: Place) -> String {
        Answer {
            address: "192.0.2.1".parse().unwrap(),
            scope,
            place: Arc::new(place),
        }
        .text()
    }

    #[test]
    fn what_is_known_is_said_in_one_line() {
        let place = Place {
            country: Some("US".into()),
            country_name: Some("United States".into()),
            city: Some("Denver".into()),
            asn: Some(15169),
            network: Some("GOOGLE".into()),
            anycast: Some(true),
        };
        assert_eq!(
            answer(Scope::Global, place.clone()),
            "US United States, Denver · AS15169 GOOGLE · anycast"
        );
        let less = Place {
            country_name: None,
            city: None,
            network: None,
            anycast: Some(false),
            ..place.clone()
        };
        assert_eq!(answer(Scope::Global, less), "US · AS15169");
        assert_eq!(answer(Scope::Global, Place::default()), "unknown");
        assert_eq!(answer(Scope::LinkLocal, place), "link-local address");
        assert_eq!(
            answer(Scope::Broadcast, Place::default()),
            "the broadcast address"
        );
    }

    #[test]
    fn lines_that_are_no_addresses_are_named_and_the_others_answered() {
        let (mut out, mut notices) = (Vec::new(), Vec::new());
        let mut answers = Answers {
            places: Places::none(),
            json: false,
            out: &mut out,
        };
        let input = "# list\n10.0.0.1  # private\n\nnonsense\n2001:db8::1\r\n\u{1b}[2J\n";
        let ending = lines(&mut input.as_bytes(), &mut answers, &mut notices)
            .unwrap()
            .unwrap();
        assert_eq!(ending, Ending::Failed);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "10.0.0.1         private address\n2001:db8::1      documentation address\n"
        );
        assert_eq!(
            String::from_utf8(notices).unwrap(),
            "tcpwatch: line 4: \"nonsense\" is no IP address: write it like 192.0.2.1 or 2001:db8::1\n\
             tcpwatch: line 6: \"\\u{1b}[2J\" is no IP address: write it like 192.0.2.1 or 2001:db8::1\n"
        );
    }

    #[test]
    fn json_has_the_fields_of_a_record() {
        let mut out = Vec::new();
        let mut answers = Answers {
            places: Places::none(),
            json: true,
            out: &mut out,
        };
        answers.give("8.8.8.8".parse().unwrap()).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"address\":\"8.8.8.8\",\"scope\":\"global\",\"country\":null,\"country_name\":null,\"city\":null,\
             \"asn\":null,\"network\":null,\"anycast\":null}\n"
        );
    }
}
