//! What goes wrong around tcpwatch, and what holds then: each test injects one fault and adds a row to the table of them
//! (docs/faults.md), which `cargo xtask test --faults` prints.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod clock;
mod configuration;
mod disk;
mod endurance;
mod hooks;
mod interfaces;
mod pins_foul;
mod pins_kill;
mod pins_steps;
mod pins_upgrade;
mod rights;
mod support;
