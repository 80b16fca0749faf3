//! Samples of packets, in the ring buffer from which the daemon reads them.

use core::mem::offset_of;

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE};
use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use tcpwatch_common::front::Cpu;
use tcpwatch_common::names::{FlowId, LONG_BYTES, MOST_SAMPLES, SHORT_BYTES, Sample, SampleHead, SampleKind};

use super::flow;
use crate::atomic;
use crate::bell;
use crate::cpu::this_cpu;
use crate::maps::SAMPLES;
use crate::opaque::unknown;
use crate::parse::skb;

/// Which samples ask whether the daemon is to be woken: one in 64.
const BELL_STEP: u64 = 63;
/// Nearly a second, in a form that costs no division.
const SECOND_BITS: u32 = 30;

/// Puts the payload at `payload` into the ring buffer, if it may. `place`: its length, and where in the stream it is.
#[inline(always)]
pub fn take(ctx: &TcContext, kind: SampleKind, id: &FlowId, payload: u32, place: [u32; 2]) {
    let [bytes, offset] = place;
    if let Some(cpu) = this_cpu() {
        let taken = may_sample(cpu)
            && if bytes as usize <= SHORT_BYTES {
                put::<SHORT_BYTES>(ctx, kind, id, payload, bytes, offset)
            } else {
                put::<LONG_BYTES>(ctx, kind, id, payload, bytes, offset)
            };
        // SAFETY: this CPU's own. Atomic for PREEMPT_RT, and samples are seldom taken.
        unsafe {
            let sampling = &raw mut (*cpu).sampling;
            if taken {
                atomic::add(&raw mut (*sampling).taken, 1);
                if (*sampling).taken & BELL_STEP == 0 && is_filling() {
                    bell::ring();
                }
            } else {
                atomic::add(&raw mut (*sampling).dropped, 1);
            }
        }
    }
}

/// Whether a quarter of the ring buffer is waiting to be read.
#[inline(always)]
fn is_filling() -> bool {
    let waiting = SAMPLES.query(u64::from(BPF_RB_AVAIL_DATA));
    waiting >= SAMPLES.query(u64::from(BPF_RB_RING_SIZE)) / 4
}

/// Whether this CPU has taken fewer samples in this second than it may.
#[inline(always)]
fn may_sample(cpu: *mut Cpu) -> bool {
    let second = flow::now() >> SECOND_BITS;
    // SAFETY: this CPU's own.
    unsafe {
        let sampling = &raw mut (*cpu).sampling;
        if (*sampling).second != second {
            (*sampling).second = second;
            (*sampling).used = 0;
        }
        (*sampling).used += 1;
        (*sampling).used <= MOST_SAMPLES
    }
}

#[inline(always)]
fn put<const ROOM: usize>(
    ctx: &TcContext,
    kind: SampleKind,
    id: &FlowId,
    payload: u32,
    bytes: u32,
    offset: u32,
) -> bool {
    let Some(mut entry) = SAMPLES.reserve::<Sample<ROOM>>(0) else {
        return false;
    };
    // As the verifier understands it: from 1 to `ROOM`.
    let copied = unknown(bytes.wrapping_sub(1)).min(ROOM as u32 - 1) + 1;
    let sample = entry.as_mut_ptr();
    // SAFETY: inside the entry, which has room for `ROOM` bytes of payload.
    let failed = unsafe {
        let head = &raw mut (*sample).head;
        (*head).kind = kind as u32;
        (*head).bytes = copied;
        (*head).payload_bytes = bytes;
        (*head).offset = offset;
        let words = core::ptr::from_ref(id).cast::<u32>();
        let to = (&raw mut (*head).local_port).cast::<u32>();
        // Ports, then both addresses: the other way round than the identity has them.
        to.write_volatile(words.add(8).read_volatile());
        let mut word = 0;
        while word < 8 {
            to.add(1 + word).write_volatile(words.add(word).read_volatile());
            word += 1;
        }
        bpf_skb_load_bytes(
            skb(ctx).cast(),
            payload,
            (&raw mut (*sample).payload).cast(),
            copied,
        )
    };
    if failed == 0 {
        // The daemon looks by itself: waking it each time would cost the packets.
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
        true
    } else {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
        false
    }
}

const _: () = {
    assert!(offset_of!(SampleHead, local_port) == 16);
    assert!(offset_of!(SampleHead, local) == 20 && offset_of!(SampleHead, remote) == 36);
};
