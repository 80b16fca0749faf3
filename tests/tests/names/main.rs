//! The names of destinations, from the answers of name servers and from the first bytes of connections: the right name at the
//! right address, no name from what was not asked for, and nothing left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod dns;
mod forged;
mod hello;
mod off;
mod proxy;
mod quic;
mod shown;

use std::net::IpAddr;

const WWW: &str = "www.example.com";
const API: &str = "api.example.com";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}
