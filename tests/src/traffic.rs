//! UDP traffic whose every packet is known.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use crate::records::Counts;

/// The port that [`Sink`] listens on.
pub const PORT: u16 = 9;

/// Ethernet header.
pub const ETHERNET: u64 = 14;
/// IPv4 header without options.
pub const IPV4: u64 = 20;
/// IPv6 header.
pub const IPV6: u64 = 40;
/// UDP header.
pub const UDP: u64 = 8;

/// How many bytes a UDP packet to `destination` has on an Ethernet device.
pub fn frame_bytes(destination: IpAddr, payload: usize) -> u64 {
    let ip = if destination.is_ipv4() { IPV4 } else { IPV6 };
    ETHERNET + ip + UDP + payload as u64
}

/// What was sent, by destination.
pub type Ledger = BTreeMap<IpAddr, Counts>;

/// A UDP socket and the books of what it sent, as frames of an Ethernet device.
#[derive(Debug)]
pub struct Udp {
    socket: UdpSocket,
    sent: Ledger,
}

impl Udp {
    /// Binds a socket to `source` in the calling thread's namespace.
    ///
    /// # Panics
    ///
    /// When the address is not local.
    #[track_caller]
    pub fn bind(source: IpAddr) -> Self {
        let socket = match UdpSocket::bind((source, 0)) {
            Ok(socket) => socket,
            Err(error) => panic!("binding to {source}: {error}"),
        };
        Self {
            socket,
            sent: Ledger::new(),
        }
    }

    /// Sends one packet.
    ///
    /// # Panics
    ///
    /// When the kernel refuses it.
    #[track_caller]
    pub fn send(&mut self, destination: IpAddr, payload: usize) {
        self.send_times(destination, payload, 1);
    }

    /// Sends the same packet `times` times.
    ///
    /// # Panics
    ///
    /// When the kernel refuses one.
    #[track_caller]
    pub fn send_times(&mut self, destination: IpAddr, payload: usize, times: u64) {
        let data = vec![b'x'; payload];
        let to = SocketAddr::from((destination, PORT));
        for _ in 0..times {
            match self.socket.send_to(&data, to) {
                Ok(length) => assert_eq!(length, payload),
                Err(error) => panic!("sending to {destination}: {error}"),
            }
        }
        let packet = Counts {
            packets: 1,
            bytes: frame_bytes(destination, payload),
        };
        *self.sent.entry(destination).or_default() += packet * times;
    }

    /// Has the kernel cut every following datagram into packets of `segment` bytes of payload (UDP_SEGMENT).
    ///
    /// # Panics
    ///
    /// When the kernel cannot.
    pub fn segment(&mut self, segment: u16) {
        set_option(&self.socket, libc::SOL_UDP, libc::UDP_SEGMENT, i32::from(segment));
    }

    /// Sends `payload` bytes at once on a socket with [`Udp::segment`], which become packets of `segment` bytes.
    ///
    /// # Panics
    ///
    /// When the kernel refuses it.
    pub fn send_segmented(&mut self, destination: IpAddr, payload: usize, segment: usize) {
        let data = vec![b'x'; payload];
        let sent = self
            .socket
            .send_to(&data, (destination, PORT))
            .expect("a datagram of up to 64 segments is sent");
        assert_eq!(sent, payload);
        let entry = self.sent.entry(destination).or_default();
        for part in data.chunks(segment) {
            *entry += Counts {
                packets: 1,
                bytes: frame_bytes(destination, part.len()),
            };
        }
    }

    /// What was sent so far.
    pub fn sent(&self) -> &Ledger {
        &self.sent
    }

    /// The sum of what was sent so far.
    pub fn total(&self) -> Counts {
        self.sent.values().copied().sum()
    }
}

/// A socket that takes every UDP packet to [`PORT`] and never reads one; what does not fit is dropped by the kernel.
#[derive(Debug)]
pub struct Sink {
    _socket: UdpSocket,
}

impl Sink {
    /// Opens it in the calling thread's namespace.
    ///
    /// # Panics
    ///
    /// When the port is taken.
    pub fn open() -> Self {
        // The IPv6 wildcard takes IPv4 packets too.
        Self {
            _socket: UdpSocket::bind(("::", PORT)).expect("the port is free"),
        }
    }
}

/// Sets an integer option of a socket.
///
/// # Panics
///
/// When the kernel refuses it.
#[track_caller]
pub fn set_option(socket: &impl std::os::fd::AsFd, level: i32, option: i32, value: i32) {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    assert!(
        result == 0,
        "setsockopt {level}/{option}: {}",
        std::io::Error::last_os_error()
    );
}
