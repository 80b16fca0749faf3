//! Asking a running tcpwatch how it is, and changing what it does: a socket, what is said on it, and the commands that do.
//!
//! One request and one answer on each connection, both one line of JSON. What is asked goes through a bounded queue into the
//! pipeline's loop; reading, writing and waiting for clients is done beside it.

pub mod client;
pub mod command;
pub mod last_error;
pub mod protocol;
pub mod server;
mod socket;
pub mod status;
mod text;
