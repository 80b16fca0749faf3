//! Names: what packets tell about the name that a destination is known by. Here are the words in which that is said;
//! [`Observer`] reads them out of packets.
//!
//! It never knows where the packets come from, and everything in them is hostile: each parser is bounded in time and
//! memory and answers only names that [`host`] accepts.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub mod book;
pub mod dns;
pub mod hello;
pub mod host;
pub mod observer;
pub mod ptr;
pub mod quic;
pub mod tls;

mod finished;
#[cfg(test)]
mod forge;
mod pieces;
mod reader;
mod table;

pub use book::Book;
pub use observer::{Counters, Observer};

pub use crate::sample::{Sample, SampleKind};

/// What was learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A connection was opened to a server that its client called `name`.
    Connection {
        /// This host's address.
        source: IpAddr,
        /// The server's address.
        destination: IpAddr,
        /// As [`host`] accepts it.
        name: Arc<str>,
    },
    /// A name server said which addresses `name` has.
    Answer {
        /// That was asked for, as [`host`] accepts it.
        name: Arc<str>,
        /// Each once, with the time for which it may be kept, which may be zero. Not empty.
        addresses: Vec<(IpAddr, Duration)>,
    },
}
