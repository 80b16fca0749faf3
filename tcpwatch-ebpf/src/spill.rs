//! The tables behind the front table, which all CPUs share: the spill and the ban counters.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::maps::lpm_trie;
use tcpwatch_common::front::Lane;
use tcpwatch_common::{Address, BAN_IPV6, Counts, FlowKey, POLICY_BANS, Policy, Traffic};

use crate::atomic;
use crate::bell;
use crate::maps::Side;
use crate::parse::Key;

const ADDRESS_BITS: u32 = size_of::<Address>() as u32 * 8;

/// Adds to a destination of the spill, if it is there.
#[inline(always)]
pub fn add_to_known(side: &Side, key: &FlowKey, traffic: Traffic) -> bool {
    let known = side.spill.get_ptr_mut(key);
    if let Some(sum) = known {
        // SAFETY: points to a map value, which is 8-byte aligned and lives as long as the program runs.
        unsafe {
            add_shared(&raw mut (*sum).counts, traffic.counts);
            if traffic.tcp_connections | traffic.quic_connections != 0 {
                atomic::add(&raw mut (*sum).tcp_connections, traffic.tcp_connections);
                atomic::add(&raw mut (*sum).quic_connections, traffic.quic_connections);
            }
        }
    }
    known.is_some()
}

/// Adds to a destination of the spill, which it makes if it is not there. False: there is no room (or no memory).
#[inline(always)]
pub fn put(side: &Side, lane: *mut Lane, key: &FlowKey, traffic: Traffic) -> bool {
    if add_to_known(side, key, traffic) {
        return true;
    }
    if side.spill.insert(key, traffic, u64::from(BPF_NOEXIST)).is_ok() {
        // Atomic for PREEMPT_RT, and entries are rarely made.
        // SAFETY: a word of a map value.
        let (made, step) = unsafe {
            atomic::add(&raw mut (*lane).spilled, 1);
            ((*lane).spilled, (*lane).spill_step)
        };
        if made & step == 0 {
            bell::ring();
        }
        return true;
    }
    // Another CPU may have been first with the same key.
    add_to_known(side, key, traffic)
}

/// Answer of [`ban`]: in none. A number, not an option: the compiler would keep what an empty option has in it, which the verifier
/// does not let it read.
pub const NOT_BANNED: u32 = u32::MAX;

/// Number of the banned prefix that the destination is in.
#[inline(always)]
pub fn ban(side: &Side, policy: &Policy, key: &Key) -> u32 {
    if policy.flags & POLICY_BANS == 0 {
        return NOT_BANNED;
    }
    let Some(ban) = side
        .bans
        .get(lpm_trie::Key::new(ADDRESS_BITS, key.flow().destination))
    else {
        return NOT_BANNED;
    };
    // ::/0 and its like contain the mapped form of every IPv4 address, but do not mean it.
    if key.is_ipv4() && *ban & BAN_IPV6 != 0 {
        NOT_BANNED
    } else {
        *ban & !BAN_IPV6
    }
}

/// Adds to a banned prefix.
#[inline(always)]
pub fn add_to_ban(side: &Side, ban: u32, counts: Counts) {
    if let Some(sum) = side.ban_counts.get_ptr_mut(ban) {
        add_shared(sum, counts);
    }
}

/// Adds to a value that all CPUs share.
#[inline(always)]
pub fn add_shared(sum: *mut Counts, counts: Counts) {
    // SAFETY: points to a map value, whose two words are 8-byte aligned and live as long as the program runs.
    unsafe {
        atomic::add(&raw mut (*sum).packets, counts.packets);
        atomic::add(&raw mut (*sum).bytes, counts.bytes);
    }
}
