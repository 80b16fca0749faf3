//! What can be wrong with a location database, and where in the file.

use super::VERSION;
use crate::enrich::countries::NotACode;
use crate::geo::import::source::TooManyNetworks;

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Made by a newer libloc.
    #[error("it is of version {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// The header is not whole.
    #[error("the header ends at offset {0}")]
    Header(usize),
    /// The time it was made at is none.
    #[error("the time of its making, {0}, is impossible")]
    Created(u64),
    /// A section lies outside.
    #[error("the {section} would end at offset {end}, the file ends at {bytes}")]
    Outside {
        /// Its name.
        section: &'static str,
        /// Where it would end.
        end: u64,
        /// The file's length.
        bytes: usize,
    },
    /// A section has half an entry at its end.
    #[error("the {section} at offset {offset} have {length} bytes, which is not a multiple of {entry}")]
    Uneven {
        /// Its name.
        section: &'static str,
        /// Where it begins.
        offset: usize,
        /// Its length.
        length: usize,
        /// Bytes of an entry.
        entry: usize,
    },
    /// The tree has no first node.
    #[error("it has no tree")]
    NoTree,
    /// A node leads to one that is not there.
    #[error("the tree node at offset {offset} leads to node {child}, and there are {nodes}")]
    Child {
        /// Where the node is.
        offset: usize,
        /// Where it leads.
        child: u32,
        /// How many there are.
        nodes: usize,
    },
    /// A node is reached on two ways, or on one that never ends.
    #[error("the tree node at offset {offset} is reached more than once")]
    Shared {
        /// Where the node is.
        offset: usize,
    },
    /// A way through the tree is longer than an address.
    #[error("the tree node at offset {offset} lies deeper than an address has bits")]
    Deep {
        /// Where the node is.
        offset: usize,
    },
    /// A node has a network that is not there.
    #[error("the tree node at offset {offset} has network {network}, and there are {networks}")]
    Network {
        /// Where the node is.
        offset: usize,
        /// Its network.
        network: u32,
        /// How many there are.
        networks: usize,
    },
    /// A country code is none.
    #[error("in the network at offset {offset}")]
    Code {
        /// Where the network is.
        offset: usize,
        /// What is there.
        #[source]
        source: NotACode,
    },
    /// A name lies outside the pool.
    #[error("the name of the AS number at offset {offset} lies outside the strings")]
    Name {
        /// Where the entry is.
        offset: usize,
    },
    /// More names than there are networks in the world.
    #[error(transparent)]
    Networks(#[from] TooManyNetworks),
}
