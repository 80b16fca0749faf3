//! DNS messages (RFC 1035), as the tests ask, answer and forge them, and a resolver that asks.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::wait::PATIENCE;

/// The port of DNS servers.
pub const PORT: u16 = 53;

/// Response, recursion desired and available, no error.
const ANSWERED: u16 = 0x8180;
/// Recursion desired.
const ASKED: u16 = 0x0100;
/// The answer did not fit.
const TRUNCATED: u16 = 0x0200;
/// Internet.
const CLASS: u16 = 1;
/// A pointer to the name of the question, which follows the header of 12 bytes.
const TO_QUESTION: [u8; 2] = [0xc0, 12];

/// Type of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// An IPv4 address.
    A = 1,
    /// The name that is meant by this one.
    Cname = 5,
    /// An IPv6 address.
    Aaaa = 28,
}

/// A question about one name.
#[derive(Clone, Debug)]
pub struct Question {
    /// What the answer must repeat.
    pub id: u16,
    /// Without its final dot.
    pub name: String,
    /// What is wanted.
    pub kind: Kind,
}

impl Question {
    /// A question with a number that none had before.
    pub fn new(name: &str, kind: Kind) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: name.to_owned(),
            kind,
        }
    }

    /// The message that asks it.
    pub fn message(&self) -> Vec<u8> {
        let mut message = header(self.id, ASKED, 0);
        self.write(&mut message);
        message
    }

    /// The message that answers it with these addresses, each of the family that was asked for, kept for `ttl` seconds.
    pub fn answer(&self, addresses: &[IpAddr], ttl: u32) -> Vec<u8> {
        let count = u16::try_from(addresses.len()).expect("few");
        let mut message = header(self.id, ANSWERED, count);
        self.write(&mut message);
        for address in addresses {
            message.extend(TO_QUESTION);
            message.extend((self.kind as u16).to_be_bytes());
            message.extend(CLASS.to_be_bytes());
            message.extend(ttl.to_be_bytes());
            let data = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(data);
        }
        message
    }

    fn write(&self, message: &mut Vec<u8>) {
        for label in self.name.split('.') {
            message.push(u8::try_from(label.len()).expect("labels have up to 63 bytes"));
            message.extend(label.as_bytes());
        }
        message.push(0);
        message.extend((self.kind as u16).to_be_bytes());
        message.extend(CLASS.to_be_bytes());
    }
}

fn header(id: u16, flags: u16, answers: u16) -> Vec<u8> {
    [id, flags, 1, answers, 0, 0].map(u16::to_be_bytes).concat()
}

/// What a program that resolves names does: asks one server, by UDP, and by TCP where the answer did not fit.
#[derive(Clone, Copy, Debug)]
pub struct Stub {
    server: SocketAddr,
    patience: Duration,
}

impl Stub {
    /// Asks the server at this address.
    ///
    /// # Panics
    ///
    /// When the literal is not an address.
    pub fn of(server: &str) -> Self {
        let server: IpAddr = server.parse().expect("a literal address");
        Self {
            server: (server, PORT).into(),
            patience: PATIENCE,
        }
    }

    /// Waits so long for an answer.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The addresses of a name, asked for in the calling thread's namespace; none when it has none.
    ///
    /// # Panics
    ///
    /// When no answer comes.
    #[track_caller]
    pub fn ask(&self, name: &str, kind: Kind) -> Vec<IpAddr> {
        match self.try_ask(name, kind) {
            Some(addresses) => addresses,
            None => panic!("{} does not answer about {name}", self.server),
        }
    }

    /// The same; none when no answer comes.
    ///
    /// # Panics
    ///
    /// When the answer is to another question.
    pub fn try_ask(&self, name: &str, kind: Kind) -> Option<Vec<IpAddr>> {
        let question = Question::new(name, kind);
        let socket = asking(self.server);
        socket.set_read_timeout(Some(self.patience)).expect("not zero");
        socket.send(&question.message()).ok()?;
        let mut answer = vec![0; 1 << 16];
        let length = socket.recv(&mut answer).ok()?;
        answer.truncate(length);
        assert_eq!(
            u16_at(&answer, 0),
            question.id,
            "the answer has the question's number"
        );
        Some(if u16_at(&answer, 2) & TRUNCATED == 0 {
            addresses(&answer)
        } else {
            self.ask_by_tcp(name, kind)
        })
    }

    /// The same by TCP from the beginning.
    ///
    /// # Panics
    ///
    /// When no answer comes.
    #[track_caller]
    pub fn ask_by_tcp(&self, name: &str, kind: Kind) -> Vec<IpAddr> {
        let question = Question::new(name, kind);
        let mut stream = TcpStream::connect(self.server).expect("the resolver listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let message = question.message();
        // The length and the message in one segment (RFC 7766, section 8).
        let length = u16::try_from(message.len()).expect("short");
        stream
            .write_all(&[&length.to_be_bytes()[..], &message].concat())
            .expect("the question is sent");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("the resolver answers");
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).expect("the resolver answers");
        assert_eq!(
            u16_at(&answer, 0),
            question.id,
            "the answer has the question's number"
        );
        addresses(&answer)
    }
}

/// A UDP socket of the calling thread's namespace that talks to one server.
///
/// # Panics
///
/// When there is no route to it.
#[track_caller]
pub fn asking(server: SocketAddr) -> UdpSocket {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).expect("there are ports");
    socket.connect(server).expect("there is a route");
    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    socket
}

fn u16_at(message: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(message[at..at + 2].try_into().expect("two bytes"))
}

/// The addresses in the answers of a message, whichever names they belong to.
fn addresses(message: &[u8]) -> Vec<IpAddr> {
    let mut at = 12;
    for _ in 0..u16_at(message, 4) {
        at = after_name(message, at) + 4;
    }
    let mut addresses = Vec::new();
    for _ in 0..u16_at(message, 6) {
        at = after_name(message, at);
        let (kind, length) = (u16_at(message, at), usize::from(u16_at(message, at + 8)));
        let data = &message[at + 10..at + 10 + length];
        if kind == Kind::A as u16 {
            addresses.push(IpAddr::from(<[u8; 4]>::try_from(data).expect("four bytes")));
        } else if kind == Kind::Aaaa as u16 {
            addresses.push(IpAddr::from(<[u8; 16]>::try_from(data).expect("sixteen bytes")));
        }
        at += 10 + length;
    }
    addresses
}

fn after_name(message: &[u8], mut at: usize) -> usize {
    loop {
        match message[at] {
            0 => return at + 1,
            pointer if pointer >= 0xc0 => return at + 2,
            label => at += 1 + usize::from(label),
        }
    }
}
