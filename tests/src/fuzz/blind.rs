//! Changes that know nothing of the format.

use super::Random;

/// Flips some bits.
pub fn bits(input: &mut [u8], random: &mut Random) {
    for _ in 0..=random.below(8) {
        if !input.is_empty() {
            let at = random.below(input.len());
            input[at] ^= 1 << random.below(8);
        }
    }
}

/// Another byte, often one with which counting ends.
pub fn byte(input: &mut [u8], random: &mut Random) {
    if !input.is_empty() {
        let at = random.below(input.len());
        let any = random.byte();
        input[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff, any]);
    }
}

/// A piece of `other`, over what was there or between it.
pub fn splice(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    if other.is_empty() || input.is_empty() {
        return;
    }
    let from = random.below(other.len());
    let length = random.below((other.len() - from).min(200)) + 1;
    let piece = other[from..].iter().take(length).copied();
    let at = random.below(input.len());
    if random.below(2) == 0 {
        let piece: Vec<u8> = piece.collect();
        put(input, at, &piece);
    } else {
        input.splice(at..at, piece);
    }
}

/// Takes a piece away.
pub fn remove(input: &mut Vec<u8>, random: &mut Random) {
    if !input.is_empty() {
        let at = random.below(input.len());
        let end = (at + 1 + random.below(64)).min(input.len());
        input.drain(at..end);
    }
}

/// Takes the end away.
pub fn cut(input: &mut Vec<u8>, random: &mut Random) {
    if !input.is_empty() {
        input.truncate(random.below(input.len()));
    }
}

/// Overwrites what is there, as far as it goes.
pub fn put(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (old, new) in input.iter_mut().skip(at).zip(bytes) {
        *old = *new;
    }
}
