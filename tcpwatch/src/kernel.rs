//! Everything that talks to the kernel about eBPF: loading, attaching, and emptying the tables without losing a count.
//!
//! It knows addresses and counts; it never sees a record, a place or an output.

pub mod attach;
pub mod bell;
mod bpf;
mod busiest;
pub mod capacity;
pub mod clock;
pub mod drain;
mod front;
pub mod load;
pub mod memory;
mod multiplier;
pub mod pins;
pub mod policy;
pub mod requirements;
pub mod samples;
pub mod sandbox;
mod shared;
pub mod tables;
