//! What must hold of every answer, whatever was read.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tcpwatch::enrich::names::dns::{Reply, reply};
use tcpwatch::enrich::names::hello::Hello;
use tcpwatch::enrich::names::host::host;
use tcpwatch::enrich::names::quic::Connection;
use tcpwatch::enrich::names::tls::first_sent;
use tcpwatch::enrich::names::{Finding, Observer, Sample, SampleKind};

use crate::initials;
use crate::scripts::{self, Step};

/// Bytes by which a TCP connection is known again.
const BEGINNING_BYTES: u32 = 64;

/// Reads an input and panics where something does not hold.
pub type Examine = fn(&[u8]) -> Seen;

/// What an input told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Name,
    Nothing,
    TooLittle,
    Unreadable,
}

/// How an input was read.
pub struct Seen {
    pub told: Told,
    /// The same for inputs that are read alike.
    pub behaviour: u64,
}

impl Seen {
    pub fn new(told: Told, alike: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        (told as usize).hash(&mut hasher);
        alike.hash(&mut hasher);
        Self {
            told,
            behaviour: hasher.finish(),
        }
    }
}

/// Panics unless `name` is what the rest of the program may take for a name. Written anew, so that it does not share
/// what [`host`] has wrong.
pub fn assert_name(name: &str) {
    let shown = name.escape_debug();
    assert!((1..=253).contains(&name.len()), "no name, its length: {shown}");
    for label in name.split('.') {
        assert!(
            (1..=63).contains(&label.len()),
            "no name, a label's length: {shown}"
        );
        let good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        assert!(label.bytes().all(good), "no name, a character: {shown}");
    }
    assert!(name.parse::<IpAddr>().is_err(), "no name, an address: {shown}");
    assert_eq!(
        host(name.as_bytes()).as_deref(),
        Some(name),
        "no name, another spelling"
    );
}

/// What a ClientHello told, once its name is looked at.
pub fn of_hello(hello: &Hello, length: usize) -> Seen {
    let size = length.ilog2_or_zero();
    match hello {
        Hello::Name(name) => {
            assert_name(name);
            Seen::new(Told::Name, (name.len(), name.split('.').count()))
        }
        Hello::Nameless => Seen::new(Told::Nothing, size),
        Hello::Unfinished => Seen::new(Told::TooLittle, size),
        Hello::Unreadable => Seen::new(Told::Unreadable, size),
    }
}

trait Log2 {
    fn ilog2_or_zero(self) -> u32;
}

impl Log2 for usize {
    fn ilog2_or_zero(self) -> u32 {
        self.checked_ilog2().unwrap_or(0)
    }
}

/// One message.
pub fn dns(message: &[u8]) -> Seen {
    let whole = of_reply(&reply(message, false));
    let cut = of_reply(&reply(message, true));
    // What is read of a whole message does not depend on whether more was expected.
    if whole.told != Told::Unreadable {
        assert_eq!(whole.behaviour, cut.behaviour, "cut or not");
    }
    let told = whole.told;
    Seen::new(told, (whole.behaviour, cut.behaviour))
}

pub fn of_reply(reply: &Reply) -> Seen {
    match reply {
        Reply::Addresses(name, addresses) => {
            assert_answer(name, addresses);
            let v4 = addresses.iter().filter(|(address, _)| address.is_ipv4()).count();
            let zero = addresses.iter().any(|(_, keep)| keep.is_zero());
            Seen::new(Told::Name, (name.len(), v4, addresses.len(), zero))
        }
        Reply::Nothing => Seen::new(Told::Nothing, 0),
        Reply::Unreadable => Seen::new(Told::Unreadable, 0),
    }
}

fn assert_answer(name: &str, addresses: &[(IpAddr, Duration)]) {
    assert_name(name);
    assert!(
        (1..=128).contains(&addresses.len()),
        "{} addresses",
        addresses.len()
    );
    let different: HashSet<_> = addresses.iter().map(|(address, _)| address).collect();
    assert_eq!(different.len(), addresses.len(), "an address twice");
    for (address, keep) in addresses {
        assert!(
            !address.is_unspecified() && !address.is_loopback() && !address.is_multicast(),
            "{address}"
        );
        assert!(keep.as_secs() < 1 << 31, "{keep:?}");
    }
}

/// The beginning of a stream.
pub fn tls(stream: &[u8]) -> Seen {
    let whole = first_sent(stream);
    // What a beginning tells, all of it does not tell otherwise.
    for part in [1, 2, 3] {
        let beginning = first_sent(&stream[..stream.len() * part / 4]);
        match (&beginning, &whole) {
            (Hello::Unfinished, _) | (_, Hello::Unreadable) => {}
            (told, whole) => assert_eq!(told, whole, "the beginning tells something else"),
        }
    }
    of_hello(&whole, stream.len())
}

/// Datagrams, as [`initials`] writes them.
pub fn quic(input: &[u8]) -> Seen {
    let mut connection = Connection::default();
    let mut told = Hello::Unreadable;
    for datagram in initials::datagrams(input) {
        told = connection.datagram(&datagram);
        if matches!(told, Hello::Name(_)) {
            break;
        }
    }
    of_hello(&told, input.len())
}

/// Samples, as [`scripts`] writes them.
pub fn observer(input: &[u8]) -> Seen {
    let mut observer = Observer::new();
    let (mut samples, mut findings) = (0, 0);
    let observe = |sample: Sample<'_>, now| {
        let found = observer.observe(sample, now);
        let (waiting, bytes) = observer.waiting();
        assert!(
            waiting <= 4096 && bytes <= 8 << 20,
            "{waiting} connections hold {bytes} bytes"
        );
        samples += 1;
        findings += found.len() as u64;
        found
    };
    of_script(input, observe);
    let counters = observer.counters();
    assert_eq!((counters.samples, counters.findings), (samples, findings));
    let told = if counters.findings > 0 {
        Told::Name
    } else if counters.unreadable > 0 {
        Told::Unreadable
    } else if counters.nameless > 0 {
        Told::Nothing
    } else {
        Told::TooLittle
    };
    let alike = [
        counters.findings,
        counters.nameless,
        counters.unreadable,
        counters.given_up,
    ];
    Seen::new(told, alike.map(|count| count.min(20)))
}

/// Gives a script's samples to `observe` and looks at what is found.
pub fn of_script(input: &[u8], mut observe: impl FnMut(Sample<'_>, Instant) -> Vec<Finding>) {
    let mut now = Instant::now();
    let steps = scripts::steps(input);
    let mut found: HashMap<(SampleKind, u16, &[u8]), Instant> = HashMap::new();
    // How the TCP connection of a port began; none: in small pieces, or some of it was sent again as something else.
    let mut began: HashMap<u16, &[u8]> = HashMap::new();
    for Step {
        kind,
        port,
        ports,
        offset,
        cut,
        later,
        payload,
    } in &steps
    {
        let (kind, offset, cut) = (*kind, *offset, *cut);
        now += *later;
        let client = if kind == SampleKind::Quic {
            client_id(payload).unwrap_or_default()
        } else {
            &[]
        };
        for port in (0..*ports).map(|more| port.wrapping_add(more)) {
            let sample = Sample {
                kind,
                local: Ipv4Addr::new(198, 51, 100, 1).into(),
                local_port: port,
                remote: Ipv4Addr::new(192, 0, 2, 1).into(),
                remote_port: 443,
                offset,
                payload,
                cut,
            };
            if kind == SampleKind::Tls && offset < BEGINNING_BYTES {
                let beginning = payload.get(..BEGINNING_BYTES as usize).filter(|_| offset == 0);
                let before = began.remove(&port);
                if let Some(beginning) = beginning {
                    if before != Some(beginning) {
                        // Another connection.
                        found.remove(&(kind, port, client));
                    }
                    began.insert(port, beginning);
                }
            }
            for finding in observe(sample, now) {
                match finding {
                    Finding::Answer { name, addresses } => assert_answer(&name, &addresses),
                    Finding::Connection { name, .. } => {
                        assert_name(&name);
                        let before = found.insert((kind, port, client), now);
                        let again =
                            before.is_some_and(|at| now.duration_since(at) <= Duration::from_secs(10));
                        assert!(!again, "a second finding of a connection");
                    }
                }
            }
        }
    }
}

/// What a QUIC client calls itself: a socket may have several connections to a server.
fn client_id(datagram: &[u8]) -> Option<&[u8]> {
    let server_bytes = usize::from(*datagram.get(5)?);
    let client_bytes = usize::from(*datagram.get(6 + server_bytes)?);
    datagram.get(7 + server_bytes..)?.get(..client_bytes)
}
