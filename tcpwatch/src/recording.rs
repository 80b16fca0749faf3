//! Record files as they are found: plain, gzip or zstd, by their content; line by line, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

mod zstd;

/// The longest line that is read: a record of some 800,000 destinations. What is longer is skipped, not kept.
pub const LONGEST_LINE: usize = 256 << 20;

const BUFFER: usize = 1 << 18;

/// A record file that is read.
pub struct Recording {
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
    read: Arc<AtomicU64>,
    length: u64,
    longest: usize,
}

/// A line of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Without its line break.
    Whole(&'a [u8]),
    /// The last one, which has no line break: a write that broke off, or one that is going on.
    Torn(&'a [u8]),
    /// Longer than [`LONGEST_LINE`]; so many bytes.
    TooLong(u64),
}

impl Recording {
    /// Opens it. `-` is standard input.
    ///
    /// # Errors
    /// It cannot be opened, or its beginning cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Self::new(io::stdin(), 0);
        }
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Self::new(file, length)
    }

    /// Reads from anything of which `length` bytes are expected; 0: nobody knows how many.
    ///
    /// # Errors
    /// Its beginning cannot be read.
    pub fn new(from: impl Read + 'static, length: u64) -> io::Result<Self> {
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            from,
            read: Arc::clone(&read),
        };
        let mut raw = BufReader::with_capacity(BUFFER, counted);
        let reader: Box<dyn BufRead> = match raw.fill_buf()? {
            [0x1f, 0x8b, ..] => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(raw))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Box::new(BufReader::with_capacity(BUFFER, zstd::Frames::new(raw)))
            }
            _ => Box::new(raw),
        };
        Ok(Self {
            reader,
            line: Vec::new(),
            number: 0,
            read,
            length,
            longest: LONGEST_LINE,
        })
    }

    /// Bytes of the file that have been read, and how many there were when it was opened.
    pub fn progress(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.length)
    }

    /// The next line and its number, from 1. None: that was all.
    ///
    /// # Errors
    /// The file cannot be read, or its compression is damaged; there is nothing more then.
    pub fn next_line(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        self.line.clear();
        // So that one long line does not hold its memory to the end.
        self.line.shrink_to(BUFFER);
        let mut bytes = 0_u64;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                if bytes == 0 {
                    return Ok(None);
                }
                return Ok(Some(self.line_of(bytes, true)));
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or(chunk);
            bytes += part.len() as u64;
            if bytes <= self.longest as u64 {
                self.line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(self.line_of(bytes, false)));
            }
        }
    }

    fn line_of(&mut self, bytes: u64, torn: bool) -> (u64, Line<'_>) {
        self.number += 1;
        let line = match (bytes > self.longest as u64, torn) {
            (true, _) => Line::TooLong(bytes),
            (false, true) => Line::Torn(&self.line),
            (false, false) => Line::Whole(&self.line),
        };
        (self.number, line)
    }
}

/// Counts what is read.
struct Counted<R> {
    from: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use super::*;

    fn lines(bytes: Vec<u8>) -> io::Result<Vec<String>> {
        let mut recording = Recording::new(Cursor::new(bytes), 0)?;
        recording.longest = 10;
        let mut lines = Vec::new();
        while let Some((number, line)) = recording.next_line()? {
            lines.push(match line {
                Line::Whole(line) => format!("{number} {}", String::from_utf8_lossy(line)),
                Line::Torn(line) => format!("{number} torn {}", String::from_utf8_lossy(line)),
                Line::TooLong(bytes) => format!("{number} {bytes} bytes"),
            });
        }
        Ok(lines)
    }

    const TEXT: &[u8] = b"one\n\n0123456789\n0123456789x\nlast";
    const LINES: [&str; 5] = ["1 one", "2 ", "3 0123456789", "4 11 bytes", "5 torn last"];

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn lines_are_whole_torn_or_too_long() {
        assert_eq!(lines(TEXT.to_vec()).unwrap(), LINES);
        assert!(lines(Vec::new()).unwrap().is_empty());
        assert_eq!(lines(b"x".to_vec()).unwrap(), ["1 torn x"]);
    }

    #[test]
    fn compressed_files_are_known_by_their_content_also_in_parts() {
        let (first, second) = TEXT.split_at(7);
        for compress in [gzip, zstd] {
            assert_eq!(lines(compress(TEXT)).unwrap(), LINES);
            let parts = [compress(first), compress(second)].concat();
            assert_eq!(lines(parts).unwrap(), LINES);
        }
        // Frames that are to be skipped.
        let skipped = [0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let parts = [&skipped[..], &zstd(first), &skipped, &zstd(second)].concat();
        assert_eq!(lines(parts).unwrap(), LINES);
    }

    #[test]
    fn a_compressed_file_that_is_cut_short_or_damaged_is_an_error() {
        for compress in [gzip, zstd] {
            let mut bytes = compress(&b"0123456\n".repeat(1000));
            bytes.truncate(bytes.len() - 5);
            assert!(lines(bytes.clone()).is_err());
            bytes.extend([0xff; 50]);
            assert!(lines(bytes).is_err());
        }
    }

    #[test]
    fn a_long_line_is_not_kept_in_memory() {
        let mut recording = Recording::new(io::repeat(b'x').take(1 << 26), 0).unwrap();
        recording.longest = 1000;
        assert_eq!(recording.next_line().unwrap(), Some((1, Line::TooLong(1 << 26))));
        assert!(recording.line.capacity() <= BUFFER);
    }
}
