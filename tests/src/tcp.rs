//! A TCP connection from `near` to `far` that can be asked how many segments it has sent.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::thread::{self, JoinHandle};

use crate::lab::Lab;
use crate::records::Counts;
use crate::traffic::{ETHERNET, IPV4, IPV6};
use crate::wait;

/// A TCP header with the timestamp option, as every segment but the SYN has it.
const TCP_WITH_TIMESTAMPS: u64 = 20 + 12;
/// What the options of a SYN (maximum segment size, selective acknowledgement, timestamps, window scale) add to that.
const SYN_EXTRA: u64 = 8;

/// What the kernel says of a connection (`struct tcp_info` of linux/tcp.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// Segments sent and not yet acknowledged.
    pub unacked: u32,
    /// Segments sent more than once.
    pub total_retrans: u32,
    /// Segments sent, those without data and those sent again included.
    pub segs_out: u32,
    /// Bytes not yet sent.
    pub notsent_bytes: u32,
    /// Payload sent, what was sent again included.
    pub bytes_sent: u64,
}

/// A connection from `near` whose other end reads everything and sends nothing.
#[derive(Debug)]
pub struct Bulk {
    stream: Option<TcpStream>,
    reader: Option<JoinHandle<u64>>,
    destination: IpAddr,
}

impl Bulk {
    /// Connects from `near` to `destination` in `far`.
    ///
    /// # Panics
    ///
    /// When that fails.
    #[track_caller]
    pub fn connect(lab: &Lab, destination: &str) -> Self {
        let destination: IpAddr = destination.parse().expect("a literal address");
        let wildcard = if destination.is_ipv4() { "0.0.0.0" } else { "::" };
        let listener = lab
            .far
            .within(|| TcpListener::bind((wildcard, 0)).expect("far listens"));
        let port = listener.local_addr().expect("it is bound").port();
        let reader = thread::spawn(move || {
            let (mut connection, _) = listener.accept().expect("near connects");
            let mut buffer = vec![0; 1 << 18];
            let mut received = 0;
            loop {
                match connection.read(&mut buffer).expect("near sends") {
                    0 => return received,
                    length => received += length as u64,
                }
            }
        });
        let stream = lab
            .near
            .within(|| TcpStream::connect((destination, port)).expect("far answers"));
        Self {
            stream: Some(stream),
            reader: Some(reader),
            destination,
        }
    }

    fn stream(&self) -> &TcpStream {
        self.stream
            .as_ref()
            .expect("the connection is open until it is finished")
    }

    /// Sends `bytes` bytes and waits until the other end has acknowledged the last of them.
    ///
    /// # Panics
    ///
    /// When that fails.
    #[track_caller]
    pub fn send(&self, bytes: usize) {
        let chunk = vec![b'x'; 1 << 18];
        let mut left = bytes;
        while left > 0 {
            let part = left.min(chunk.len());
            self.stream().write_all(&chunk[..part]).expect("far reads");
            left -= part;
        }
        wait::until("the connection is idle", || {
            let info = self.info();
            info.unacked == 0 && info.notsent_bytes == 0
        });
    }

    /// What the kernel says of the connection.
    ///
    /// # Panics
    ///
    /// When the kernel is older than 4.19 and does not know all of it.
    #[track_caller]
    pub fn info(&self) -> TcpInfo {
        let mut raw = [0_u8; 256];
        let mut length = raw.len() as libc::socklen_t;
        // SAFETY: the pointers describe `raw` and its length, which outlive the call.
        let result = unsafe {
            libc::getsockopt(
                self.stream().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                raw.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        assert!(result == 0, "TCP_INFO: {}", std::io::Error::last_os_error());
        assert!(length >= 208, "this kernel's tcp_info has only {length} bytes");
        let u32_at = |at: usize| u32::from_ne_bytes(raw[at..at + 4].try_into().expect("four bytes"));
        TcpInfo {
            unacked: u32_at(24),
            total_retrans: u32_at(100),
            segs_out: u32_at(136),
            notsent_bytes: u32_at(144),
            bytes_sent: u64::from_ne_bytes(raw[200..208].try_into().expect("eight bytes")),
        }
    }

    /// What the connection has put on an Ethernet device so far: every segment it says it sent, with its headers. The
    /// first was the SYN, which has more options.
    pub fn on_the_wire(&self) -> Counts {
        let info = self.info();
        let ip = if self.destination.is_ipv4() { IPV4 } else { IPV6 };
        let packets = u64::from(info.segs_out);
        let headers = ETHERNET + ip + TCP_WITH_TIMESTAMPS;
        Counts {
            packets,
            bytes: info.bytes_sent + packets * headers + SYN_EXTRA,
        }
    }

    /// Closes the connection and returns how many bytes the other end received.
    ///
    /// # Panics
    ///
    /// When the other end failed.
    pub fn finish(mut self) -> u64 {
        drop(self.stream.take());
        self.reader
            .take()
            .expect("it is finished once")
            .join()
            .expect("the other end reads on")
    }
}
