//! The answer: aligned lines for people, one JSON object for programs.

use std::io::{self, Write};

use serde_json::json;
use unicode_width::UnicodeWidthStr as _;

use super::Section;
use super::finding::{Finding, Verdict};

/// Width of the verdict's column.
const VERDICT: usize = 4;

/// What the answer is shown on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Paper {
    /// Whether it may have colours.
    pub colour: bool,
    /// Columns, where lines are to be broken; none: they are not, for programs that look for something in them.
    pub columns: Option<usize>,
}

/// All lines, in sections, and a last one that says what they come to.
pub fn text(host: &str, sections: &[Section], paper: Paper, out: &mut dyn Write) -> io::Result<()> {
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
            line(finding, width, paper, out)?;
        }
    }
    writeln!(out, "\n{}", summary(all()))?;
    out.flush()
}

fn line(finding: &Finding, width: usize, paper: Paper, out: &mut dyn Write) -> io::Result<()> {
    let word = finding.verdict.word();
    let shown = if paper.colour {
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
    let indent = 2 + VERDICT + 2 + width + 2;
    let room = paper.columns.map(|columns| columns.saturating_sub(indent));
    let mut lines = broken(&finding.says, room).into_iter();
    let first = lines.next().unwrap_or_default();
    writeln!(out, "  {shown}  {:<width$}  {first}", finding.check)?;
    for line in lines {
        writeln!(out, "{:indent$}{line}", "")?;
    }
    for cure in &finding.cures {
        for (at, line) in broken(cure, room.map(|room| room.saturating_sub(2)))
            .iter()
            .enumerate()
        {
            let mark = if at == 0 { "→" } else { " " };
            writeln!(out, "{:indent$}{mark} {line}", "")?;
        }
    }
    Ok(())
}

/// A text in lines of at most `room` columns, as far as its words are that short.
fn broken(text: &str, room: Option<usize>) -> Vec<String> {
    /// Fewer columns make nothing easier to read.
    const FEWEST: usize = 30;
    let Some(room) = room.map(|room| room.max(FEWEST)) else {
        return vec![text.to_owned()];
    };
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
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
