//! Bytes on their way from an encoder to an outlet, in pieces: a record of any size takes the memory of one of them.

use std::io;

/// How many bytes a piece has.
pub const PIECE_BYTES: usize = 64 << 10;

/// Takes the bytes of one record and hands them on whenever they fill a piece.
pub struct Pieces<'a> {
    piece: Vec<u8>,
    piece_bytes: usize,
    take: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
    /// A piece was not taken. What comes after it would be out of place.
    refused: bool,
}

impl<'a> Pieces<'a> {
    /// `take` gets the pieces in order, each of `piece_bytes` (at least 1) but the last; after its first error it is not
    /// called again, and all further bytes are refused.
    pub fn new(piece_bytes: usize, take: &'a mut dyn FnMut(&[u8]) -> io::Result<()>) -> Self {
        Self {
            piece: Vec::with_capacity(piece_bytes),
            piece_bytes,
            take,
            refused: false,
        }
    }

    /// Hands on what is left.
    ///
    /// # Errors
    ///
    /// It was not taken, or a piece before it.
    pub fn finish(mut self) -> io::Result<()> {
        self.hand_on()
    }

    fn hand_on(&mut self) -> io::Result<()> {
        if self.refused {
            return Err(io::Error::other("an earlier piece of the record was not taken"));
        }
        if !self.piece.is_empty() {
            let taken = (self.take)(&self.piece);
            self.refused = taken.is_err();
            taken?;
            self.piece.clear();
        }
        Ok(())
    }
}

impl io::Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() == self.piece_bytes || self.refused {
            self.hand_on()?;
        }
        let count = bytes.len().min(self.piece_bytes - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    // The encoders write a few bytes at a time: this is what most calls come to.
    #[inline]
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if !self.refused && bytes.len() <= self.piece_bytes - self.piece.len() {
            self.piece.extend_from_slice(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            let count = self.write(bytes)?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Does nothing: only full pieces and the last one are handed on.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn pieces_are_full_but_the_last_and_come_to_what_was_written() {
        let mut taken = Vec::new();
        let mut take = |piece: &[u8]| {
            taken.push(String::from_utf8(piece.to_vec()).unwrap());
            Ok(())
        };
        let mut pieces = Pieces::new(4, &mut take);
        for text in ["ab", "", "cde", "fghijklmn", "o"] {
            pieces.write_all(text.as_bytes()).unwrap();
        }
        pieces.flush().unwrap();
        pieces.finish().unwrap();
        assert_eq!(taken, ["abcd", "efgh", "ijkl", "mno"]);
    }

    #[test]
    fn without_bytes_there_is_no_piece() {
        let mut take = |_: &[u8]| panic!("nothing to take");
        Pieces::new(4, &mut take).finish().unwrap();
    }

    #[test]
    fn behind_a_piece_that_was_not_taken_nothing_is_handed_on() {
        let mut calls = 0;
        let mut take = |_: &[u8]| {
            calls += 1;
            Err(io::ErrorKind::StorageFull.into())
        };
        let mut pieces = Pieces::new(4, &mut take);
        pieces.write_all(b"abcd").unwrap();
        let error = pieces.write_all(b"e").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        pieces.write_all(b"f").unwrap_err();
        pieces.write_all(b"").unwrap();
        pieces.finish().unwrap_err();
        assert_eq!(calls, 1);
    }
}
