//! Whether a record that the journal still has is in its file already.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Lines that are looked at, from the end: more records than wait for an outlet.
const LINES: usize = 256;
/// The run and the number of a record are among these first bytes of its line.
const BEGINNING: usize = 4096;
const BLOCK: u64 = 1 << 20;

/// Whether the record `seq` of `run` is among the last lines of a record file. Half of it, at the very end, is cut off: whoever wrote it
/// was killed, and it is to be written again.
///
/// # Errors
/// The file cannot be read or cut. That there is none is no error.
pub fn is_written(path: &Path, run: &str, seq: u64) -> io::Result<bool> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let wanted = format!("\"run\":\"{run}\",\"seq\":{seq},");
    let length = file.metadata()?.len();
    let mut end = length;
    for _ in 0..LINES {
        if end == 0 {
            break;
        }
        let start = line_before(&mut file, end)?;
        let whole = end < length || ends_line(&mut file, end)?;
        if beginning(&mut file, start, end)?
            .windows(wanted.len())
            .any(|window| window == wanted.as_bytes())
        {
            if !whole {
                file.set_len(start)?;
            }
            return Ok(whole);
        }
        end = start;
    }
    Ok(false)
}

/// Where the line begins whose last byte is before `end`.
fn line_before(file: &mut File, end: u64) -> io::Result<u64> {
    // The line's own end is none of what is looked for.
    let mut to = end.saturating_sub(1);
    let mut block = Vec::new();
    while to > 0 {
        let from = to.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(from))?;
        block.clear();
        file.take(to - from).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        to = from;
    }
    Ok(0)
}

fn ends_line(file: &mut File, end: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(end - 1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn beginning(file: &mut File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take((end - start).min(BEGINNING as u64))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(run: &str, seq: u64, length: usize) -> String {
        format!(
            "{{\"host\":\"h\",\"run\":\"{run}\",\"seq\":{seq},\"x\":\"{}\"}}\n",
            "y".repeat(length)
        )
    }

    #[test]
    fn a_record_is_found_among_long_lines_and_half_of_it_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records");
        assert!(!is_written(&path, "a", 1).unwrap());
        let whole = [
            line("a", 1, 10),
            line("b", 1, 3 << 20),
            line("a", 12, 5),
            line("b", 2, 2 << 20),
        ]
        .concat();
        std::fs::write(&path, &whole).unwrap();
        for (run, seq, there) in [
            ("a", 1, true),
            ("a", 12, true),
            ("a", 2, false),
            ("b", 1, true),
            ("b", 2, true),
        ] {
            assert_eq!(is_written(&path, run, seq).unwrap(), there, "{run} {seq}");
        }
        let torn = [whole.as_str(), &line("a", 13, 2 << 20)[..1 << 20]].concat();
        std::fs::write(&path, &torn).unwrap();
        assert!(is_written(&path, "a", 12).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), torn.len() as u64);
        assert!(!is_written(&path, "a", 13).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), whole.as_bytes());
        std::fs::write(&path, "").unwrap();
        assert!(!is_written(&path, "a", 1).unwrap());
    }
}
