//! How much there is to read in a record, before it is read. Pure.
//!
//! The reader bounds what one look-up may cost, but generously: 65,536 values and 2 MB of text, which take a millisecond.
//! Pointers let any number of records share such a heap: a file of 2 MB with a hundred thousand of them held up an interval for 92
//! seconds. So the values are counted first, which takes microseconds, and a record with too many of them is damaged.

/// Values of a record, keys and what pointers lead to included. Enterprise files, which say most, have about 300.
const MOST_VALUES: usize = 768;

const POINTER: usize = 1;
const MAP: usize = 7;
const ARRAY: usize = 11;
const BOOL: usize = 14;

/// Whether the record at `offset` of the data section has more values than any honest one. What is damaged is left to the
/// reader, which will find it.
pub(super) fn is_too_heavy(data: &[u8], offset: usize) -> bool {
    let mut budget = MOST_VALUES;
    // Where values begin that are still to be counted, and whether the first is paid for: by the pointer to it.
    let mut targets = vec![(offset, false)];
    while let Some((at, mut is_paid)) = targets.pop() {
        let mut rest = data.get(at..).unwrap_or_default();
        // Values that follow one another: what is in a map or an array comes before what is behind it.
        let mut following = 1_usize;
        while following > 0 {
            let Some(header) = Header::read(&mut rest) else {
                break;
            };
            following -= 1;
            // A pointer that a pointer leads to is paid for itself: a circle must come to an end.
            if !is_paid || header.kind == POINTER {
                let Some(left) = budget.checked_sub(1) else {
                    return true;
                };
                budget = left;
            }
            is_paid = false;
            let length = match header.kind {
                POINTER => {
                    let (length, target) = header.pointer(rest);
                    targets.extend(target.map(|target| (target, true)));
                    length
                }
                MAP => {
                    following = following.saturating_add(header.size.saturating_mul(2));
                    0
                }
                ARRAY => {
                    following = following.saturating_add(header.size);
                    0
                }
                BOOL => 0,
                _ => header.size,
            };
            if following > budget {
                return true;
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
    false
}

/// What is said of a value in front of it.
struct Header {
    kind: usize,
    /// Of a pointer, the five bits as they are.
    size: usize,
}

impl Header {
    /// Takes it from the beginning of `from`.
    fn read(from: &mut &[u8]) -> Option<Self> {
        let control = take(from)?;
        let bits = control & 31;
        let kind = match control >> 5 {
            0 => take(from)? + MAP,
            kind => kind,
        };
        let size = match bits {
            _ if kind == POINTER => bits,
            0..29 => bits,
            29 => 29 + take(from)?,
            30 => 285 + (take(from)? << 8 | take(from)?),
            _ => 65_821 + (take(from)? << 16 | take(from)? << 8 | take(from)?),
        };
        Some(Self { kind, size })
    }

    /// How long a pointer is behind its header, and where it leads.
    fn pointer(&self, bytes: &[u8]) -> (usize, Option<usize>) {
        let length = (self.size >> 3) + 1;
        let (high, base) = match length {
            1 => (self.size & 7, 0),
            2 => (self.size & 7, 2048),
            3 => (self.size & 7, 526_336),
            _ => (0, 0),
        };
        let target = bytes.get(..length).map(|bytes| {
            let number = bytes
                .iter()
                .fold(high, |number, byte| number << 8 | usize::from(*byte));
            number + base
        });
        (length, target)
    }
}

fn take(from: &mut &[u8]) -> Option<usize> {
    let (first, rest) = from.split_first()?;
    *from = rest;
    Some(usize::from(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many pairs as are not too many, and one more.
    const PAIRS: usize = (MOST_VALUES - 1) / 2;

    /// A map of so many pairs of empty texts.
    fn map(pairs: usize) -> Vec<u8> {
        let header = match u8::try_from(pairs - 29) {
            Ok(size) => vec![0xfd, size],
            Err(_) => [&[0xfe][..], &u16::try_from(pairs - 285).unwrap().to_be_bytes()].concat(),
        };
        [header, [0x40].repeat(2 * pairs)].concat()
    }

    #[test]
    fn values_are_counted_wherever_they_are() {
        assert!(!is_too_heavy(&map(PAIRS), 0));
        assert!(is_too_heavy(&map(PAIRS + 1), 0));
        // A long text is one value, and what is behind it is found.
        let behind = |pairs| [&[0x02, 0x04, 0x5e, 0, 0][..], &[b'a'; 285], &map(pairs)].concat();
        assert!(!is_too_heavy(&behind(PAIRS - 1), 0));
        assert!(is_too_heavy(&behind(PAIRS), 0));
    }

    #[test]
    fn a_pointer_counts_as_what_it_leads_to() {
        // A map, its key, and a map as its value, by a pointer; the same with an array in which it is twice.
        let once = |pairs| [&[0xe1, 0x40, 0x20, 4][..], &map(pairs)].concat();
        assert!(!is_too_heavy(&once(PAIRS - 1), 0));
        assert!(is_too_heavy(&once(PAIRS), 0));
        let twice = |pairs| [&[0x02, 0x04, 0x20, 6, 0x20, 6][..], &map(pairs)].concat();
        assert!(!is_too_heavy(&twice(PAIRS / 2), 0));
        assert!(is_too_heavy(&twice(PAIRS / 2 + 1), 0));
        // Keys by pointers, as MaxMind writes them.
        let mut keys = vec![0xfe];
        keys.extend(u16::try_from(PAIRS - 285).unwrap().to_be_bytes());
        keys.extend([0x20, 5, 0x40].repeat(PAIRS));
        assert!(!is_too_heavy(&keys, 0));
    }

    #[test]
    fn pointers_of_every_length_are_followed() {
        for (pointer, target) in [
            (&[0x27, 0xff][..], 0x7ff),
            (&[0x28, 0, 1], 2049),
            (&[0x30, 0, 0, 1], 526_337),
            (&[0x38, 0, 9, 0, 0], 0x9_0000),
        ] {
            let mut data = pointer.to_vec();
            data.resize(target, 0);
            assert!(!is_too_heavy(&data, 0), "the control: nothing is there");
            data.extend(map(PAIRS + 1));
            assert!(is_too_heavy(&data, 0), "{pointer:x?}");
        }
    }

    #[test]
    fn loops_and_sizes_that_are_not_there_come_to_an_end() {
        assert!(is_too_heavy(&[0x20, 0], 0), "a pointer to itself");
        assert!(is_too_heavy(&[0x20, 2, 0x20, 0], 0), "two pointers to each other");
        assert!(is_too_heavy(&[0xe1, 0x40, 0x20, 0], 0), "a map in itself");
        assert!(is_too_heavy(&[0xff, 0xff, 0xff, 0xff], 0), "a map of 2^24 pairs");
        assert!(
            !is_too_heavy(&[0x5f, 0xff, 0xff, 0xff], 0),
            "a text of 2^24 bytes"
        );
        for damaged in [&[][..], &[0], &[0x3f], &[0xfe, 1], &[0xe1], &[0xe1, 0x40]] {
            assert!(!is_too_heavy(damaged, 0), "{damaged:x?}");
        }
        assert!(!is_too_heavy(&[0x40], 100), "behind the data");
    }
}
