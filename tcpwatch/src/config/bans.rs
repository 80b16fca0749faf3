//! Banned prefixes, from the command line and from files.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};

use crate::config::{ConfigError, MOST_BANS};
use crate::kernel::policy::to_ip;

/// All prefixes, each once, in the order in which they are named.
pub(super) fn bans(texts: &[String], files: &[PathBuf]) -> Result<Vec<IpNet>, ConfigError> {
    let mut bans = Vec::new();
    let mut known = BTreeSet::new();
    let mut add = |net: IpNet| {
        if known.insert(net) {
            bans.push(net);
        }
    };
    for net in given(texts)? {
        add(net);
    }
    for path in files {
        for (number, line) in read(path)?.lines().enumerate() {
            let text = without_comment(line);
            if !text.is_empty() {
                add(prefix(text, || format!("{}:{}", path.display(), number + 1))?);
            }
        }
    }
    if bans.len() > MOST_BANS {
        return Err(ConfigError::TooManyBans { found: bans.len() });
    }
    Ok(bans)
}

/// Those of `--ban`.
pub(super) fn given(texts: &[String]) -> Result<Vec<IpNet>, ConfigError> {
    texts
        .iter()
        .map(|text| prefix(text, || "--ban".to_owned()))
        .collect()
}

/// What a line of a ban file has but for its comment; empty: nothing.
pub(super) fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let bytes = fs::read(path).map_err(|source| ConfigError::BanFile {
        path: path.to_owned(),
        source,
    })?;
    // A line that is not UTF-8 is no prefix either, and is reported as one, with its number.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A prefix, or an address that stands for itself. `origin` says where it was read.
///
/// # Errors
/// It is none, or has bits behind its length.
pub fn prefix(text: &str, origin: impl Fn() -> String) -> Result<IpNet, ConfigError> {
    let net = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(net), _) => net,
        (_, Ok(address)) => IpNet::from(address),
        (Err(_), Err(_)) => {
            return Err(ConfigError::Prefix {
                origin: origin(),
                text: text.to_owned(),
            });
        }
    };
    if net != net.trunc() {
        return Err(ConfigError::HostBits {
            origin: origin(),
            net,
        });
    }
    Ok(unmapped(net))
}

/// ::ffff:192.0.2.0/120 is 192.0.2.0/24.
fn unmapped(net: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = tcpwatch_common::MAPPED_PREFIX_BITS as u8;
    let IpNet::V6(v6) = net else { return net };
    match (
        to_ip(v6.addr().octets()),
        v6.prefix_len().checked_sub(MAPPED_BITS),
    ) {
        (IpAddr::V4(v4), Some(bits)) => Ipv4Net::new(v4, bits).map_or(net, IpNet::V4),
        _ => net,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<IpNet, String> {
        prefix(text, || "--ban".to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_alone_is_a_prefix_of_one() {
        assert_eq!(one("192.0.2.1").unwrap().to_string(), "192.0.2.1/32");
        assert_eq!(one("2001:db8::1").unwrap().to_string(), "2001:db8::1/128");
    }

    #[test]
    fn a_mapped_prefix_is_the_ipv4_prefix() {
        assert_eq!(one("::ffff:192.0.2.0/120").unwrap().to_string(), "192.0.2.0/24");
        assert_eq!(one("::/0").unwrap().to_string(), "::/0");
    }

    #[test]
    fn host_bits_are_refused_with_both_ways_to_mean_it() {
        let message = one("203.0.113.5/24").unwrap_err();
        assert!(
            message.contains("203.0.113.0/24") && message.contains("203.0.113.5 for"),
            "{message}"
        );
    }

    #[test]
    fn what_is_no_prefix_is_named_with_its_place() {
        for text in [
            "203.0.113.0/33",
            "example.com",
            "1.2.3",
            "",
            "10.0.0.0/-1",
            "::/129",
        ] {
            let message = one(text).unwrap_err();
            assert!(
                message.starts_with("--ban: ") && message.contains(text),
                "{message}"
            );
        }
    }

    #[test]
    fn a_ban_file_has_comments_and_names_its_bad_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bans");
        fs::write(&path, "# relays\n192.0.2.1 # one\n\n 203.0.113.0/24\n192.0.2.1\n").unwrap();
        let nets = bans(&[], std::slice::from_ref(&path)).unwrap();
        assert_eq!(
            nets.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["192.0.2.1/32", "203.0.113.0/24"]
        );
        fs::write(&path, b"192.0.2.1\n\xff\xfe\n").unwrap();
        let message = bans(&[], std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(message.contains("bans:2: "), "{message}");
    }
}
