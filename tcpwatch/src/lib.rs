//! tcpwatch counts where a server's outgoing traffic goes. See ARCHITECTURE.md for the map of this crate.

pub mod cli;
pub mod config;
pub mod control;
pub mod detach;
pub mod doctor;
pub mod domain;
pub mod enrich;
pub mod faults;
pub mod geo;
pub mod history;
pub mod import;
pub mod journal;
pub mod kernel;
pub mod manual;
pub mod net;
pub mod pipeline;
pub mod record;
pub mod recording;
pub mod report;
pub mod sample;
pub mod schedule;
pub mod selftest;
pub mod service;
pub mod sink;
pub mod tally;
pub mod verify;
