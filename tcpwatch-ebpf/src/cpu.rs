//! What belongs to the CPU that runs the program.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use tcpwatch_common::GENERATIONS;
use tcpwatch_common::front::{Cpu, Lane, Usual};
use tcpwatch_common::own::Source6;

use crate::maps::CPUS;
use crate::opaque::opaque;

/// What this CPU counts in.
#[inline(always)]
pub fn this_cpu() -> Option<*mut Cpu> {
    // SAFETY: no preconditions.
    CPUS.get_ptr_mut(unsafe { bpf_get_smp_processor_id() } as u32)
}

/// Reads a field where it is and with its width.
macro_rules! get {
    ($pointer:expr, $($field:tt)+) => {
        // SAFETY: points into a map value of that type.
        unsafe { (&raw const (*$pointer).$($field)+).read_volatile() }
    };
}
pub(crate) use get;

/// What a packet needs of `cpu` in the generation that `word` names, and its totals on the short way.
#[inline(always)]
pub fn usual(cpu: *mut Cpu, word: u64) -> *mut Usual {
    // SAFETY: inside the map value.
    of_generation(unsafe { &raw mut (*cpu).usual }, word)
}

/// The IPv6 source that has most packets.
#[inline(always)]
pub fn first6(cpu: *mut Cpu, word: u64) -> *mut Source6 {
    // SAFETY: inside the map value.
    of_generation(unsafe { &raw mut (*cpu).first6 }, word)
}

/// What was left out on the short way as banned.
#[inline(always)]
pub fn banned(cpu: *mut Cpu, word: u64) -> *mut u64 {
    // SAFETY: inside the map value.
    of_generation(unsafe { &raw mut (*cpu).banned }, word)
}

/// What was left out on the short way as of another source.
#[inline(always)]
pub fn other_source(cpu: *mut Cpu, word: u64) -> *mut u64 {
    // SAFETY: inside the map value.
    of_generation(unsafe { &raw mut (*cpu).other_source }, word)
}

/// The totals of `cpu` in the generation that `word` names.
#[inline(always)]
pub fn lane(cpu: *mut Cpu, word: u64) -> *mut Lane {
    // SAFETY: inside the map value.
    of_generation(unsafe { &raw mut (*cpu).lanes }, word)
}

/// The one of both that is for the generation that `word` names.
#[inline(always)]
fn of_generation<T>(both: *mut [T; GENERATIONS], word: u64) -> *mut T {
    let mut one = opaque(both.cast::<T>());
    if word.cast_signed() < 0 {
        // SAFETY: there are two.
        one = opaque(unsafe { one.add(1) });
    }
    one
}
