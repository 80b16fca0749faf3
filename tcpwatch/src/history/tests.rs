//! The history as a whole, against plain sums over the records.

mod faults;
mod kill;
mod store;
mod sums;
