//! A cpio archive of the form "newc", which the kernel unpacks as its first file system
//! (Documentation/driver-api/early-userspace/buffer-format.rst). Knows nothing of what is in it.

use std::collections::BTreeMap;

use anyhow::Context as _;

/// Marks a header, and says that it has no checksum.
const MAGIC: &str = "070701";
/// Name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";
const DIRECTORY: u32 = 0o040_755;
const PLAIN: u32 = 0o100_644;
const EXECUTABLE: u32 = 0o100_755;

/// Files to be packed, each with the directories above it.
#[derive(Default)]
pub struct Archive {
    /// By path without the leading slash; a directory sorts before what is in it, as the kernel needs it.
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    mode: u32,
    content: Vec<u8>,
}

impl Archive {
    /// An empty directory, unless something is put into it.
    pub fn directory(&mut self, path: &str) {
        let path = path.trim_matches('/');
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            self.entries.entry(path[..end].to_owned()).or_insert(Entry {
                mode: DIRECTORY,
                content: Vec::new(),
            });
        }
    }

    /// A file that is only read.
    pub fn plain(&mut self, path: &str, content: Vec<u8>) {
        self.file(path, PLAIN, content);
    }

    /// A file that can be run.
    pub fn executable(&mut self, path: &str, content: Vec<u8>) {
        self.file(path, EXECUTABLE, content);
    }

    fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        let path = path.trim_matches('/');
        if let Some((directory, _name)) = path.rsplit_once('/') {
            self.directory(directory);
        }
        self.entries.insert(path.to_owned(), Entry { mode, content });
    }

    /// The archive's bytes.
    ///
    /// # Errors
    ///
    /// A file is larger than the form allows, which is 4 GB.
    pub fn pack(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let trailer = Entry {
            mode: 0,
            content: Vec::new(),
        };
        let last = [(TRAILER, &trailer)];
        let all = self.entries.iter().map(|(path, entry)| (path.as_str(), entry));
        for (number, (path, entry)) in (1..).zip(all.chain(last)) {
            let size = u32::try_from(entry.content.len())
                .with_context(|| format!("/{path} is too large for a cpio archive"))?;
            let name_size = u32::try_from(path.len() + 1).context("a path is too long for a cpio archive")?;
            // Inode, mode, owner, group, links, time, size, two device numbers of the file system, two of the file,
            // length of the name with its zero byte, checksum.
            let fields = [number, entry.mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
            bytes.extend(MAGIC.bytes());
            for field in fields {
                bytes.extend(format!("{field:08x}").bytes());
            }
            bytes.extend(path.bytes().chain([0]));
            align(&mut bytes);
            bytes.extend(&entry.content);
            align(&mut bytes);
        }
        Ok(bytes)
    }
}

/// Names and contents begin at multiples of four.
fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Path, mode and content of every entry, read as the form says and not as it is written above.
    fn read(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut at = 0;
        loop {
            assert_eq!(at % 4, 0);
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |n: usize| {
                let digits = &bytes[at + 6 + 8 * n..at + 6 + 8 * (n + 1)];
                u32::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = &bytes[at + 110..at + 110 + name_size];
            assert_eq!(name.last(), Some(&0));
            let name = String::from_utf8(name[..name_size - 1].to_vec()).unwrap();
            let content = (at + 110 + name_size).div_ceil(4) * 4;
            if name == "TRAILER!!!" {
                assert_eq!(content, bytes.len());
                return entries;
            }
            entries.push((name, mode, bytes[content..content + size].to_vec()));
            at = (content + size).div_ceil(4) * 4;
        }
    }

    #[test]
    fn reads_back_as_it_was_written() {
        let mut archive = Archive::default();
        archive.executable("/init", b"12345".to_vec());
        archive.plain("lib/x/y", b"abcd".to_vec());
        archive.plain("/lib/x/z", Vec::new());
        archive.directory("/proc");
        let expected = [
            ("init", 0o100_755, &b"12345"[..]),
            ("lib", 0o040_755, b""),
            ("lib/x", 0o040_755, b""),
            ("lib/x/y", 0o100_644, b"abcd"),
            ("lib/x/z", 0o100_644, b""),
            ("proc", 0o040_755, b""),
        ]
        .map(|(path, mode, content)| (path.to_owned(), mode, content.to_vec()));
        assert_eq!(read(&archive.pack().unwrap()), expected);
    }

    #[test]
    fn an_empty_archive_is_its_trailer() {
        assert_eq!(read(&Archive::default().pack().unwrap()), []);
    }

    #[test]
    fn every_length_of_name_and_content_is_padded() {
        let mut archive = Archive::default();
        for length in 1..9 {
            archive.plain(&"n".repeat(length), vec![b'c'; length]);
        }
        let read = read(&archive.pack().unwrap());
        assert_eq!(read.len(), 8);
        assert!(read.iter().all(|(name, _, content)| name.len() == content.len()));
    }
}
