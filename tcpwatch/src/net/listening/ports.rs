//! Sets of ports, in the form in which the kernel's side has them.

use std::fmt::{self, Debug, Formatter};

/// Words of 32 ports each.
const WORDS: usize = 65_536 / 32;

/// A set of ports: 8 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet(Box<[u32; WORDS]>);

impl Default for PortSet {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl PortSet {
    /// Adds a port.
    pub fn insert(&mut self, port: u16) {
        self.0[word(port)] |= bit(port);
    }

    /// Takes a port out.
    pub fn remove(&mut self, port: u16) {
        self.0[word(port)] &= !bit(port);
    }

    /// Whether a port is in it.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0[word(port)] & bit(port) != 0
    }

    /// Whether no port is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Its ports, the lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..=u16::MAX).filter(|port| self.contains(*port))
    }

    /// Port n is bit n % 32 of word n / 32, counted from the lowest.
    #[must_use]
    pub const fn words(&self) -> &[u32; WORDS] {
        &self.0
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<T: IntoIterator<Item = u16>>(ports: T) -> Self {
        let mut set = Self::default();
        for port in ports {
            set.insert(port);
        }
        set
    }
}

impl Debug for PortSet {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        to.debug_set().entries(self.iter()).finish()
    }
}

const fn word(port: u16) -> usize {
    port as usize / 32
}

const fn bit(port: u16) -> u32 {
    1 << (port % 32)
}

/// The ports that this host serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServedPorts {
    /// By TCP.
    pub tcp: PortSet,
    /// By UDP.
    pub udp: PortSet,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_bit_of_a_word() {
        let mut set: PortSet = [0, 443, 443, 65_535].into_iter().collect();
        assert_eq!(set.words()[0], 1);
        assert_eq!(set.words()[443 / 32], 1 << 27);
        assert_eq!(set.words()[2047], 1 << 31);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 443, 65_535]);
        for port in [0, 443, 65_535] {
            assert!(set.contains(port));
            set.remove(port);
        }
        assert!(set.is_empty() && set == PortSet::default());
    }
}
