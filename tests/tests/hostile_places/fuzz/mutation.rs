//! Changes of a file: some know where its parts are and what its bytes mean, some are blind.

use std::ops::Range;
use std::sync::Arc;

use tcpwatch_tests::fuzz::{Random, blind};
use tcpwatch_tests::mmdb::{MARKER, SEPARATOR, kind};

/// Sizes at which readers count differently.
const SIZES: [u64; 14] = [
    0,
    1,
    28,
    29,
    284,
    285,
    65_820,
    65_821,
    1 << 24,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 63,
    u64::MAX,
];

/// Texts that do harm where they are shown.
const TEXTS: [&str; 8] = [
    "\u{1b}[2J",
    "\r\n\u{85}",
    "\u{202e}\u{2066}",
    "\u{200b}\u{feff}",
    "=1+1",
    "<b>",
    "\0\u{7f}",
    "\u{301}\u{301}\u{301}\u{301}",
];

/// Keys that somebody looks for.
const KEYS: [&str; 17] = [
    "country",
    "registered_country",
    "city",
    "traits",
    "names",
    "iso_code",
    "en",
    "is_anycast",
    "autonomous_system_number",
    "autonomous_system_organization",
    "node_count",
    "record_size",
    "ip_version",
    "build_epoch",
    "database_type",
    "languages",
    "description",
];

/// The parts of a file.
struct Parts {
    data: Range<usize>,
    metadata: Range<usize>,
    record_size: usize,
    nodes: usize,
}

impl Parts {
    /// As far as they can be told: what they were when the file was honest is good enough.
    fn of(file: &[u8]) -> Self {
        let marker = (0..file.len().saturating_sub(MARKER.len()))
            .rev()
            .find(|at| file[*at..].starts_with(MARKER))
            .unwrap_or(file.len());
        let metadata = (marker + MARKER.len()).min(file.len())..file.len();
        let number = |key: &str| {
            let at = find(&file[metadata.clone()], key)? + key.len();
            let bytes = &file[metadata.clone()][at..];
            let size = usize::from(*bytes.first()? & 31).min(4);
            let number = bytes.get(1..=size)?.iter();
            Some(number.fold(0, |number, byte| number << 8 | usize::from(*byte)))
        };
        let record_size = number("record_size")
            .filter(|size| [24, 28, 32].contains(size))
            .unwrap_or(28);
        let nodes = number("node_count").unwrap_or(0).min(marker * 4 / record_size);
        let data = (nodes * record_size / 4 + SEPARATOR).min(marker)..marker;
        Self {
            data,
            metadata,
            record_size,
            nodes,
        }
    }
}

fn find(bytes: &[u8], text: &str) -> Option<usize> {
    bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes())
}

/// `base` with one to six changes; pieces are taken from `others`.
pub fn change(base: &[u8], others: &Arc<[Arc<[u8]>]>, random: &mut Random) -> Vec<u8> {
    let mut draft = Draft {
        file: base.to_vec(),
        parts: Parts::of(base),
        others: Arc::clone(others),
    };
    for _ in 0..=random.below(6) {
        let change = random.pick(&CHANGES);
        change(&mut draft, random);
    }
    draft.file
}

/// A file in the making. Its parts are where they were before it was changed.
struct Draft {
    file: Vec<u8>,
    parts: Parts,
    others: Arc<[Arc<[u8]>]>,
}

type Change = fn(&mut Draft, &mut Random);

/// The changes, those that know the format more than once.
const CHANGES: [Change; 20] = [
    Draft::header,
    Draft::header,
    Draft::header,
    Draft::pointer,
    Draft::pointer,
    Draft::pointer,
    Draft::size,
    Draft::size,
    Draft::side,
    Draft::side,
    Draft::side,
    Draft::claim,
    Draft::claim,
    Draft::text,
    Draft::key,
    Draft::bits,
    Draft::byte,
    Draft::splice,
    Draft::remove,
    Draft::cut,
];

impl Draft {
    /// Somewhere among the values: mostly in the data, sometimes in the metadata.
    fn value(&self, random: &mut Random) -> Option<usize> {
        let part = if random.below(8) == 0 {
            &self.parts.metadata
        } else {
            &self.parts.data
        };
        let end = part.end.min(self.file.len());
        (part.start < end).then(|| part.start + random.below(end - part.start))
    }

    /// Another header: another type, another size.
    fn header(&mut self, random: &mut Random) {
        let Some(at) = self.value(random) else {
            return;
        };
        let size = *random.pick(&[0, 1, 2, 4, 8, 16, 28, 29, 30, 31]);
        let of = random.byte() % 17;
        if of > kind::MAP || of == 0 {
            self.put(at, &[size, of.wrapping_sub(7)]);
        } else {
            self.put(at, &[of << 5 | size]);
        }
    }

    /// A pointer to itself, to somewhere near, to somewhere in the data, or out of it.
    fn pointer(&mut self, random: &mut Random) {
        let Some(at) = self.value(random) else {
            return;
        };
        let here = at.saturating_sub(self.parts.data.start);
        let target = match random.below(5) {
            0 => here,
            1 => here.saturating_sub(random.below(40)),
            2 => here + random.below(40),
            3 => random.below(self.parts.data.len() + 1),
            _ => random.bits() as usize,
        } as u32;
        let bytes = target.to_be_bytes();
        match random.below(3) {
            0 => self.put(at, &[0x20 | bytes[2] & 7, bytes[3]]),
            1 => {
                let bytes = target.wrapping_sub(2048).to_be_bytes();
                self.put(at, &[0x28 | bytes[1] & 7, bytes[2], bytes[3]]);
            }
            _ => self.put(at, &[0x38, bytes[0], bytes[1], bytes[2], bytes[3]]),
        }
    }

    /// The same type, another size.
    fn size(&mut self, random: &mut Random) {
        if let Some(at) = self.value(random) {
            self.file[at] = self.file[at] & 0xe0 | random.byte() & 31;
        }
    }

    /// A side of a node that leads elsewhere.
    fn side(&mut self, random: &mut Random) {
        if self.parts.nodes == 0 {
            return;
        }
        let node = random.below(self.parts.nodes);
        let to = match random.below(8) {
            0 => node,
            1 => random.below(self.parts.nodes),
            2 => self.parts.nodes,
            3 => self.parts.nodes + 1 + random.below(SEPARATOR),
            4 | 5 => self.parts.nodes + SEPARATOR + random.below(self.parts.data.len() + 2),
            6 => self.parts.nodes + SEPARATOR + self.parts.data.len() + random.below(200),
            _ => random.bits() as usize,
        } as u32;
        let bytes = to.to_be_bytes();
        let at = node * self.parts.record_size / 4;
        let right = random.below(2) == 1;
        match (self.parts.record_size, right) {
            (28, false) => self.put(at, &bytes[1..]),
            (28, true) => self.put(at + 4, &bytes[1..]),
            (24, _) => self.put(at + if right { 3 } else { 0 }, &bytes[1..]),
            (_, _) => self.put(at + if right { 4 } else { 0 }, &bytes),
        }
    }

    /// Metadata that says another number.
    fn claim(&mut self, random: &mut Random) {
        let key = *random.pick(&KEYS[10..]);
        let start = self.parts.metadata.start.min(self.file.len());
        let Some(at) = find(&self.file[start..], key).map(|at| start + at + key.len()) else {
            return;
        };
        let Some(header) = self.file.get(at).copied() else {
            return;
        };
        let size = usize::from(header & 31).min(8);
        let number = match random.below(4) {
            0 => random.bits(),
            1 => (self.parts.nodes as u64)
                .wrapping_add(random.bits() % 5)
                .wrapping_sub(2),
            2 => *random.pick(&[4, 6, 24, 28, 32]),
            _ => *random.pick(&SIZES),
        };
        let skip = usize::from(header >> 5 == 0);
        self.put(at + 1 + skip, &number.to_be_bytes()[8 - size..]);
    }

    /// A text that does harm.
    fn text(&mut self, random: &mut Random) {
        if let Some(at) = self.value(random) {
            self.put(at, random.pick(&TEXTS).as_bytes());
        }
    }

    /// A key where there was another, with its header.
    fn key(&mut self, random: &mut Random) {
        if let Some(at) = self.value(random) {
            let key = random.pick(&KEYS);
            self.put(at, &[kind::TEXT << 5 | key.len().min(28) as u8]);
            self.put(at + 1, key.as_bytes());
        }
    }

    fn bits(&mut self, random: &mut Random) {
        blind::bits(&mut self.file, random);
    }

    fn byte(&mut self, random: &mut Random) {
        blind::byte(&mut self.file, random);
    }

    fn splice(&mut self, random: &mut Random) {
        let other = random.pick(&self.others);
        blind::splice(&mut self.file, other, random);
    }

    fn remove(&mut self, random: &mut Random) {
        blind::remove(&mut self.file, random);
    }

    fn cut(&mut self, random: &mut Random) {
        // Rarely: almost nothing that is cut is opened.
        if random.below(8) == 0 {
            blind::cut(&mut self.file, random);
        }
    }

    /// Overwrites what is there, as far as the file goes.
    fn put(&mut self, at: usize, bytes: &[u8]) {
        blind::put(&mut self.file, at, bytes);
    }
}
