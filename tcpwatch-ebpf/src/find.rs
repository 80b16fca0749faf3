//! Where a destination's slot is, on the short way.

use tcpwatch_common::front::{BANNED, SHIFT_AT, WAYS};

use crate::opaque::{shifted, wide};

/// Whether a slot of [`USUAL`](tcpwatch_common::front::USUAL) is that of `key`, banned or not.
#[inline(always)]
pub fn has(slot: u64, key: u64) -> bool {
    // The compiler would take a mask of 37 bits instead, which is a long instruction, or two.
    wide((slot ^ key) << (u64::BITS - BANNED.ilog2())) == 0
}

/// The same, and not banned.
#[inline(always)]
pub fn counts(slot: u64, key: u64) -> bool {
    wide((slot ^ key) << (u64::BITS - 1 - BANNED.ilog2())) == 0
}

/// As [`tcpwatch_common::front::slot_number`]: whatever is in the word above the number of bits is not looked at.
#[inline(always)]
pub fn slot_number(word: u64, multiplier: u64, key: u64) -> u64 {
    shifted(key.wrapping_mul(multiplier), word >> SHIFT_AT)
}

/// Which slot of its set has this number.
#[inline(always)]
pub const fn way(number: u64) -> usize {
    number as usize % WAYS
}

/// Moves the pointer from the first slot of a set to the one that the condition holds for; does the rest where there is none.
macro_rules! search {
    ($slot:ident, $is_it:expr, else $none:block) => {
        if !$is_it {
            // SAFETY: inside the set, here and below.
            $slot = opaque(unsafe { $slot.add(1) });
            if !$is_it {
                // SAFETY: see above.
                $slot = opaque(unsafe { $slot.add(1) });
                if !$is_it {
                    // SAFETY: see above.
                    $slot = opaque(unsafe { $slot.add(1) });
                    if !$is_it $none
                }
            }
        }
    };
}

/// Finds a destination's slot where it may be: `$slot` points to it and `$index` is its set. `$number` is that of the slot that is
/// looked at first, `$other` one of the other set, made of a copy of the word, so that nothing is kept in registers for few packets.
/// Most packets find the first one to be theirs, and not banned (`$counts`); of the others, `$is_it` is asked, and then `$banned`.
/// Where there is none, the packet goes the long way.
macro_rules! find {
    (
        $table:ident, $type:ty, $word:expr, $number:expr, $other:expr, $slot:ident, $index:ident,
        $counts:expr, $is_it:expr, $banned:expr
    ) => {
        let number = $number;
        $index = set($word, number);
        let Some(first) = $table.get_ptr_mut($index) else {
            return Done::No;
        };
        // SAFETY: inside the set.
        $slot = opaque(unsafe { first.cast::<$type>().add(way(number)) });
        if core::intrinsics::unlikely(!$counts) {
            $slot = opaque(first.cast());
            search!($slot, $is_it, else {
                $index = set($word, $other);
                let Some(second) = $table.get_ptr_mut($index) else {
                    return Done::No;
                };
                $slot = opaque(second.cast());
                search!($slot, $is_it, else { return Done::No });
            });
            if let Some(done) = $banned {
                return done;
            }
        }
    };
}
pub(crate) use {find, search};
