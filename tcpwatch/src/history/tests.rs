//! The history as a whole, against plain sums over the records.

mod faults;
mod kill;
mod names;
mod store;
mod sums;
