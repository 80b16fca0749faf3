//! Which ports this host serves: those that its sockets listen on, and what the operator says about single ones. Asked
//! by sock_diag; neither a packet nor a process is looked at.

mod ask;
mod ports;
mod rules;

use std::ops::RangeInclusive;
use std::time::Instant;
use std::{fmt, fs, io};

pub use ask::AskError;
pub use ports::{PortSet, ServedPorts};

use rules::Rules;

/// Where the kernel says which ports it gives to sockets that ask for none.
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// A transport protocol whose ports are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];
}

impl fmt::Display for Protocol {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// What the operator says about a port, whatever listens on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortOverride {
    /// The port; never 0.
    pub port: u16,
    /// Of which protocol; none: of both.
    pub protocol: Option<Protocol>,
    /// Whether it is served.
    pub served: bool,
}

/// Why it is not known what is served.
#[derive(Debug, thiserror::Error)]
pub enum ListeningError {
    /// The sockets.
    #[error("cannot ask the kernel for its listening sockets")]
    Ask(#[from] AskError),
    /// The range cannot be read.
    #[error("cannot read {RANGE}")]
    ReadRange(#[source] io::Error),
    /// The range is none.
    #[error("{RANGE} has no range of ports: {text:?}")]
    NoRange {
        /// What it has.
        text: String,
    },
}

/// The served ports, followed by looking again and again.
#[derive(Debug)]
pub struct Listening {
    rules: Rules,
    last: Option<ServedPorts>,
}

impl Listening {
    /// Begins with no knowledge.
    #[must_use]
    pub fn new(overrides: Vec<PortOverride>) -> Self {
        Self {
            rules: Rules::new(overrides),
            last: None,
        }
    }

    /// Looks once; a second apart is often enough. Answers what is served when that is not what it was at the last look.
    ///
    /// It blocks for as long as the kernel needs to walk its tables of TCP listeners and of UDP sockets, at most a second. What
    /// is known stays as it is after an error.
    ///
    /// # Errors
    /// The kernel does not say. Without `inet_diag`, `tcp_diag` or `udp_diag` (modules in most kernels) it never does.
    pub fn look(&mut self, now: Instant) -> Result<Option<ServedPorts>, ListeningError> {
        let sockets = ask::listening()?;
        let ports = self.rules.served(&sockets, &range()?, now);
        if self.last.as_ref() == Some(&ports) {
            return Ok(None);
        }
        self.last = Some(ports.clone());
        Ok(Some(ports))
    }
}

/// The ephemeral ports of this network namespace, for both families and protocols.
fn range() -> Result<RangeInclusive<u16>, ListeningError> {
    let text = fs::read_to_string(RANGE).map_err(ListeningError::ReadRange)?;
    parse_range(&text).ok_or(ListeningError::NoRange { text })
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last)), None) if first <= last => Some(first..=last),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_range_is_two_numbers() {
        assert_eq!(parse_range("32768\t60999\n"), Some(32_768..=60_999));
        for text in ["", "1", "2 1", "1 2 3", "-1 5", "1 65536"] {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }

    /// A UDP port of the ephemeral range (or not) that was free a moment ago.
    fn free(inside: bool) -> UdpSocket {
        let range = range().unwrap();
        let mut candidates = (1024..u16::MAX).filter(|port| range.contains(port) == inside);
        candidates
            .find_map(|port| UdpSocket::bind(("0.0.0.0", port)).ok())
            .unwrap()
    }

    #[test]
    fn the_kernel_says_what_listens() {
        let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
        let tcp6 = TcpListener::bind("[::]:0").unwrap();
        let local = TcpListener::bind("127.0.0.1:0").unwrap();
        let outside = free(false);
        let inside = free(true);
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        let local_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let connected = free(false);
        connected.connect("127.0.0.1:9").unwrap();

        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let never = PortOverride {
            port: tcp6.local_addr().unwrap().port(),
            protocol: Some(Protocol::Udp),
            served: false,
        };
        let mut listening = Listening::new(vec![never]);
        let served = listening.look(Instant::now()).unwrap().unwrap();
        assert!(served.tcp.contains(tcp.local_addr().unwrap().port()));
        assert!(served.tcp.contains(tcp6.local_addr().unwrap().port()));
        assert!(!served.tcp.contains(local.local_addr().unwrap().port()));
        assert!(served.udp.contains(port(&outside)));
        assert!(served.udp.contains(port(&inside)), "a port that a program chose");
        assert!(
            !served.udp.contains(port(&client)),
            "a port that the kernel chose"
        );
        assert!(!served.udp.contains(port(&local_udp)));
        assert!(!served.udp.contains(port(&connected)));

        // It lingers, and so nothing changes; other programs of this host may do something, though.
        let gone = tcp.local_addr().unwrap().port();
        let ephemeral = range().unwrap().contains(&gone);
        drop(tcp);
        let later = listening.look(Instant::now()).unwrap();
        assert!(!ephemeral || later.is_some_and(|served| !served.tcp.contains(gone)));
    }
}
