//! Ten million real packets through the real program, as fast as both CPUs can send them, recorded ten times a second: every
//! one is in a record, under its destination.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::thread;
use std::time::Instant;

use tcpwatch_tests::batch::{BATCH, send, socket_address};
use tcpwatch_tests::cpu::pin;
use tcpwatch_tests::lab::{Lab, NEAR_V4};
use tcpwatch_tests::note;
use tcpwatch_tests::records::{Counts, by_flow, totals};

const DESTINATIONS: u16 = 1_000;
/// Packets to each destination from each of two threads.
const ROUNDS: u64 = 5_000;
const PAYLOAD: usize = 64;
/// Ethernet, IPv4 and UDP header and the payload.
const BYTES: u64 = 14 + 20 + 8 + 64;

fn destination(n: u16) -> Ipv4Addr {
    let [high, low] = n.to_be_bytes();
    Ipv4Addr::new(198, 19, high, low)
}

/// Sends a packet to every destination, [`ROUNDS`] times.
fn flood(cpu: usize) {
    pin(cpu);
    let socket = UdpSocket::bind((NEAR_V4, 0)).unwrap();
    let mut destinations: Vec<_> = (0..DESTINATIONS).map(destination).map(socket_address).collect();
    for _ in 0..ROUNDS {
        for batch in destinations.chunks_mut(BATCH) {
            send(&socket, batch, PAYLOAD);
        }
    }
}

#[test]
fn ten_million_packets_are_all_in_the_records() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "100ms"]);
    let began = Instant::now();
    thread::scope(|scope| {
        for cpu in [0, 1] {
            let near = &lab.near;
            scope.spawn(move || near.within(|| flood(cpu)));
        }
    });
    let time = began.elapsed().as_secs_f64();
    let records = watch.stop().books();
    let expected: BTreeMap<(IpAddr, Option<IpAddr>), Counts> = (0..DESTINATIONS)
        .map(|n| {
            (
                (destination(n).into(), Some(NEAR_V4.parse().unwrap())),
                Counts {
                    packets: 10_000,
                    bytes: 10_000 * BYTES,
                },
            )
        })
        .collect();
    let seen = totals(&records).seen;
    note(format_args!(
        "{} packets in {time:.1} s, {:.0} a second; {} records, {} drains",
        seen.packets,
        seen.packets as f64 / time,
        records.len(),
        records.iter().map(|record| record.drains).sum::<u32>()
    ));
    assert_eq!(by_flow(&records), expected);
    assert_eq!(
        totals(&records).counted,
        Counts {
            packets: 10_000_000,
            bytes: 10_000_000 * BYTES
        }
    );
}
