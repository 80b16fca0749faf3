//! Sends UDP packets to many destinations, as fast as one thread can.

use std::net::{Ipv4Addr, UdpSocket};

use tcpwatch_tests::batch::{BATCH, send, socket_address};

use crate::random::Random;
use crate::zipf::Zipf;

/// Bytes of a datagram.
const PAYLOAD: usize = 64;
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
            send(&self.socket, &mut chunk.to_vec(), PAYLOAD);
        }
    }

    /// So many packets, from place `first` of the order on, so that every program of a round gets the same.
    pub fn send(&self, first: usize, packets: usize) {
        for start in (first..first + packets).step_by(BATCH) {
            let end = (first + packets).min(start + BATCH);
            let mut batch: Vec<_> = (start..end)
                .map(|place| self.destinations[self.order[place % ORDER] as usize])
                .collect();
            send(&self.socket, &mut batch, PAYLOAD);
        }
    }
}
