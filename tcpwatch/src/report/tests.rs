//! Reports of histories that are written by hand.
