//! Packet sockets: one that sends frames as they are, whatever is in them, and one that receives them.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use crate::traffic::set_option;

/// Whatever protocol it is (ETH_P_ALL of linux/if_ether.h).
const EVERY_PROTOCOL: u16 = 3;
/// Frames that leave are not received (linux/if_packet.h; Linux 4.20).
const PACKET_IGNORE_OUTGOING: i32 = 23;
/// What a receiving socket holds until it is read.
const RECEIVE_BUFFER_BYTES: i32 = 64 << 20;

/// A packet socket on one device.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    address: libc::sockaddr_ll,
}

impl PacketSocket {
    /// Opens one on `interface` of the calling thread's namespace.
    ///
    /// # Panics
    ///
    /// When there is no such interface.
    pub fn open(interface: &str) -> Self {
        // Protocol 0: it sends only, and receives nothing.
        Self {
            socket: socket(),
            address: address(interface, 0),
        }
    }

    /// Sends a frame, whose protocol the kernel takes from its header.
    ///
    /// # Panics
    ///
    /// When the kernel refuses it.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        self.send_as(0, frame);
    }

    /// Sends a frame of this Ethernet type, for devices that have no header to take it from.
    ///
    /// # Panics
    ///
    /// When the kernel refuses it.
    #[track_caller]
    pub fn send_as(&self, ether_type: u16, frame: &[u8]) {
        let address = libc::sockaddr_ll {
            sll_protocol: ether_type.to_be(),
            ..self.address
        };
        // SAFETY: the frame and the address are as long as they are said to be and outlive the call.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        assert_eq!(
            usize::try_from(sent).ok(),
            Some(frame.len()),
            "{}",
            io::Error::last_os_error()
        );
    }
}

/// A packet socket that receives every frame that arrives at `interface` of the calling thread's namespace: one for each
/// read, which gives up after `patience`.
///
/// # Panics
///
/// When there is no such interface.
pub fn receiver(interface: &str, patience: Duration) -> File {
    let socket = socket();
    set_option(&socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    set_option(
        &socket,
        libc::SOL_SOCKET,
        libc::SO_RCVBUFFORCE,
        RECEIVE_BUFFER_BYTES,
    );
    let address = address(interface, EVERY_PROTOCOL);
    let timeout = libc::timeval {
        tv_sec: i64::try_from(patience.as_secs()).expect("short"),
        tv_usec: i64::from(patience.subsec_micros()),
    };
    // SAFETY: both values are as long as they are said to be and outlive the calls.
    let results = unsafe {
        [
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const timeout).cast(),
                size_of::<libc::timeval>() as libc::socklen_t,
            ),
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            ),
        ]
    };
    assert_eq!(results, [0, 0], "{interface}: {}", io::Error::last_os_error());
    File::from(socket)
}

/// How many frames a [`receiver`] had no room for since it was last asked.
///
/// # Panics
///
/// When the kernel does not say.
pub fn missed(receiver: &File) -> u32 {
    // struct tpacket_stats: frames, and those dropped.
    let mut statistics = [0_u32; 2];
    let mut length = size_of_val(&statistics) as libc::socklen_t;
    // SAFETY: the pointers describe `statistics` and its length, which outlive the call.
    let result = unsafe {
        libc::getsockopt(
            receiver.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            statistics.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert!(result == 0, "PACKET_STATISTICS: {}", io::Error::last_os_error());
    statistics[1]
}

fn socket() -> OwnedFd {
    // SAFETY: no pointers.
    let descriptor = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    assert!(descriptor >= 0, "packet socket: {}", io::Error::last_os_error());
    // SAFETY: the kernel has just opened it for us, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn address(interface: &str, protocol: u16) -> libc::sockaddr_ll {
    let name = CString::new(interface).expect("a name without NUL");
    // SAFETY: the name outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert!(index != 0, "{interface}: {}", io::Error::last_os_error());
    // SAFETY: a struct of integers; all zero is a value of it.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).expect("it fits");
    address.sll_ifindex = i32::try_from(index).expect("indices are small");
    address.sll_protocol = protocol.to_be();
    address
}
