//! What the tests of tcpwatch stand on: a network of two namespaces, the real program in it, traffic whose every packet
//! is known, and the program's records read back.
//!
//! Everything here needs root and panics with an explanation without it. What a test makes (namespaces, links,
//! processes) goes when its owner is dropped, also when the test fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a harness reports a failure by panicking"
)]

pub mod batch;
pub mod bpffs;
pub mod browser;
pub mod command;
pub mod counter;
pub mod cpu;
pub mod daemon;
pub mod day;
pub mod dbip;
pub mod disk;
pub mod faulty;
pub mod frame;
pub mod fuzz;
pub mod hook;
pub mod injection;
pub mod inotify;
pub mod invocation;
pub mod lab;
pub mod mmdb;
pub mod named;
pub mod names_lab;
pub mod namespace;
pub mod packet_socket;
pub mod places;
pub mod pty;
pub mod readers;
pub mod records;
pub mod tcp;
pub mod traffic;
pub mod tun;
pub mod wait;
pub mod web;

/// Writes a line that shows even when the test passes: the figures that a proof is quoted with.
pub fn note(text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;

    writeln!(std::io::stderr(), "    {text}").expect("stderr is open");
}
