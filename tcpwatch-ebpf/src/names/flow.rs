//! Flows that samples are expected of, and the marks of their ports.

use core::mem::{MaybeUninit, offset_of};

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tcpwatch_common::names::{FlowId, FlowState};
use tcpwatch_common::ports::{self, PortGroup, group};

use crate::maps::{FLOWS, PORTS};
use crate::parse::Key;
use crate::transport::Transport;

/// Words of a flow's identity.
const ID_WORDS: usize = size_of::<FlowId>() / size_of::<u32>();

/// The identity of a flow, word by word: the compiler would clear and copy it byte by byte.
#[inline(always)]
pub fn identity(
    place: &mut MaybeUninit<FlowId>,
    local: [u32; 4],
    remote: [u32; 4],
    ports: u32,
    protocol: u8,
    token: u64,
) -> &FlowId {
    let words = place.as_mut_ptr().cast::<u32>();
    let put = |index: usize, word: u32| {
        // SAFETY: inside the place, aligned for words.
        unsafe { words.add(index).write_volatile(word) };
    };
    put(0, local[0]);
    put(1, local[1]);
    put(2, local[2]);
    put(3, local[3]);
    put(4, remote[0]);
    put(5, remote[1]);
    put(6, remote[2]);
    put(7, remote[3]);
    put(8, ports);
    put(9, u32::from(protocol));
    put(10, token as u32);
    put(ID_WORDS - 1, (token >> 32) as u32);
    // SAFETY: every word was written just now.
    unsafe { place.assume_init_ref() }
}

const _: () = assert!(offset_of!(FlowId, ports) == 32 && offset_of!(FlowId, token) == 40);

/// Nanoseconds of the kernel's monotonic clock.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// The group that the local port of an outgoing packet is in, for one generation.
#[inline(always)]
pub fn port_group(odd: bool, transport: &Transport) -> Option<*mut PortGroup> {
    PORTS.get_ptr_mut(group(odd, transport.is_udp(), transport.local_port()))
}

/// That of an outgoing packet.
#[inline(always)]
pub fn outgoing<'a>(
    place: &'a mut MaybeUninit<FlowId>,
    key: &Key,
    ports: u32,
    protocol: u8,
    token: u64,
) -> &'a FlowId {
    identity(place, key.source, key.destination, ports, protocol, token)
}

/// Expects samples of a flow. Without room for it, there will be none.
#[inline(always)]
pub fn remember(id: &FlowId, start: u32, left: u32, since: u64) -> bool {
    FLOWS.insert(id, FlowState { since, start, left }, 0).is_ok()
}

/// Expects none any more.
#[inline(always)]
pub fn forget(id: &FlowId) {
    // It may have made room for another already.
    FLOWS.remove(id).unwrap_or(());
}

/// Marks a port in both generations, or takes the mark off. Not atomic: packets of neighbouring ports on two CPUs may undo each other's
/// mark, which costs a name, or a port's next packet the long way.
#[inline(always)]
pub fn expect(transport: &Transport, expected: bool) {
    let bit = ports::bit(transport.local_port());
    let mark = |odd| {
        if let Some(of) = port_group(odd, transport) {
            // SAFETY: a word of a map value.
            unsafe {
                let marks = &raw mut (*of).expected;
                let others = marks.read_volatile() & !bit;
                marks.write_volatile(if expected { others | bit } else { others });
            }
        }
    };
    mark(false);
    mark(true);
}
