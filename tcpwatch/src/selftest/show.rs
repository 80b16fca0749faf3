//! How a selftest's outcome is shown.

use std::io::{self, Write};

use serde_json::{Value, json};
use tcpwatch_common::Traffic;

use super::Outcome;
use super::performance::{Part, Row};
use super::script::Fate;
use crate::sink::text::thousands;

/// A table for each way of attaching, and a last line that says it all.
pub fn text(outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "tcpwatch {}: known traffic between two network namespaces of its own",
        env!("CARGO_PKG_VERSION")
    )?;
    for part in &outcome.parts {
        writeln!(out)?;
        table(part, out)?;
    }
    writeln!(out)?;
    for (name, why) in &outcome.absent {
        writeln!(out, "not tried: {name} ({why})")?;
    }
    if !outcome.ipv6 {
        writeln!(out, "not tried: IPv6, which this kernel has not")?;
    }
    if outcome.left.is_empty() {
        writeln!(out, "left behind: nothing")?;
    }
    for left in &outcome.left {
        writeln!(out, "LEFT BEHIND: {left}")?;
    }
    let seconds = outcome.took.as_secs_f64();
    if outcome.passed() {
        writeln!(
            out,
            "PASSED in {seconds:.1} s: every packet and every byte was counted"
        )?;
    } else {
        writeln!(
            out,
            "FAILED in {seconds:.1} s: do not trust the counts of this machine; please report this with `uname -a`"
        )?;
    }
    out.flush()
}

fn table(part: &Part, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "by {:<33} {:>18} {:>18}", part.attach, "expected", "counted")?;
    writeln!(
        out,
        "  {:<16}{:<18} {:>8} {:>9} {:>8} {:>9}",
        "what", "to", "packets", "bytes", "packets", "bytes"
    )?;
    for row in &part.rows {
        writeln!(out, "{}", line(row))?;
    }
    for (address, packets) in &part.strangers {
        writeln!(
            out,
            "  {:<16}{:<18} {:>8} {:>9} {:>8} {:>9}  WRONG: nothing was sent there",
            "?",
            address,
            0,
            0,
            thousands(*packets),
            ""
        )?;
    }
    writeln!(
        out,
        "  {}: {} packets, {} bytes, in {} drains",
        if part.balanced {
            "the books balance"
        } else {
            "THE BOOKS DO NOT BALANCE"
        },
        thousands(part.seen.packets),
        thousands(part.seen.bytes),
        part.drains
    )
}

fn line(row: &Row) -> String {
    let numbers = |traffic: &Traffic| {
        format!(
            "{:>8} {:>9}",
            thousands(traffic.counts.packets),
            thousands(traffic.counts.bytes)
        )
    };
    format!(
        "  {:<16}{:<18} {} {}  {}",
        row.act.what,
        row.act.destination.to_string(),
        numbers(&row.expected),
        numbers(&row.counted),
        verdict(row)
    )
}

fn verdict(row: &Row) -> String {
    let mut words = Vec::new();
    if row.counted.counts != row.expected.counts {
        words.push("WRONG".to_owned());
    }
    if row.counted.tcp_connections != row.expected.tcp_connections {
        let sign = if words.is_empty() { "WRONG: " } else { "" };
        words.push(format!(
            "{sign}{} connections of {}",
            row.counted.tcp_connections, row.expected.tcp_connections
        ));
    }
    if row.counted.quic_connections > 0 {
        words.push(format!(
            "WRONG: {} QUIC connections",
            row.counted.quic_connections
        ));
    }
    if let Some(arrived) = row
        .arrived
        .filter(|packets| *packets != row.expected.counts.packets)
    {
        words.push(format!("WRONG: {arrived} arrived"));
    }
    if words.is_empty() {
        words.push("ok".to_owned());
        if row.expected.tcp_connections > 0 {
            words.push(format!("{} connections", row.counted.tcp_connections));
        }
    }
    if row.noise > 0 {
        words.push(format!("and {} of the kernel's own", row.noise));
    }
    words.join(", ")
}

/// One object.
pub fn json(outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    let object = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "passed": outcome.passed(),
        "seconds": outcome.took.as_secs_f64(),
        "ipv6": outcome.ipv6,
        "left_behind": outcome.left,
        "absent": outcome.absent.iter().map(|(name, why)| json!({"attach": name, "why": why})).collect::<Vec<_>>(),
        "parts": outcome.parts.iter().map(part).collect::<Vec<_>>(),
    });
    serde_json::to_writer(&mut *out, &object)?;
    writeln!(out)?;
    out.flush()
}

fn part(part: &Part) -> Value {
    json!({
        "attach": part.attach,
        "passed": part.passed(),
        "balanced": part.balanced,
        "seen": {"packets": part.seen.packets, "bytes": part.seen.bytes},
        "drains": part.drains,
        "seconds": part.took.as_secs_f64(),
        "rows": part.rows.iter().map(row).collect::<Vec<_>>(),
        "unexpected": part.strangers.iter()
            .map(|(address, packets)| json!({"address": address, "packets": packets}))
            .collect::<Vec<_>>(),
    })
}

fn row(row: &Row) -> Value {
    let traffic = |traffic: &Traffic| {
        json!({
            "packets": traffic.counts.packets,
            "bytes": traffic.counts.bytes,
            "tcp_connections": traffic.tcp_connections,
        })
    };
    json!({
        "what": row.act.what,
        "destination": row.act.destination,
        "outcome": match row.act.fate {
            Fate::Counted => "counted",
            Fate::Banned => "banned",
            Fate::OtherSource => "other_source",
        },
        "expected": traffic(&row.expected),
        "counted": traffic(&row.counted),
        "arrived": row.arrived,
        "of_the_kernel": row.noise,
        "passed": row.passed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selftest::script::{self, Kind};

    #[test]
    fn a_line_is_right_as_a_whole_or_says_what_is_wrong() {
        let acts = script::script(false);
        let act = *acts.iter().find(|act| act.kind == Kind::Connections).unwrap();
        let right = Row {
            act,
            expected: act.expected(),
            counted: act.expected(),
            arrived: None,
            noise: 0,
        };
        assert_eq!(verdict(&right), "ok, 10 connections");
        let mut wrong = right;
        wrong.counted.counts.packets -= 1;
        assert_eq!(verdict(&wrong), "WRONG");
        wrong.counted.tcp_connections -= 1;
        assert_eq!(verdict(&wrong), "WRONG, 9 connections of 10");
    }
}
