//! A stream put together from pieces that come in any order, more than once, or not at all.

use std::ops::Range;

/// Separate stretches that are held at most: clients that scatter their hello on purpose make some dozens (Chromium's
/// chaos protection).
const MOST_STRETCHES: usize = 128;

/// The beginning of a stream.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// From the stream's first byte on; what has not come is zero.
    bytes: Vec<u8>,
    /// What has come, in order, not touching one another.
    stretches: Vec<Range<usize>>,
}

/// A piece reaches beyond the end, or there are too many holes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Pieces {
    /// Puts `piece` at `offset` of a stream of which `limit` bytes may be held. Of what comes twice the later is kept.
    pub(super) fn insert(&mut self, offset: usize, piece: &[u8], limit: usize) -> Result<(), Full> {
        let end = offset
            .checked_add(piece.len())
            .filter(|end| *end <= limit)
            .ok_or(Full)?;
        if piece.is_empty() {
            return Ok(());
        }
        // Those that it touches become one with it.
        let from = self.stretches.partition_point(|stretch| stretch.end < offset);
        let to = self.stretches.partition_point(|stretch| stretch.start <= end);
        if from == to && self.stretches.len() >= MOST_STRETCHES {
            return Err(Full);
        }
        let touched = &self.stretches[from..to];
        let start = touched.first().map_or(offset, |first| first.start.min(offset));
        let reach = touched.last().map_or(end, |last| last.end.max(end));
        self.stretches.splice(from..to, std::iter::once(start..reach));
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(piece);
        Ok(())
    }

    /// What is there without a hole from the first byte on.
    pub(super) fn beginning(&self) -> &[u8] {
        match self.stretches.first() {
            Some(first) if first.start == 0 => &self.bytes[..first.end],
            _ => &[],
        }
    }

    /// Takes away the first `count` bytes, which have come: the stream begins after them.
    pub(super) fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.beginning().len());
        self.bytes.drain(..count);
        for stretch in &mut self.stretches {
            *stretch = stretch.start.saturating_sub(count)..stretch.end.saturating_sub(count);
        }
        self.stretches.retain(|stretch| !stretch.is_empty());
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The memory in use, in bytes.
    pub(super) fn size(&self) -> usize {
        self.bytes.capacity() + self.stretches.capacity() * size_of::<Range<usize>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_gives_the_same() {
        let text = b"abcdefghij";
        let mut orders = vec![
            [(0, 3), (3, 5), (5, 10)],
            [(5, 10), (0, 3), (3, 5)],
            [(3, 5), (5, 10), (0, 3)],
        ];
        orders.push([(2, 9), (0, 4), (4, 10)]);
        orders.push([(4, 10), (4, 10), (0, 4)]);
        for order in orders {
            let mut pieces = Pieces::default();
            for (from, to) in order {
                pieces.insert(from, &text[from..to], 10).unwrap();
            }
            assert_eq!(pieces.beginning(), text, "{order:?}");
        }
    }

    #[test]
    fn what_is_behind_a_hole_waits() {
        let mut pieces = Pieces::default();
        pieces.insert(4, b"ef", 10).unwrap();
        assert_eq!(pieces.beginning(), b"");
        pieces.insert(0, b"ab", 10).unwrap();
        assert_eq!(pieces.beginning(), b"ab");
        pieces.advance(1);
        assert_eq!(pieces.beginning(), b"b");
        pieces.insert(1, b"cd", 10).unwrap();
        assert_eq!(pieces.beginning(), b"bcdef");
        pieces.advance(5);
        assert!(pieces.is_empty() && pieces.stretches.is_empty());
    }

    #[test]
    fn is_bounded() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.insert(8, b"abc", 10), Err(Full));
        assert_eq!(pieces.insert(usize::MAX, b"abc", 10), Err(Full));
        for stretch in 0..MOST_STRETCHES {
            pieces.insert(2 * stretch, b"a", 1000).unwrap();
        }
        assert_eq!(pieces.insert(2 * MOST_STRETCHES, b"a", 1000), Err(Full));
        // What fills a hole is welcome.
        pieces.insert(1, b"a", 1000).unwrap();
        pieces.insert(2 * MOST_STRETCHES, b"a", 1000).unwrap();
        assert_eq!(pieces.beginning(), b"aaa");
        assert!(pieces.size() < 8192);
    }
}
