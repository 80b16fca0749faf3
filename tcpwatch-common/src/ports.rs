//! Which local ports this host serves, and from which ones a connection was opened whose first data is still to come.

use crate::GENERATIONS;

/// The 32 ports that have the upper eleven bits in common.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortGroup {
    /// Ports that are served, by the lower five bits. The daemon writes it while the generation is the spare one.
    pub served: u32,
    /// Ports whose packets the sampling of names wants to see. The programs write it, in both generations.
    pub expected: u32,
}

/// Ports of a group.
pub const GROUP: u32 = 32;
/// Groups of a protocol.
pub const GROUPS: u32 = (1 << 16) / GROUP;
/// Groups of both protocols and generations.
pub const ALL_GROUPS: u32 = GROUPS * 2 * GENERATIONS as u32;

/// The group of a port (host order).
#[inline(always)]
pub const fn group(odd: bool, udp: bool, port: u16) -> u32 {
    (odd as u32 * 2 + udp as u32) * GROUPS + port as u32 / GROUP
}

/// The port's bit in its group.
#[inline(always)]
pub const fn bit(port: u16) -> u32 {
    1 << (port as u32 % GROUP)
}

/// The port's bit in both words of its group, read as one.
#[inline(always)]
pub const fn bit_of_either(port: u16) -> u64 {
    (1 << u32::BITS | 1) << (port as u32 % GROUP)
}

/// The port's bit among those of [`crate::front::Usual::served_ports`], which it has together with 1,023 others. The short way shifts by
/// the port's lower byte instead, of which an instruction takes as many bits.
#[inline(always)]
pub const fn summary_bit(port: u16) -> u64 {
    1 << (port % u64::BITS as u16)
}

const _: () = assert!(size_of::<PortGroup>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_the_same_bit_in_both_words_of_its_group() {
        for port in 0..=u16::MAX {
            let either = bit_of_either(port);
            assert_eq!([either as u32, (either >> u32::BITS) as u32], [bit(port); 2]);
        }
    }

    #[test]
    fn the_lower_byte_of_a_port_says_which_its_bit_in_the_summary_is() {
        for port in 0..=u16::MAX {
            assert_eq!(summary_bit(port), 1 << (port as u8 % 64));
        }
    }
}
