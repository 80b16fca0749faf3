//! What arrives at a device, frame by frame, as a packet socket sees it: the other half of every comparison.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use crate::namespace::Namespace;
use crate::packet_socket;
use crate::records::Counts;
use crate::wait;

/// How long nothing must arrive until the traffic is over; more than a delayed acknowledgement takes.
const QUIET: Duration = Duration::from_millis(700);

/// What arrived for one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Its frames.
    pub counts: Counts,
    /// Segments that open a TCP connection: SYN without ACK.
    pub syns: u64,
    /// TCP segments with payload.
    pub data_segments: u64,
    /// UDP datagrams that begin like a QUIC Initial of version 1 (RFC 9000 17.2.2) or 2 (RFC 9369 3.2).
    pub initials: u64,
}

type Books = BTreeMap<IpAddr, Arrived>;

/// Counts what arrives by destination address until it is dropped. What is not IP is left out: the neighbours are known.
#[derive(Debug)]
pub struct Capture {
    arrived: Arc<Mutex<Books>>,
    ended: Arc<AtomicBool>,
    socket: File,
    reader: Option<JoinHandle<()>>,
}

impl Capture {
    /// Begins to count what arrives at `interface`.
    ///
    /// # Panics
    ///
    /// When there is no such interface.
    pub fn start(namespace: &Namespace, interface: &str) -> Self {
        let socket = namespace.within(|| packet_socket::receiver(interface, Duration::from_millis(50)));
        let (arrived, ended) = (Arc::<Mutex<Books>>::default(), Arc::<AtomicBool>::default());
        let (mut from, books, end) = (
            socket.try_clone().expect("there are descriptors"),
            Arc::clone(&arrived),
            Arc::clone(&ended),
        );
        let reader = thread::spawn(move || {
            let mut frame = vec![0; 1 << 16];
            while !end.load(Ordering::SeqCst) {
                match from.read(&mut frame) {
                    Ok(length) => enter(
                        &mut books.lock().unwrap_or_else(PoisonError::into_inner),
                        &frame[..length],
                    ),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                    // The network may go before what was seen on it.
                    Err(error) if error.kind() == ErrorKind::NetworkDown => return,
                    Err(error) => panic!("packet socket: {error}"),
                }
            }
        });
        Self {
            arrived,
            ended,
            socket,
            reader: Some(reader),
        }
    }

    /// Waits until nothing has arrived for a while.
    ///
    /// # Panics
    ///
    /// When it goes on arriving, or the socket had no room for a frame.
    #[track_caller]
    pub fn wait_until_quiet(&self) {
        let (mut last, mut since) = (self.total(), Instant::now());
        wait::until("nothing more arrives", || {
            let now = self.total();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            since.elapsed() >= QUIET
        });
        assert_eq!(
            packet_socket::missed(&self.socket),
            0,
            "the socket had room for every frame"
        );
    }

    /// What arrived for each address.
    pub fn by_destination(&self) -> BTreeMap<IpAddr, Arrived> {
        self.arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What arrived for one address.
    ///
    /// # Panics
    ///
    /// When the literal is not an address.
    #[track_caller]
    pub fn to(&self, destination: &str) -> Arrived {
        let destination: IpAddr = destination.parse().expect("a literal address");
        self.by_destination()
            .get(&destination)
            .copied()
            .unwrap_or_default()
    }

    /// Everything that arrived.
    pub fn total(&self) -> Counts {
        self.by_destination().values().map(|of| of.counts).sum()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take()
            && reader.join().is_err()
        {
            crate::note(format_args!("the packet socket's reader has panicked"));
        }
    }
}

fn enter(books: &mut Books, frame: &[u8]) {
    let Ok(packet) = SlicedPacket::from_ethernet(frame) else {
        return;
    };
    let destination: IpAddr = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => ip.header().destination_addr().into(),
        Some(NetSlice::Ipv6(ip)) => ip.header().destination_addr().into(),
        _ => return,
    };
    let entry = books.entry(destination).or_default();
    entry.counts += Counts {
        packets: 1,
        bytes: frame.len() as u64,
    };
    match &packet.transport {
        Some(TransportSlice::Tcp(segment)) => {
            entry.syns += u64::from(segment.syn() && !segment.ack());
            entry.data_segments += u64::from(!segment.payload().is_empty());
        }
        Some(TransportSlice::Udp(datagram)) => entry.initials += u64::from(is_initial(datagram.payload())),
        _ => {}
    }
}

fn is_initial(payload: &[u8]) -> bool {
    let Some((first, version)) = payload.split_first().and_then(|(first, rest)| {
        rest.first_chunk()
            .map(|version| (first, u32::from_be_bytes(*version)))
    }) else {
        return false;
    };
    matches!((first & 0xf0, version), (0xc0, 0x0000_0001) | (0xd0, 0x6b33_43cf))
}
