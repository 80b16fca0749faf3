//! Shows tcpwatch's table on made-up traffic: packets to public addresses that the program is shown, and that are never
//! sent. The sample in the README was made with it: `cargo run --release -p tcpwatch-tests --example demo`, as root.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "shows, or ends with a panic"
)]

use tcpwatch_tests::injection::Injector;
use tcpwatch_tests::lab::{Lab, NEAR_V4};

/// Destination, payload bytes, packets.
const TRAFFIC: [(&str, usize, u32); 14] = [
    ("142.250.74.78", 1200, 4210),
    ("142.250.74.46", 900, 1834),
    ("104.16.132.229", 700, 1502),
    ("151.101.1.140", 1100, 977),
    ("149.154.167.99", 400, 850),
    ("31.13.72.36", 800, 610),
    ("185.15.59.224", 1000, 402),
    ("88.221.24.10", 1200, 333),
    ("95.100.96.5", 1200, 210),
    ("133.130.96.10", 300, 120),
    ("200.160.2.3", 300, 61),
    ("1.1.1.1", 60, 48),
    ("203.0.113.77", 900, 2650),
    ("10.8.0.2", 200, 12),
];

fn main() {
    let lab = Lab::new();
    let mut watching = lab
        .tcpwatch([
            "run",
            "--format",
            "table",
            "--interval",
            "20s",
            "--intervals",
            "1",
            "--top",
            "6",
        ])
        .with(["--ban", "203.0.113.0/24"])
        .spawn();
    watching.wait_until_started();
    let injector = Injector::new(&lab.near, "eth0");
    lab.near.within(|| {
        for (destination, payload, packets) in TRAFFIC {
            injector.udp(NEAR_V4, destination.parse().unwrap(), payload, packets);
        }
    });
    let ended = watching.wait(std::time::Duration::from_secs(30));
    println!("{}", ended.stderr.join("\n"));
    println!("{}", ended.stdout.join("\n"));
}
