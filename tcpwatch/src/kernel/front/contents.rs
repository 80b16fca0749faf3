//! What slots of the front table mean.

use tcpwatch_common::front::{
    BANNED, Opened, OpenedSet, SOURCE_NUMBERS, SOURCE_SHIFT, Slot4, Slot6, WAYS, unpack,
};
use tcpwatch_common::{Address, Counts, FlowKey, SourceKey, Traffic, mapped};

/// Own sources by their numbers in a generation's slots.
pub type Numbers = Vec<SourceKey>;

/// What a generation's front table holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// Counted destinations.
    pub destinations: Vec<(FlowKey, Traffic)>,
    /// Banned destinations.
    pub banned: Vec<(Address, Counts)>,
}

impl Contents {
    /// A set of IPv4 destinations.
    pub(super) fn add_set4(
        &mut self,
        slots: [Slot4; WAYS],
        opened: OpenedSet,
        secret: u64,
        numbers: &Numbers,
    ) {
        let used = slots
            .into_iter()
            .zip(opened.slots)
            .filter(|(slot, _)| slot.key != 0);
        for (slot, opened) in used {
            let key = slot.key ^ secret;
            let number = (key >> SOURCE_SHIFT) as u32 & (SOURCE_NUMBERS - 1);
            self.add(
                mapped((key as u32).to_be_bytes()),
                key & BANNED != 0,
                numbers.get(number as usize),
                (slot.packed, opened),
            );
        }
    }

    /// A set of IPv6 destinations.
    pub(super) fn add_set6(&mut self, slots: [Slot6; WAYS], opened: OpenedSet, numbers: &Numbers) {
        let used = slots
            .into_iter()
            .zip(opened.slots)
            .filter(|(slot, _)| slot.tag != 0);
        for (slot, opened) in used {
            let number = slot.tag as u32 & (SOURCE_NUMBERS - 1);
            self.add(
                address(slot.destination),
                slot.tag & BANNED != 0,
                numbers.get(number as usize),
                (slot.packed, opened),
            );
        }
    }

    fn add(
        &mut self,
        destination: Address,
        banned: bool,
        source: Option<&SourceKey>,
        (packed, opened): (u64, Opened),
    ) {
        let counts = unpack(packed);
        if counts == Counts::default() {
            // Emptied on the way, when it was full, with its connections.
        } else if banned {
            self.banned.push((destination, counts));
        } else if let Some(source) = source {
            let key = FlowKey {
                destination,
                source: source.address,
                ifindex: source.ifindex,
            };
            let traffic = Traffic {
                counts,
                tcp_connections: opened.tcp.into(),
                quic_connections: opened.quic.into(),
            };
            self.destinations.push((key, traffic));
        }
    }
}

fn address(words: [u64; 2]) -> Address {
    let mut address = Address::default();
    for (bytes, word) in address.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    address
}
