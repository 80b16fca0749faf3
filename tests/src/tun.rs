//! A tun device: it carries IP packets without an Ethernet header, and the test reads what leaves through it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use crate::namespace::Namespace;
use crate::records::Counts;
use crate::traffic::Ledger;

/// A tun device in a namespace; gone when dropped.
#[derive(Debug)]
pub struct Tun {
    file: File,
}

impl Tun {
    /// Makes the device `name`, which is down and has no address yet.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn new(namespace: &Namespace, name: &str) -> Self {
        let file = namespace.within(|| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/net/tun")
                .expect("the kernel has tun");
            // struct ifreq: 16 bytes of name, then a union that begins with the flags; 40 bytes in all.
            let mut request = [0_u8; 40];
            request[..name.len()].copy_from_slice(name.as_bytes());
            let flags = libc::IFF_TUN | libc::IFF_NO_PI;
            request[16..18].copy_from_slice(&i16::try_from(flags).expect("they fit").to_ne_bytes());
            // SAFETY: the request is as large as a struct ifreq and outlives the call.
            let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
            assert!(
                result == 0,
                "TUNSETIFF {name}: {}",
                std::io::Error::last_os_error()
            );
            file
        });
        Self { file }
    }

    /// Reads every packet that has left through the device, and returns their packets and bytes by destination.
    ///
    /// # Panics
    ///
    /// When the device fails or a packet is not IP.
    pub fn read_all(&mut self) -> Ledger {
        let mut ledger = BTreeMap::<IpAddr, Counts>::new();
        let mut packet = vec![0; 65_536];
        loop {
            let length = match self.file.read(&mut packet) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return ledger,
                Err(error) => panic!("reading from the tun device: {error}"),
            };
            let destination = match packet[0] >> 4 {
                4 => Ipv4Addr::from(<[u8; 4]>::try_from(&packet[16..20]).expect("four bytes")).into(),
                6 => Ipv6Addr::from(<[u8; 16]>::try_from(&packet[24..40]).expect("sixteen bytes")).into(),
                version => panic!("a packet of IP version {version}"),
            };
            *ledger.entry(destination).or_default() += Counts {
                packets: 1,
                bytes: length as u64,
            };
        }
    }
}
