//! Packets that somebody made in order to do harm, read for names: whatever is in them, the parsers neither panic nor
//! stand still, they answer no name that is none, and the observer holds no more than it may.
//!
//! It needs no root. `TCPWATCH_FUZZ_SECONDS` and `TCPWATCH_FUZZ_SEED` lengthen and repeat the fuzzing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod answers;
mod examine;
#[allow(
    missing_docs,
    dead_code,
    reason = "it is the unit tests' own, of which not all is used here"
)]
#[path = "../../../tcpwatch/src/enrich/names/forge.rs"]
mod forge;
mod fuzz;
mod hellos;
mod initials;
mod naive;
mod scripts;
