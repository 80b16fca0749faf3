//! UDP packets to many destinations, as fast as one thread can send them: many in one system call.

use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

use crate::traffic::PORT;

/// Packets to hand to the kernel in one call.
pub const BATCH: usize = 64;

/// Sends `payload` bytes to each of the destinations.
///
/// # Panics
///
/// When the kernel refuses one.
pub fn send(socket: &UdpSocket, destinations: &mut [libc::sockaddr_in], payload: usize) {
    let mut payload = vec![0_u8; payload];
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
        let done = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
        assert!(done > 0, "sendmmsg: {}", std::io::Error::last_os_error());
        sent += done as usize;
    }
}

/// The port that nobody answers from at `address`, as the kernel wants it.
pub fn socket_address(address: Ipv4Addr) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: PORT.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(address).to_be(),
        },
        sin_zero: [0; 8],
    }
}
