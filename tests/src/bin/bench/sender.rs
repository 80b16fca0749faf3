//! Sends UDP packets to many destinations, as fast as one thread can.

use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

use crate::random::Random;
use crate::zipf::Zipf;

/// Packets handed to the kernel in one call.
const BATCH: usize = 64;
/// The discard port: nobody answers.
const PORT: u16 = 9;
/// Length of the prepared order; it begins anew at its end.
const ORDER: usize = 1 << 20;

/// How destinations are drawn.
#[derive(Clone, Copy, Debug)]
pub enum Popularity {
    /// Each as often as any other.
    Uniform,
    /// By Zipf's law with this exponent; which destination has which rank is random.
    Zipf(f64),
}

/// A socket, its destinations and the order in which they come.
pub struct Sender {
    socket: UdpSocket,
    destinations: Vec<libc::sockaddr_in>,
    /// Indices of `destinations`, prepared because drawing from a table would disturb the caches that are measured.
    order: Vec<u32>,
}

impl Sender {
    /// Must be called in the namespace to send from.
    pub fn new(source: Ipv4Addr, addresses: &[Ipv4Addr], popularity: Popularity) -> Self {
        let mut random = Random::new();
        let mut destinations: Vec<_> = addresses.iter().copied().map(socket_address).collect();
        let count = destinations.len();
        let order = match popularity {
            Popularity::Uniform => (0..ORDER).map(|_| random.below(count) as u32).collect(),
            Popularity::Zipf(exponent) => {
                random.shuffle(&mut destinations);
                let zipf = Zipf::new(count, exponent);
                (0..ORDER).map(|_| zipf.draw(&mut random) as u32).collect()
            }
        };
        Self {
            socket: UdpSocket::bind((source, 0)).unwrap(),
            destinations,
            order,
        }
    }

    /// Every destination once.
    pub fn all_once(&self) {
        for chunk in self.destinations.chunks(BATCH) {
            self.send_batch(&mut chunk.to_vec());
        }
    }

    /// So many packets, from place `first` of the order on, so that every program of a round gets the same.
    pub fn send(&self, first: usize, packets: usize) {
        for start in (first..first + packets).step_by(BATCH) {
            let end = (first + packets).min(start + BATCH);
            let mut batch: Vec<_> = (start..end)
                .map(|place| self.destinations[self.order[place % ORDER] as usize])
                .collect();
            self.send_batch(&mut batch);
        }
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

fn socket_address(address: Ipv4Addr) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: PORT.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(address).to_be(),
        },
        sin_zero: [0; 8],
    }
}
