//! Values of the form, written one behind the other. A text that was written before is pointed to.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Types of the form: the upper three bits of the byte before a value.
const POINTER: u8 = 1 << 5;
const TEXT: u8 = 2 << 5;
const NUMBER_16: u8 = 5 << 5;
const NUMBER: u8 = 6 << 5;
const MAP: u8 = 7 << 5;

/// Types that have three bits of zero there and a byte of their own behind the size, their number less seven.
const NUMBER_64: u8 = 9 - 7;
const LIST: u8 = 11 - 7;
const FLAG: u8 = 14 - 7;

/// Values that are written.
#[derive(Debug, Default)]
pub struct Data {
    bytes: Vec<u8>,
    /// Where each text is.
    texts: HashMap<Box<str>, u32, RandomState>,
}

impl Data {
    /// Where the next value will be. Beyond 4 GB, where no file can be, it stays there.
    pub fn end(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    /// All values.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All values.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// So many pairs of a text and a value follow, ascending.
    pub fn map(&mut self, pairs: u8) {
        self.bytes.push(MAP | pairs);
    }

    /// So many values follow.
    pub fn list(&mut self, values: u8) {
        self.bytes.extend([values, LIST]);
    }

    pub fn flag(&mut self, value: bool) {
        self.bytes.extend([u8::from(value), FLAG]);
    }

    pub fn number_16(&mut self, value: u16) {
        self.short(NUMBER_16, &value.to_be_bytes());
    }

    pub fn number(&mut self, value: u32) {
        self.short(NUMBER, &value.to_be_bytes());
    }

    pub fn number_64(&mut self, value: u64) {
        let bytes = without_zeros(&value.to_be_bytes()).to_vec();
        self.bytes.extend([bytes.len() as u8, NUMBER_64]);
        self.bytes.extend(bytes);
    }

    fn short(&mut self, kind: u8, bytes: &[u8]) {
        let bytes = without_zeros(bytes);
        self.bytes.push(kind | bytes.len() as u8);
        self.bytes.extend(bytes);
    }

    /// A text, or a pointer to where it was written before.
    pub fn text(&mut self, text: &str) {
        if let Some(at) = self.texts.get(text) {
            let pointer = pointer(*at);
            if pointer.len() <= text.len() {
                self.bytes.extend(pointer);
                return;
            }
        } else {
            self.texts.insert(text.into(), self.end());
        }
        let size = text.len();
        match size {
            0..29 => self.bytes.push(TEXT | size as u8),
            29..285 => self.bytes.extend([TEXT | 29, (size - 29) as u8]),
            285..65_821 => {
                self.bytes.push(TEXT | 30);
                self.bytes.extend(((size - 285) as u16).to_be_bytes());
            }
            _ => {
                self.bytes.push(TEXT | 31);
                self.bytes.extend(&((size - 65_821) as u32).to_be_bytes()[1..]);
            }
        }
        self.bytes.extend(text.bytes());
    }

    /// The value that was written there.
    pub fn again(&mut self, at: u32) {
        self.bytes.extend(pointer(at));
    }
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// Two bits of the first byte say how many bytes follow, which have the rest of the number that the first byte begins. Each size
/// begins counting where the one before it ends.
fn pointer(at: u32) -> Vec<u8> {
    const TWO: u32 = 1 << 11;
    const THREE: u32 = TWO + (1 << 19);
    const FOUR: u32 = THREE + (1 << 27);
    let (size, rest) = match at {
        0..TWO => (0, at),
        TWO..THREE => (1, at - TWO),
        THREE..FOUR => (2, at - THREE),
        FOUR.. => (3, at),
    };
    let head = POINTER | (size << 3);
    let bytes = rest.to_be_bytes();
    match size {
        0 => vec![head | bytes[2], bytes[3]],
        1 => vec![head | bytes[1], bytes[2], bytes[3]],
        2 => vec![head | bytes[0], bytes[1], bytes[2], bytes[3]],
        _ => vec![head, bytes[0], bytes[1], bytes[2], bytes[3]],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_as_the_form_has_them() {
        for (at, expected) in [
            (0, &[0x20, 0][..]),
            (2047, &[0x27, 0xff]),
            (2048, &[0x28, 0, 0]),
            (526_335, &[0x2f, 0xff, 0xff]),
            (526_336, &[0x30, 0, 0, 0]),
            (134_744_063, &[0x37, 0xff, 0xff, 0xff]),
            (134_744_064, &[0x38, 0x08, 0x08, 0x08, 0x00]),
            (u32::MAX, &[0x38, 0xff, 0xff, 0xff, 0xff]),
        ] {
            assert_eq!(pointer(at), expected, "{at}");
        }
    }

    #[test]
    fn numbers_have_no_leading_zeros() {
        let mut data = Data::default();
        data.number(0);
        data.number(0x0102_0304);
        data.number_16(6);
        data.number_64(0x0100);
        data.flag(true);
        assert_eq!(data.bytes(), [0xc0, 0xc4, 1, 2, 3, 4, 0xa1, 6, 2, 2, 1, 0, 1, 7]);
    }

    #[test]
    fn a_text_is_written_once_unless_a_pointer_would_be_longer() {
        let mut data = Data::default();
        for text in ["ab", "ab", "c", "c", ""] {
            data.text(text);
        }
        assert_eq!(
            data.bytes(),
            [0x42, b'a', b'b', 0x20, 0, 0x41, b'c', 0x41, b'c', 0x40]
        );
    }

    #[test]
    fn long_texts_say_their_size_in_more_bytes() {
        for (size, expected) in [
            (28, &[0x5c][..]),
            (29, &[0x5d, 0]),
            (284, &[0x5d, 255]),
            (285, &[0x5e, 0, 0]),
            (65_820, &[0x5e, 255, 255]),
            (65_821, &[0x5f, 0, 0, 0]),
        ] {
            let mut data = Data::default();
            data.text(&"x".repeat(size));
            assert!(data.bytes().starts_with(expected), "{size}");
            assert_eq!(data.bytes().len(), expected.len() + size);
        }
    }
}
