//! `--for`: what is asked about, and whether a row of the history belongs to it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::enrich::scope;
use crate::history::{Known, Origin};
use crate::record::Scope;
use crate::report::groups::{GroupOf, Groups, domain};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    kind: Kind,
    /// As typed, or the group's name.
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Networks and domains.
    Group(GroupOf),
    /// A network's number.
    Asn(u32),
    /// Addresses.
    Prefix(IpNet),
    /// A country's code, in capitals.
    Country(String),
    /// A domain and what is below it.
    Domain(String),
    /// A part of a network's name, in small letters.
    Network(String),
}

/// Why it cannot be asked about.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Nothing.
    #[error(
        "--for: name a group ({groups}), a network (AS15169 or a part of its name), a domain, a country (US), an address or a prefix"
    )]
    Empty {
        /// Those that there are.
        groups: String,
    },
    /// A prefix with bits behind its length.
    #[error("--for {net}: has host bits set: write {} for the network or {} for the one address", net.trunc(), net.addr())]
    HostBits {
        /// As typed.
        net: IpNet,
    },
    /// What has a slash and is no prefix, or a colon and is no address.
    #[error(
        "--for {text:?}: no address and no prefix: write it like 192.0.2.1, 203.0.113.0/24 or 2001:db8::/32"
    )]
    Prefix {
        /// As typed.
        text: String,
    },
}

/// Whether a row belongs to what is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    No,
    /// Too little is kept of it to say.
    Perhaps,
    Yes,
}

impl From<bool> for Verdict {
    fn from(is: bool) -> Self {
        if is { Self::Yes } else { Self::No }
    }
}

impl Filter {
    /// Reads `--for`.
    ///
    /// # Errors
    /// It is none of the things that can be asked about.
    pub fn parse(text: &str, groups: &Groups) -> Result<Self, FilterError> {
        let text = text.trim();
        let kind = if text.is_empty() {
            return Err(FilterError::Empty {
                groups: groups.names().collect::<Vec<_>>().join(", "),
            });
        } else if let Some(group) = groups.get(text) {
            Kind::Group(group.clone())
        } else if let Some(number) = number(text) {
            Kind::Asn(number)
        } else if let Ok(address) = text.parse::<IpAddr>() {
            Kind::Prefix(address.into())
        } else if let Ok(net) = text.parse::<IpNet>() {
            if net.trunc() != net {
                return Err(FilterError::HostBits { net });
            }
            Kind::Prefix(net)
        } else if text.contains('/') || text.contains(':') || is_numeric(text) {
            return Err(FilterError::Prefix {
                text: text.chars().take(60).collect(),
            });
        } else if text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            Kind::Country(text.to_ascii_uppercase())
        } else if let Some(domain) = domain(text) {
            Kind::Domain(domain)
        } else {
            Kind::Network(text.to_lowercase())
        };
        let name = text.chars().take(100).collect();
        Ok(Self { kind, name })
    }

    /// As it was typed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it means, in words.
    pub fn words(&self) -> String {
        match &self.kind {
            Kind::Group(group) => {
                let mut parts: Vec<String> = Vec::new();
                if !group.asn.is_empty() {
                    let numbers: Vec<String> = group.asn.iter().map(|asn| format!("AS{asn}")).collect();
                    parts.push(numbers.join(", "));
                }
                match &group.domains[..] {
                    [] => {}
                    [one] => parts.push(one.clone()),
                    [first, rest @ ..] => parts.push(format!("{first} and {} more domains", rest.len())),
                }
                format!("{}: {}", self.name.to_lowercase(), parts.join("; "))
            }
            Kind::Asn(number) => format!("network AS{number}"),
            Kind::Prefix(net) if net.prefix_len() == net.max_prefix_len() => {
                format!("address {}", net.addr())
            }
            Kind::Prefix(net) => format!("prefix {net}"),
            Kind::Country(code) => format!("country {code}"),
            Kind::Domain(domain) => format!("domain {domain} and names below it"),
            Kind::Network(part) => format!("networks with {part:?} in their name"),
        }
    }

    /// Its domains.
    pub(super) fn domains(&self) -> &[String] {
        match &self.kind {
            Kind::Group(group) => &group.domains,
            Kind::Domain(domain) => std::slice::from_ref(domain),
            Kind::Asn(_) | Kind::Prefix(_) | Kind::Country(_) | Kind::Network(_) => &[],
        }
    }

    /// Its prefix.
    pub(super) fn prefix(&self) -> Option<IpNet> {
        match self.kind {
            Kind::Prefix(net) => Some(net),
            _ => None,
        }
    }

    /// By what is known of a destination.
    pub(super) fn of_place(&self, known: &Known) -> Verdict {
        let place = &known.place;
        // A database that knows nothing of a public address leaves the question open.
        let unknown = if known.scope == Scope::Global {
            Verdict::Perhaps
        } else {
            Verdict::No
        };
        match &self.kind {
            Kind::Group(group) if !group.asn.is_empty() => {
                place.asn.map_or(unknown, |asn| group.asn.contains(&asn).into())
            }
            Kind::Asn(number) => place.asn.map_or(unknown, |asn| (asn == *number).into()),
            Kind::Country(code) => place
                .country
                .as_deref()
                .map_or(unknown, |country| country.eq_ignore_ascii_case(code).into()),
            Kind::Network(part) => place.network.as_deref().map_or(unknown, |network| {
                network.to_lowercase().contains(part.as_str()).into()
            }),
            Kind::Group(_) | Kind::Prefix(_) | Kind::Domain(_) => Verdict::No,
        }
    }

    /// By its address; none: it was not kept.
    pub(super) fn of_address(&self, address: Option<IpAddr>, known: &Known, origin: &Origin) -> Verdict {
        let Kind::Prefix(net) = &self.kind else {
            return Verdict::No;
        };
        let Some(address) = address else {
            let family = origin
                .source
                .is_none_or(|source| source.is_ipv4() == net.addr().is_ipv4());
            let (first, last) = (scope(net.network()), scope(net.broadcast()));
            return if family && (first != last || first == known.scope) {
                Verdict::Perhaps
            } else {
                Verdict::No
            };
        };
        net.contains(&address).into()
    }

    /// Whether it is one domain.
    pub(super) fn is_domain(&self) -> bool {
        matches!(self.kind, Kind::Domain(_))
    }

    fn asks_names_only(&self) -> bool {
        match &self.kind {
            Kind::Domain(_) => true,
            Kind::Group(group) => group.asn.is_empty(),
            _ => false,
        }
    }

    /// By its names. That it has none says nothing, unless its name is all that is asked about.
    pub(super) fn of_names(&self, names: &[Arc<str>]) -> Verdict {
        let domains = self.domains();
        if names
            .iter()
            .any(|name| domains.iter().any(|domain| is_below(name, domain)))
        {
            Verdict::Yes
        } else if names.is_empty() && self.asks_names_only() {
            Verdict::Perhaps
        } else {
            Verdict::No
        }
    }
}

/// `AS15169`.
fn number(text: &str) -> Option<u32> {
    let digits = text.get(..2).filter(|start| start.eq_ignore_ascii_case("as"))?;
    let digits = text.get(digits.len()..)?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

/// What can only be meant as an IPv4 address.
fn is_numeric(text: &str) -> bool {
    text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Whether a name is a domain, or below it.
fn is_below(name: &str, domain: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).as_bytes();
    let domain = domain.as_bytes();
    name.len() >= domain.len()
        && name[name.len() - domain.len()..].eq_ignore_ascii_case(domain)
        && (name.len() == domain.len() || name[name.len() - domain.len() - 1] == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Place;

    fn parse(text: &str) -> Result<String, String> {
        Filter::parse(text, &Groups::built_in().unwrap())
            .map(|filter| filter.words())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_typed_is_taken_for_what_it_looks_like() {
        for (text, words) in [
            (
                "netflix",
                "netflix: AS2906, AS40027, AS55095; netflix.com and 7 more domains",
            ),
            (
                "Netflix",
                "netflix: AS2906, AS40027, AS55095; netflix.com and 7 more domains",
            ),
            ("AS15169", "network AS15169"),
            ("as15169", "network AS15169"),
            ("142.250.0.0/15", "prefix 142.250.0.0/15"),
            ("2001:db8::1", "address 2001:db8::1"),
            ("us", "country US"),
            ("YouTube.com.", "domain youtube.com and names below it"),
            ("Hetzner Online", "networks with \"hetzner online\" in their name"),
            ("AS", "country AS"),
            ("assistance", "networks with \"assistance\" in their name"),
            ("\u{1b}[2J", "networks with \"\\u{1b}[2j\" in their name"),
        ] {
            assert_eq!(parse(text), Ok(words.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_nothing_is_refused() {
        for (text, said) in [
            ("", "--for: name a group (amazon, apple,"),
            ("142.250.0.0/33", "no address and no prefix"),
            ("142.251.0.1/15", "has host bits set: write 142.250.0.0/15"),
            ("1.2.3.400", "no address and no prefix"),
            ("2001:db8:::1", "no address and no prefix"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_belongs_to_the_domains_above_it() {
        for (name, is) in [
            ("youtube.com", true),
            ("www.YouTube.com.", true),
            ("notyoutube.com", false),
            ("youtube.com.evil.example", false),
            ("com", false),
        ] {
            assert_eq!(is_below(name, "youtube.com"), is, "{name}");
        }
    }

    #[test]
    fn what_is_not_known_may_belong_to_it() {
        let known = |scope, asn| Known {
            scope,
            place: Place {
                asn,
                ..Place::default()
            },
        };
        let filter = Filter::parse("google", &Groups::built_in().unwrap()).unwrap();
        assert_eq!(filter.of_place(&known(Scope::Global, Some(36040))), Verdict::Yes);
        assert_eq!(filter.of_place(&known(Scope::Global, Some(1))), Verdict::No);
        assert_eq!(filter.of_place(&known(Scope::Global, None)), Verdict::Perhaps);
        assert_eq!(filter.of_place(&known(Scope::Private, None)), Verdict::No);
        let origin = |source: &str| Origin {
            source: Some(source.parse().unwrap()),
            interface: "eth0".into(),
        };
        let prefix = Filter::parse("142.250.0.0/15", &Groups::built_in().unwrap()).unwrap();
        let of = |address: Option<&str>, known: &Known, source: &str| {
            prefix.of_address(address.map(|text| text.parse().unwrap()), known, &origin(source))
        };
        let global = known(Scope::Global, None);
        assert_eq!(of(Some("142.251.255.255"), &global, "192.0.2.1"), Verdict::Yes);
        assert_eq!(of(Some("142.252.0.0"), &global, "192.0.2.1"), Verdict::No);
        assert_eq!(of(None, &global, "192.0.2.1"), Verdict::Perhaps);
        assert_eq!(of(None, &global, "2001:db8::1"), Verdict::No);
        assert_eq!(of(None, &known(Scope::Private, None), "192.0.2.1"), Verdict::No);
    }
}
