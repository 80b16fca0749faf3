//! Requests over TCP whose first bytes a test decides: a TLS hello with or without a name, whole or in parts, or no TLS.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::namespace::Namespace;
use crate::wait::PATIENCE;
use crate::web::Authority;

/// Names of protocols that nobody speaks, so many and so long that a hello with them fits neither into one datagram nor into
/// one segment.
pub fn unspoken_protocols() -> impl Iterator<Item = Vec<u8>> {
    (b'a'..=b'z').map(|letter| vec![letter; 60])
}

/// How an HTTPS request is made.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The name that the certificate must have.
    pub name: &'a str,
    /// Whether the hello says it.
    pub says_name: bool,
    /// After how many bytes the hello is cut in two segments.
    pub cut: Option<usize>,
    /// Whether the hello is longer than a segment, as that of browsers is.
    pub long: bool,
}

impl<'a> Request<'a> {
    /// As browsers do.
    pub fn to(name: &'a str) -> Self {
        Self {
            name,
            says_name: true,
            cut: None,
            long: false,
        }
    }

    /// Makes it from the namespace, and returns all that was answered.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    #[track_caller]
    pub fn make(self, namespace: &Namespace, authority: &Authority, to: &str, port: u16) -> String {
        let mut config = authority.client();
        config.enable_sni = self.says_name;
        if self.long {
            config.alpn_protocols = unspoken_protocols().collect();
        }
        let name = ServerName::try_from(self.name.to_owned()).expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("it can begin");
        let stream = Parted {
            stream: connect(namespace, to, port),
            cut: self.cut,
        };
        ask(&mut StreamOwned::new(connection, stream), self.name)
    }
}

/// The first bytes that a client of TLS sends which asks for this name.
///
/// # Panics
///
/// When it is no name.
pub fn client_hello(name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let config = Authority::new().client();
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("it can begin");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("memory takes it");
    hello
}

/// A request as [`Request::make`] makes it, but without TLS.
///
/// # Panics
///
/// When there is no answer.
#[track_caller]
pub fn plain(namespace: &Namespace, to: &str, port: u16, name: &str) -> String {
    ask(&mut connect(namespace, to, port), name)
}

fn ask(stream: &mut (impl Read + Write), name: &str) -> String {
    write!(stream, "GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").expect("the server reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the server answers with text");
    answer
}

/// A connection from the namespace, which sends what is written at once.
///
/// # Panics
///
/// When nobody listens.
#[track_caller]
pub fn connect(namespace: &Namespace, to: &str, port: u16) -> TcpStream {
    let to: IpAddr = to.parse().expect("a literal address");
    let stream = namespace.within(|| TcpStream::connect((to, port)).expect("the target listens"));
    stream.set_nodelay(true).expect("the connection is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream
}

/// A stream that writes what is written first in two parts, and so in two segments.
struct Parted {
    stream: TcpStream,
    cut: Option<usize>,
}

impl Write for Parted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.cut.take() {
            Some(cut) => self.stream.write(&bytes[..cut]),
            None => self.stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Read for Parted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.read(bytes)
    }
}
