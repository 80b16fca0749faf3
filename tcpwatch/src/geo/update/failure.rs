//! Why a file could not be fetched: what the HTTP library says, as something that an operator can act on.

use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use ureq::http::{StatusCode, Uri};
use ureq::{Proxy, Timeout};

/// Who is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name and port.
    at: String,
    /// Whether it is a proxy.
    proxy: bool,
}

impl Peer {
    /// The proxy, or the server itself.
    pub fn new(url: &Uri, proxy: Option<&Proxy>) -> Self {
        match proxy {
            Some(proxy) => Self {
                at: format!("{}:{}", proxy.host(), proxy.port()),
                proxy: true,
            },
            None => Self {
                at: url
                    .authority()
                    .map_or_else(|| url.to_string(), |authority| authority.as_str().to_owned()),
                proxy: false,
            },
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.proxy { "the proxy " } else { "" };
        write!(f, "{kind}{}", self.at)
    }
}

/// Why a file could not be fetched. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No address for the name.
    #[error(
        "no address is known for {peer}: check the name, and this machine's DNS; where only a proxy leads out, set https_proxy"
    )]
    Name {
        /// Who.
        peer: Peer,
        /// What the resolver said.
        #[source]
        source: ureq::Error,
    },
    /// Nobody listens, or nothing leads there.
    #[error(
        "cannot connect to {peer}: check the network and the firewall; where only a proxy leads out, set https_proxy"
    )]
    Connect {
        /// Who.
        peer: Peer,
        /// What the system said.
        #[source]
        source: ureq::Error,
    },
    /// Nothing is heard of it.
    #[error("{peer} was silent for {} s: try again later, or give it longer with --timeout", silence.as_secs_f64())]
    Silent {
        /// Who.
        peer: Peer,
        /// How long it was waited for.
        silence: Duration,
    },
    /// It sends, but too slowly.
    #[error("{peer} did not send the file within {} min: try again later", whole.as_secs() / 60)]
    Slow {
        /// Who.
        peer: Peer,
        /// How long it was waited for.
        whole: Duration,
    },
    /// The server cannot prove who it is.
    #[error(
        "no secure connection to {peer}: check this machine's clock and `apt install ca-certificates`; behind a proxy that \
         inspects TLS, add its certificate to the system's or name a file with it in SSL_CERT_FILE"
    )]
    Tls {
        /// Who.
        peer: Peer,
        /// Why.
        #[source]
        source: ureq::Error,
    },
    /// The proxy does not let us through.
    #[error(
        "{peer} does not lead to the server: check https_proxy, its user name and password, or add the server to no_proxy"
    )]
    Proxy {
        /// The proxy.
        peer: Peer,
        /// What it said.
        #[source]
        source: ureq::Error,
    },
    /// The connection ended too early.
    #[error("{peer} broke off the connection: try again")]
    Broken {
        /// Who.
        peer: Peer,
        /// What the system said.
        #[source]
        source: ureq::Error,
    },
    /// Anything else that is wrong with an answer.
    #[error("{peer} gave an answer that is no HTTP: check --url")]
    Protocol {
        /// Who.
        peer: Peer,
        /// What is wrong.
        #[source]
        source: ureq::Error,
    },
    /// An answer that is neither the file nor that there is none.
    #[error("{url}: the server answered {status}: try again later, or check --url")]
    Status {
        /// What was asked for.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// A redirect that is not followed.
    #[error("{url}: the server refers to {location:?}, which is no https address: check --url")]
    Elsewhere {
        /// What was asked for.
        url: String,
        /// Where it refers to.
        location: String,
    },
    /// Redirects without end.
    #[error("{url}: the server refers to other addresses more than {most} times: check --url")]
    Circle {
        /// What was asked for first.
        url: String,
        /// How many are followed.
        most: usize,
    },
    /// A web page.
    #[error(
        "{url}: what came is a web page and not a database: open it in a browser to see what it says (a login page of this \
         network, an error of the server), or check --url"
    )]
    Page {
        /// What was asked for.
        url: String,
    },
    /// Not a page either.
    #[error("{url}: what came is not a gzip file: check --url")]
    NotGzip {
        /// What was asked for.
        url: String,
    },
    /// It ends in the middle.
    #[error("{url}: the file ends after {got} bytes, in the middle: try again")]
    Cut {
        /// What was asked for.
        url: String,
        /// How much came.
        got: u64,
    },
    /// Damaged on the way or before.
    #[error("{url}: the gzip file is damaged: try again")]
    Gzip {
        /// What was asked for.
        url: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// Too much of it.
    #[error(
        "{url}: the file is longer than {} MB packed or {} MB unpacked, as no place database is: check --url",
        packed >> 20, unpacked >> 20
    )]
    TooLong {
        /// What was asked for.
        url: String,
        /// What is taken of the packed file, in bytes.
        packed: u64,
        /// What is taken of the unpacked file, in bytes.
        unpacked: u64,
    },
    /// It cannot be written.
    #[error("cannot write what came")]
    Write {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl FetchError {
    /// What an error of the HTTP library means, in a conversation with `peer` where `silence` and `whole` were waited for.
    pub fn new(error: ureq::Error, peer: Peer, silence: Duration, whole: Duration) -> Self {
        match error {
            ureq::Error::Timeout(Timeout::RecvBody) => Self::Slow { peer, whole },
            ureq::Error::Timeout(_) => Self::Silent { peer, silence },
            ureq::Error::HostNotFound => Self::Name { peer, source: error },
            ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => {
                Self::Proxy { peer, source: error }
            }
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::Pem(_) => {
                Self::Tls { peer, source: error }
            }
            ureq::Error::Io(ref cause) => match cause.kind() {
                // rustls says so of whatever it does not accept.
                ErrorKind::InvalidData => Self::Tls { peer, source: error },
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe => Self::Broken { peer, source: error },
                // The standard library has no kind for it.
                _ if cause.to_string().starts_with("failed to lookup address") => {
                    Self::Name { peer, source: error }
                }
                _ => Self::Connect { peer, source: error },
            },
            _ => Self::Protocol { peer, source: error },
        }
    }
}
