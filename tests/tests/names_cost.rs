//! What reading names costs: the observer's memory when everything that is sent is made to fill it, and its time for a
//! sample of each kind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::A;
use peak_alloc::PeakAlloc;
use tcpwatch::enrich::names::{Finding, Observer, Sample, SampleKind};
use tcpwatch_tests::note;

#[allow(
    missing_docs,
    dead_code,
    reason = "it is the unit tests' own, of which not all is used here"
)]
#[path = "../../tcpwatch/src/enrich/names/forge.rs"]
mod forge;

use forge::{Initial, answer, crypto, of_rustls, of_rustls_in_quic, record};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What is allocated is counted for all threads together, and time is measured: the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// 8 MiB of what connections sent, and what it takes to find 4096 of them and to remember 8192 others.
const MOST_BYTES: usize = 13 << 20;

fn sample(kind: SampleKind, connection: u32, offset: u32, payload: &[u8]) -> Sample<'_> {
    Sample {
        kind,
        local: Ipv4Addr::new(198, 51, 100, 1).into(),
        local_port: connection as u16,
        remote: Ipv4Addr::from_bits(0xc000_0200 | connection >> 16).into(),
        remote_port: 443,
        offset,
        payload,
        cut: false,
    }
}

#[test]
fn an_observer_is_not_filled_beyond_its_bounds() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    // Nearly all of it are suites.
    let head = [22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xf0, 3, 3];
    let tls = [&head[..], &[0; 32], &[0, 0x3f, 0x80], &[0; 16_000]].concat();
    let large = crypto(1, &[0; 16_000]);
    let scattered: Vec<u8> = (0..128).flat_map(|piece| crypto(100 * piece + 1, b"a")).collect();
    let [large, scattered] = [large, scattered].map(|frames| Initial::default().seal(&frames));
    let fillings: [(&str, SampleKind, u32, &[u8]); 6] = [
        ("small hellos", SampleKind::Tls, 0, &tls[..50]),
        ("large hellos", SampleKind::Tls, 0, &tls),
        ("their last bytes", SampleKind::Tls, 17_000, b"a"),
        ("large Initials", SampleKind::Quic, 0, &large),
        ("scattered Initials", SampleKind::Quic, 0, &scattered),
        (
            "unfinished messages",
            SampleKind::DnsTcp,
            0,
            &[&[0x3f, 0xff][..], &[0; 16_000]].concat(),
        ),
    ];
    for (name, kind, offset, payload) in fillings {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let mut observer = Observer::new();
        for connection in 0..10_000 {
            // Some tell all at once, and are remembered too.
            observer.observe(sample(SampleKind::Tls, connection, 0, b"SSH-2.0"), now);
            observer.observe(sample(kind, connection + 100_000, offset, payload), now);
        }
        let most = MEMORY.peak_usage() - before;
        let (waiting, bytes) = observer.waiting();
        note(format_args!(
            "{name}: {waiting} connections wait with {bytes} bytes; {most} bytes at most"
        ));
        assert!(waiting > 400, "{name}: nothing was filled");
        assert!(most < MOST_BYTES, "{name}: {most} bytes");
    }
}

#[test]
fn a_sample_takes_microseconds() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let hello = of_rustls_in_quic("www.example.com");
    let mut frames = crypto(0, &hello);
    frames.resize(1162, 0);
    let initial = Initial::default().seal(&frames);
    let tls = of_rustls("www.example.com");
    let records = (1..9).map(|last| record("www.example.com.", 60, RData::A(A::new(192, 0, 2, last))));
    let message = answer("www.example.com.", records.collect()).to_vec().unwrap();
    for (name, kind, payload) in [
        ("an answer with 8 addresses", SampleKind::DnsUdp, message),
        ("a ClientHello", SampleKind::Tls, tls),
        ("an Initial", SampleKind::Quic, initial),
    ] {
        let mut observer = Observer::new();
        let started = Instant::now();
        let samples = 2000;
        for connection in 0..samples {
            let found = observer.observe(sample(kind, connection, 0, &payload), started);
            assert!(matches!(
                &found[..],
                [Finding::Answer { name, .. } | Finding::Connection { name, .. }] if &**name == "www.example.com"
            ));
        }
        let each = started.elapsed() / samples;
        note(format_args!(
            "{name} of {} bytes: {:.1} us",
            payload.len(),
            each.as_secs_f64() * 1e6
        ));
        assert!(each < Duration::from_millis(2), "{name}: {each:?}");
    }
}
