//! Enrichment: what is known about a destination besides its address. It sees addresses only, never a packet count.

use std::net::IpAddr;
use std::sync::Arc;

use crate::record::{GeoFile, Place};

pub mod countries;
pub mod geo;
pub mod names;
pub mod scope;

pub use geo::{Catalogue, Changes, GeoError, Language, Places, Seen, Selection, Sighting, Sightings};
pub use scope::scope;

/// A source of places.
pub trait Enricher: Send {
    /// Where `address` is. What is not known stays none; it never fails.
    fn place(&mut self, address: IpAddr) -> Arc<Place>;

    /// The databases in use, in the order in which they are asked.
    fn files(&self) -> Vec<GeoFile>;

    /// How many lookups met damaged data and were answered with "unknown".
    fn errors(&self) -> u64;
}

/// No enrichment: every place is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Off;

impl Enricher for Off {
    fn place(&mut self, _address: IpAddr) -> Arc<Place> {
        Arc::default()
    }

    fn files(&self) -> Vec<GeoFile> {
        Vec::new()
    }

    fn errors(&self) -> u64 {
        0
    }
}
