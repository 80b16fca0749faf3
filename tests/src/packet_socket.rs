//! A packet socket: sends frames as they are, whatever is in them.

use std::ffi::CString;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

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
        let name = CString::new(interface).expect("a name without NUL");
        // SAFETY: the name outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        assert!(index != 0, "{interface}: {}", std::io::Error::last_os_error());
        // Protocol 0: it sends only, and receives nothing.
        // SAFETY: no pointers.
        let descriptor = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
        assert!(
            descriptor >= 0,
            "packet socket: {}",
            std::io::Error::last_os_error()
        );
        // SAFETY: the kernel has just opened it for us, and nothing else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // SAFETY: a struct of integers; all zero is a value of it.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).expect("it fits");
        address.sll_ifindex = i32::try_from(index).expect("indices are small");
        Self { socket, address }
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
            std::io::Error::last_os_error()
        );
    }
}
