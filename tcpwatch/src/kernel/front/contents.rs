//! What slots of the front table mean.

use tcpwatch_common::front::{
    BANNED, Beside, BesideSet, Slot4, Slot6, USUAL, WAYS, counted, unpack, unusual_number, usual_index,
    usual_number,
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
    /// A set of IPv4 destinations. `secret`: what all of them are mixed with.
    pub(super) fn add_set4(
        &mut self,
        slots: [Slot4; WAYS],
        beside: BesideSet,
        secret: u64,
        numbers: &Numbers,
    ) {
        let used = slots.into_iter().zip(beside.slots).filter(|(slot, _)| *slot != 0);
        for (slot, beside) in used {
            let destination = mapped(((slot ^ secret) as u32).to_be_bytes());
            self.add(destination, slot, source_number(slot, true), beside, numbers);
        }
    }

    /// A set of IPv6 destinations.
    pub(super) fn add_set6(&mut self, slots: [Slot6; WAYS], beside: BesideSet, numbers: &Numbers) {
        let used = slots
            .into_iter()
            .zip(beside.slots)
            .filter(|(slot, _)| slot.slot != 0);
        for (Slot6 { destination, slot }, beside) in used {
            self.add(
                address(destination),
                slot,
                source_number(slot, false),
                beside,
                numbers,
            );
        }
    }

    /// A destination that is counted in `slot`, for the source with this number.
    fn add(&mut self, destination: Address, slot: u64, number: u32, beside: Beside, numbers: &Numbers) {
        let mut counts = unpack(beside.packed);
        if slot & USUAL != 0 {
            counts.add(unpack(counted(slot)));
        }
        if counts == Counts::default() {
            // Emptied on the way, when it was full, with its connections.
        } else if slot & BANNED != 0 {
            self.banned.push((destination, counts));
        } else if let Some(source) = numbers.get(number as usize) {
            let key = FlowKey {
                destination,
                source: source.address,
                ifindex: source.ifindex,
            };
            let traffic = Traffic {
                counts,
                tcp_connections: beside.tcp.into(),
                quic_connections: beside.quic.into(),
            };
            self.destinations.push((key, traffic));
        }
    }
}

/// The number of the source that a slot is counted for.
const fn source_number(slot: u64, is_ipv4: bool) -> u32 {
    if slot & USUAL == 0 {
        unusual_number(slot)
    } else {
        usual_number(is_ipv4, usual_index(slot))
    }
}

fn address(words: [u64; 2]) -> Address {
    let mut address = Address::default();
    for (bytes, word) in address.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    address
}
