//! Place databases that somebody made in order to do harm: cut anywhere, looping, lying about themselves, full of what a
//! terminal or a spreadsheet would obey. Each is refused or read; nothing panics, nothing stands still, and what comes
//! out is harmless in every format.
//!
//! It needs no root. `TCPWATCH_FUZZ_SECONDS` and `TCPWATCH_FUZZ_SEED` lengthen and repeat the fuzzing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod corpus;
mod costly;
mod fuzz;
mod harmless;
mod honest;
mod naive;
mod output;
mod reader;
