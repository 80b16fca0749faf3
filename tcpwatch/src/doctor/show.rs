//! The answer: aligned lines for people, one JSON object for programs.

use std::io::{self, Write};

use serde_json::json;

use super::Section;
use super::finding::{Finding, Verdict};

/// Width of the verdict's column.
const VERDICT: usize = 4;

/// All lines, in sections, and a last one that says what they come to.
pub fn text(host: &str, sections: &[Section], colour: bool, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "tcpwatch {} on {host}: what it needs, and how that stands",
        env!("CARGO_PKG_VERSION")
    )?;
    let all = || sections.iter().flat_map(|section| &section.findings);
    let width = all().map(|finding| finding.check.len()).max().unwrap_or(0);
    for section in sections.iter().filter(|section| !section.findings.is_empty()) {
        writeln!(out, "\n{}", section.title)?;
        for finding in &section.findings {
            line(finding, width, colour, out)?;
        }
    }
    writeln!(out, "\n{}", summary(all()))?;
    out.flush()
}

fn line(finding: &Finding, width: usize, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let word = finding.verdict.word();
    let shown = if colour {
        let code = match finding.verdict {
            Verdict::Ok => "32",
            Verdict::Note => "36",
            Verdict::Warn => "33",
            Verdict::Fail => "1;31",
        };
        format!("\x1b[{code}m{word:<VERDICT$}\x1b[0m")
    } else {
        format!("{word:<VERDICT$}")
    };
    writeln!(out, "  {shown}  {:<width$}  {}", finding.check, finding.says)?;
    for cure in &finding.cures {
        writeln!(out, "  {:VERDICT$}  {:width$}  → {cure}", "", "")?;
    }
    Ok(())
}

fn summary<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let (mut warnings, mut failures) = (0, 0);
    for finding in findings {
        match finding.verdict {
            Verdict::Warn => warnings += 1,
            Verdict::Fail => failures += 1,
            Verdict::Ok | Verdict::Note => {}
        }
    }
    let warned = match warnings {
        0 => String::new(),
        1 => "1 warning".to_owned(),
        n => format!("{n} warnings"),
    };
    match (failures, warnings) {
        (0, 0) => "tcpwatch run would work here.".to_owned(),
        (0, _) => format!("tcpwatch run would work here, with {warned}."),
        (1, 0) => "tcpwatch run would NOT work here: see the line that says FAIL.".to_owned(),
        (n, 0) => format!("tcpwatch run would NOT work here: see the {n} lines that say FAIL."),
        (1, _) => format!("tcpwatch run would NOT work here: see the line that says FAIL. And {warned}."),
        (n, _) => format!("tcpwatch run would NOT work here: see the {n} lines that say FAIL. And {warned}."),
    }
}

/// One object.
pub fn json(host: &str, sections: &[Section], out: &mut dyn Write) -> io::Result<()> {
    let findings: Vec<&Finding> = sections.iter().flat_map(|section| &section.findings).collect();
    let object = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "host": host,
        "would_run": super::would_run(sections),
        "checks": findings,
    });
    serde_json::to_writer(&mut *out, &object)?;
    writeln!(out)?;
    out.flush()
}
