//! How much memory a record takes on its way out: as JSON and CSV no more for a hundred thousand destinations than for a
//! hundred, as a table a few bytes for each.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use peak_alloc::PeakAlloc;
use tcpwatch::record::{Destination, Place, Record, RecordTotals, SCHEMA, Scope};
use tcpwatch::sink::{Format, PIECE_BYTES, Pieces, Style, encoder};
use tcpwatch_tests::note;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What is allocated is counted for all threads together, so the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

const FEW: usize = 100;
const MANY: usize = 100_000;

/// The most that `action` has allocated at a time, in bytes.
fn most_allocated(action: impl FnOnce()) -> usize {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    action();
    MEMORY.peak_usage() - before
}

fn record(destinations: usize) -> Record {
    let interface: Arc<str> = "eth0".into();
    let place = Arc::new(Place {
        country: Some("US".into()),
        country_name: Some("United States".into()),
        asn: Some(64_500),
        network: Some("EXAMPLE".into()),
        ..Place::default()
    });
    let row = |n: u32| Destination {
        address: Ipv4Addr::from(0x0800_0000 + n).into(),
        source: Some(Ipv4Addr::new(198, 51, 100, 7).into()),
        interface: Arc::clone(&interface),
        packets: 1,
        bytes: 60,
        tcp_connections: None,
        quic_connections: None,
        scope: Scope::Global,
        place: Arc::clone(&place),
        names: None,
    };
    Record {
        schema: SCHEMA,
        host: "h".into(),
        boot_id: "b".into(),
        run: "r".into(),
        seq: 1,
        start: "2026-01-02T03:04:00Z".parse().unwrap(),
        end: "2026-01-02T03:04:20Z".parse().unwrap(),
        seconds: 20.0,
        partial: false,
        interfaces: vec![],
        totals: RecordTotals::default(),
        skbs: 0,
        balanced: true,
        drains: 1,
        geo: vec![],
        destinations: (0..).take(destinations).map(row).collect(),
        banned: vec![],
    }
}

/// The most that is allocated while a record goes out, and the bytes that it comes to.
fn way_out(format: Format, destinations: usize) -> (usize, usize) {
    let record = record(destinations);
    let encoder = encoder(format, &Style::default());
    let mut bytes = 0;
    let most = most_allocated(|| {
        let mut take = |piece: &[u8]| {
            bytes += piece.len();
            Ok(())
        };
        let mut pieces = Pieces::new(PIECE_BYTES, &mut take);
        encoder.encode(&record, &mut pieces).unwrap();
        pieces.finish().unwrap();
    });
    note(format_args!(
        "{format:?}, {destinations} destinations: {bytes} bytes, {most} bytes of memory"
    ));
    (most, bytes)
}

#[test]
fn json_and_csv_take_no_more_memory_for_more_destinations() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for format in [Format::Json, Format::Csv] {
        let (few, _) = way_out(format, FEW);
        let (many, bytes) = way_out(format, MANY);
        assert!(bytes > 8_000_000, "{format:?}: {bytes} bytes");
        // What the harness does meanwhile is counted too.
        assert!(
            many < few + 8192 && many < 2 * PIECE_BYTES,
            "{format:?}: {many} bytes"
        );
    }
}

#[test]
fn a_record_as_a_whole_takes_as_much_as_it_is_long() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let record = record(MANY);
    let mut bytes = 0;
    let most = most_allocated(|| bytes = serde_json::to_vec(&record).unwrap().len());
    assert!(most >= bytes && bytes > 20_000_000, "{most} for {bytes}");
}

#[test]
fn a_table_takes_few_bytes_for_each_destination() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (most, _) = way_out(Format::Table, MANY);
    assert!(most < 80 * MANY, "{most} bytes");
}
