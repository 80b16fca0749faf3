//! Reading bytes from front to back. What is not there yet is told from what is wrong by the caller, who knows whether
//! more can come.

/// The rest of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// There are fewer bytes than wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Short;

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `length` bytes, or all that there are.
    pub(super) fn up_to(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Short> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_be_bytes)
    }

    /// The length of a vector of up to 2^16 - 1 bytes.
    pub(super) fn length(&mut self) -> Result<usize, Short> {
        self.u16().map(usize::from)
    }

    pub(super) fn u24(&mut self) -> Result<u32, Short> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_be_bytes)
    }

    /// An integer of variable length (RFC 9000 section 16).
    pub(super) fn varint(&mut self) -> Result<u64, Short> {
        let first = self.u8()?;
        let more = (1 << (first >> 6)) - 1;
        let bytes = self.take(more)?;
        Ok(bytes.iter().fold(u64::from(first & 0x3f), |value, byte| {
            value << 8 | u64::from(*byte)
        }))
    }

    /// The same as a number of bytes: what does not fit is more than there can be.
    pub(super) fn varint_length(&mut self) -> Result<usize, Short> {
        self.varint()
            .map(|value| usize::try_from(value).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_integers_of_rfc_9000_appendix_a_1() {
        for (bytes, value) in [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.varint(), Ok(value));
            assert!(reader.is_empty());
            assert_eq!(Reader::new(&bytes[..bytes.len() - 1]).varint(), Err(Short));
        }
    }

    #[test]
    fn never_reads_what_is_not_there() {
        let mut reader = Reader::new(b"abcd");
        assert_eq!(reader.take(5), Err(Short));
        assert_eq!(reader.u24(), Ok(0x0061_6263));
        assert_eq!(reader.u16(), Err(Short));
        assert_eq!(reader.up_to(usize::MAX), b"d");
        assert_eq!(reader.u8(), Err(Short));
    }
}
