//! What is said on the control socket. Versioned: another version is refused, never guessed at.

use std::path::PathBuf;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::status::Status;

/// The version of everything in this file.
pub const PROTOCOL: u64 = 1;
/// The longest request, in bytes.
pub const MOST_REQUEST_BYTES: usize = 64 << 10;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How it is.
    Status,
    /// What is banned, and how often it was met.
    BanList,
    /// Leave out more destinations.
    BanAdd(BanChange),
    /// Count them again.
    BanRemove(BanChange),
    /// Read the configuration again.
    Reload,
}

/// Which bans change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanChange {
    /// Addresses and prefixes.
    pub prefixes: Vec<String>,
    /// Whether the ban file is changed, too.
    #[serde(default)]
    pub persist: bool,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `ban-list`, in the order of the list.
    Bans(Vec<Ban>),
    /// To `ban-add` and `ban-remove`: it is in force.
    Changed(Changed),
    /// To `reload`: it is in force.
    Reloaded(Reloaded),
    /// It was not done, and nothing was changed.
    Error(Refusal),
}

/// A banned prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// The prefix.
    pub prefix: IpNet,
    /// Where it is from.
    pub origin: BanOrigin,
    /// Packets to it since the start, or since it was added.
    pub packets: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// When the last interval ended that had some; none: none has.
    pub last_hit: Option<Timestamp>,
}

/// Where a ban is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BanOrigin {
    /// `--ban`, or the same in the configuration file.
    Option,
    /// A ban file.
    File,
    /// `tcpwatch ban add`: until the end, or the next reload.
    Run,
}

/// What has become of a change of the bans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The prefixes that are or are no longer banned.
    pub changed: Vec<IpNet>,
    /// Those that were banned already.
    pub unchanged: Vec<IpNet>,
    /// Ban files that were written.
    pub written: Vec<PathBuf>,
    /// How many prefixes are banned now.
    pub bans: usize,
    /// What else should be known.
    pub notes: Vec<String>,
}

/// What a reload came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The files that were read.
    pub files: Vec<String>,
    /// What is in force now.
    pub now: Vec<String>,
    /// Options that have changed and take effect with the next start.
    pub later: Vec<String>,
    /// What else should be known.
    pub notes: Vec<String>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For people.
    pub text: String,
}

impl Answer {
    /// It was not done, because of this.
    pub fn refused(why: impl Into<String>) -> Self {
        Self::Error(Refusal { text: why.into() })
    }
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    protocol: u64,
    #[serde(flatten)]
    inner: T,
}

/// As it is written, with the end of its line.
///
/// # Errors
/// None for what is in this file.
pub fn encode<T: Serialize>(said: &T) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(&Versioned {
        protocol: PROTOCOL,
        inner: said,
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A request, from whoever it may be.
///
/// # Errors
/// What is wrong with it, to be answered.
pub fn request(bytes: &[u8]) -> Result<Request, Refusal> {
    let refused = |text: String| Refusal { text };
    let mut value: Value = serde_json::from_slice(bytes)
        .map_err(|error| refused(format!("this is no request: {error}: send one line of JSON")))?;
    let version = value.as_object_mut().and_then(|object| object.remove("protocol"));
    match version.as_ref().map(Value::as_u64) {
        Some(Some(PROTOCOL)) => {}
        Some(_) => {
            return Err(refused(format!(
                "this is another protocol: tcpwatch {} speaks version {PROTOCOL}",
                env!("CARGO_PKG_VERSION")
            )));
        }
        None => {
            return Err(refused(format!(
                "this is no request: it has no \"protocol\": {PROTOCOL}"
            )));
        }
    }
    serde_json::from_value(value).map_err(|error| {
        refused(format!(
            "tcpwatch {} has no such request: {error}",
            env!("CARGO_PKG_VERSION")
        ))
    })
}

/// An answer.
///
/// # Errors
/// It is none of this version.
pub fn answer(bytes: &[u8]) -> serde_json::Result<Answer> {
    serde_json::from_slice(bytes).map(|Versioned { inner, .. }| inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<T: Serialize>(what: &T) -> String {
        String::from_utf8(encode(what).unwrap()).unwrap()
    }

    #[test]
    fn requests_are_one_line_and_come_back_as_they_were() {
        let add = Request::BanAdd(BanChange {
            prefixes: vec!["192.0.2.1".to_owned()],
            persist: true,
        });
        assert_eq!(
            said(&add),
            "{\"protocol\":1,\"request\":\"ban-add\",\"prefixes\":[\"192.0.2.1\"],\"persist\":true}\n"
        );
        for wanted in [Request::Status, Request::BanList, Request::Reload, add] {
            assert_eq!(request(said(&wanted).as_bytes()).unwrap(), wanted);
        }
        let short = br#"{"request":"ban-remove","prefixes":[],"protocol":1}"#;
        assert!(matches!(request(short).unwrap(), Request::BanRemove(change) if !change.persist));
    }

    #[test]
    fn answers_come_back_as_they_were() {
        let ban = Ban {
            prefix: "203.0.113.0/24".parse().unwrap(),
            origin: BanOrigin::File,
            packets: 3,
            bytes: u64::MAX,
            last_hit: Some("2026-03-01T12:00:00Z".parse().unwrap()),
        };
        for wanted in [
            Answer::Bans(vec![ban]),
            Answer::Changed(Changed::default()),
            Answer::Reloaded(Reloaded::default()),
            Answer::refused("no"),
        ] {
            assert_eq!(answer(said(&wanted).as_bytes()).unwrap(), wanted);
        }
        assert_eq!(
            said(&Answer::refused("no")),
            "{\"protocol\":1,\"error\":{\"text\":\"no\"}}\n"
        );
    }

    #[test]
    fn what_is_no_request_of_this_version_is_refused_with_what_is_wrong() {
        for (text, why) in [
            ("", "this is no request: EOF"),
            ("{", "this is no request: EOF"),
            ("\u{0}\u{ff}", "this is no request: expected value"),
            ("[1]", "this is no request: it has no \"protocol\""),
            (
                "{\"request\":\"status\"}",
                "this is no request: it has no \"protocol\"",
            ),
            (
                "{\"protocol\":2,\"request\":\"status\"}",
                "this is another protocol: ",
            ),
            (
                "{\"protocol\":\"1\",\"request\":\"status\"}",
                "this is another protocol: ",
            ),
            ("{\"protocol\":1}", "has no such request: missing field `request`"),
            (
                "{\"protocol\":1,\"request\":\"stop\"}",
                "has no such request: unknown variant `stop`",
            ),
            (
                "{\"protocol\":1,\"request\":\"ban-add\"}",
                "has no such request: missing field `prefixes`",
            ),
            (
                "{\"protocol\":1,\"request\":\"ban-add\",\"prefixes\":[],\"force\":true}",
                "has no such request: unknown field `force`",
            ),
        ] {
            let refusal = request(text.as_bytes()).unwrap_err().text;
            assert!(refusal.contains(why), "{text}: {refusal}");
        }
        // Deep nesting is an error, not a full stack.
        let deep = "[".repeat(MOST_REQUEST_BYTES);
        assert!(request(deep.as_bytes()).is_err());
    }
}
