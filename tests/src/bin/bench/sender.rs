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

/// As many packets leave from one of several addresses before it is the next one's turn.
const TURN: usize = 8;

/// A socket for each own address, their destinations and the order in which they come.
pub struct Sender {
    sockets: Vec<UdpSocket>,
    destinations: Vec<libc::sockaddr_in>,
    /// Indices of `destinations`, prepared because drawing from a table would disturb the caches that are measured.
    order: Vec<u32>,
}

impl Sender {
    /// Must be called in the namespace to send from.
    pub fn new(source: Ipv4Addr, addresses: &[Ipv4Addr], popularity: Popularity) -> Self {
        Self::from_all(&[source], addresses, popularity)
    }

    /// The same from several addresses.
    pub fn from_all(sources: &[Ipv4Addr], addresses: &[Ipv4Addr], popularity: Popularity) -> Self {
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
            sockets: sources
                .iter()
                .map(|source| UdpSocket::bind((*source, 0)).unwrap())
                .collect(),
            destinations,
            order,
        }
    }

    /// Every destination once from each address.
    pub fn all_once(&self) {
        for socket in &self.sockets {
            for chunk in self.destinations.chunks(BATCH) {
                send(socket, &mut chunk.to_vec(), PAYLOAD);
            }
        }
    }

    /// So many packets, from place `first` of the order on, so that every program of a round gets the same.
    pub fn send(&self, first: usize, packets: usize) {
        let turn = if self.sockets.len() == 1 { BATCH } else { TURN };
        let turns = (first..first + packets).step_by(turn);
        for (start, socket) in turns.zip(self.sockets.iter().cycle()) {
            let end = (first + packets).min(start + turn);
            let mut batch: Vec<_> = (start..end)
                .map(|place| self.destinations[self.order[place % ORDER] as usize])
                .collect();
            send(socket, &mut batch, PAYLOAD);
        }
    }
}
