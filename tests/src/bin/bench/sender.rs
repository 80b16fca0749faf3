//! Sends UDP packets to many destinations, as fast as one thread can.

use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

/// Packets handed to the kernel in one call.
const BATCH: usize = 64;
/// The discard port: nobody answers.
const PORT: u16 = 9;

/// A socket and the order in which its destinations come.
pub struct Sender {
    socket: UdpSocket,
    destinations: Vec<libc::sockaddr_in>,
    /// State of the pseudo-random order, so that every program sees the same one.
    state: u64,
}

impl Sender {
    /// For destinations drawn uniformly from `addresses`. Must be called in the namespace to send from.
    pub fn new(source: Ipv4Addr, addresses: impl Iterator<Item = Ipv4Addr>) -> Self {
        let destinations = addresses
            .map(|address| libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: PORT.to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(address).to_be(),
                },
                sin_zero: [0; 8],
            })
            .collect();
        Self {
            socket: UdpSocket::bind((source, 0)).unwrap(),
            destinations,
            state: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// Every destination once.
    pub fn all_once(&mut self) {
        let all = self.destinations.clone();
        for chunk in all.chunks(BATCH) {
            self.send_batch(&mut chunk.to_vec());
        }
    }

    /// So many packets, to random destinations.
    pub fn send(&mut self, packets: usize) {
        let mut left = packets;
        while left > 0 {
            let count = left.min(BATCH);
            let mut batch: Vec<_> = (0..count).map(|_| self.next()).collect();
            self.send_batch(&mut batch);
            left -= count;
        }
    }

    /// xorshift64*, Vigna 2016.
    fn next(&mut self) -> libc::sockaddr_in {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let random = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        self.destinations[(random as usize * self.destinations.len()) >> 32]
    }

    fn send_batch(&self, destinations: &mut [libc::sockaddr_in]) {
        let mut payload = [0_u8; 64];
        let mut vector = libc::iovec {
            iov_base: payload.as_mut_ptr().cast(),
            iov_len: payload.len(),
        };
        let mut messages: Vec<libc::mmsghdr> = destinations
            .iter_mut()
            .map(|destination| {
                // SAFETY: a struct of integers and pointers: all zero is a value of it.
                let mut message: libc::mmsghdr = unsafe { zeroed() };
                message.msg_hdr.msg_name = std::ptr::from_mut(destination).cast();
                message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
                message.msg_hdr.msg_iov = &raw mut vector;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        let mut sent = 0;
        while sent < messages.len() {
            let rest = &mut messages[sent..];
            // SAFETY: every message points to an address, a vector and a payload that outlive the call.
            let done =
                unsafe { libc::sendmmsg(self.socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
            assert!(done > 0, "sendmmsg: {}", std::io::Error::last_os_error());
            sent += done as usize;
        }
    }
}
