//! The bpf(2) calls that aya does not offer: batch operations, and a map of maps for the grace period.
//!
//! Thin: one function for each call, no policy. `unsafe` is here so that it is nowhere else.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use aya::Pod;
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_map_type};

/// How many entries a batch asks for at first; grown when one bucket holds more.
const FIRST_BATCH: usize = 4096;

/// # Safety
/// Every pointer in `attr` that the command uses must be valid for what the kernel reads and writes through it.
unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: `attr` is a whole, initialised bpf_attr; its pointers are the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn zeroed() -> bpf_attr {
    // SAFETY: a union of integers and structs of integers: all zero is a value of it.
    unsafe { MaybeUninit::<bpf_attr>::zeroed().assume_init() }
}

fn create_map(kind: bpf_map_type, inner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: the member of the union that BPF_MAP_CREATE uses.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    create.map_type = kind as u32;
    create.key_size = size_of::<u32>() as u32;
    create.value_size = size_of::<u32>() as u32;
    create.max_entries = 1;
    create.inner_map_fd = inner.map_or(0, |fd| fd.as_raw_fd() as u32);
    // SAFETY: the command uses no pointer.
    let fd = unsafe { bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr)? };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A private map of maps with one slot. Writing to it waits until every program that runs now has ended.
///
/// # Kernel
/// `maybe_wait_bpf_programs()`, kernel/bpf/syscall.c, since commit 1ae80cf31938 (4.20).
#[derive(Debug)]
pub struct GracePeriod {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl GracePeriod {
    /// Creates the map.
    ///
    /// # Errors
    /// What the kernel answers: no right to create maps, no memory.
    pub fn new() -> io::Result<Self> {
        let inner = create_map(bpf_map_type::BPF_MAP_TYPE_ARRAY, None)?;
        let outer = create_map(bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS, Some(inner.as_fd()))?;
        Ok(Self { outer, inner })
    }

    /// Blocks until no program run that began before the call is still going on: milliseconds, on a busy machine
    /// more than a tenth of a second.
    ///
    /// # Errors
    /// What the kernel answers. Then there was no grace period.
    pub fn wait(&self) -> io::Result<()> {
        let (slot, inner) = (0_u32, self.inner.as_raw_fd());
        let mut attr = zeroed();
        attr.__bindgen_anon_2.map_fd = self.outer.as_raw_fd() as u32;
        attr.__bindgen_anon_2.key = (&raw const slot) as u64;
        attr.__bindgen_anon_2.__bindgen_anon_1.value = (&raw const inner) as u64;
        // SAFETY: key and value point to the four bytes each that the map was made for.
        unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(|_| ())
    }
}

/// Reads every entry of a map that nobody writes. `K` and `V` must have the sizes the map was made with.
///
/// # Errors
/// What the kernel answers; what was read until then is given up.
///
/// # Kernel
/// BPF_MAP_LOOKUP_BATCH, 5.6.
pub fn read_all<K: Pod, V: Pod>(map: BorrowedFd<'_>, capacity: usize) -> io::Result<(Vec<K>, Vec<V>)> {
    let (mut keys, mut values) = (Vec::<K>::new(), Vec::<V>::new());
    let mut batch = FIRST_BATCH.min(capacity.max(1));
    // The kernel's cursor: opaque, four bytes for hash maps and arrays.
    let mut cursor: Option<u32> = None;
    loop {
        keys.reserve(batch);
        values.reserve(batch);
        let (mut next, begin) = (0_u32, cursor);
        let mut attr = zeroed();
        attr.batch.map_fd = map.as_raw_fd() as u32;
        attr.batch.in_batch = begin
            .as_ref()
            .map_or(0, |cursor| std::ptr::from_ref(cursor) as u64);
        attr.batch.out_batch = (&raw mut next) as u64;
        attr.batch.keys = keys.spare_capacity_mut().as_mut_ptr() as u64;
        attr.batch.values = values.spare_capacity_mut().as_mut_ptr() as u64;
        attr.batch.count = u32::try_from(batch).map_err(io::Error::other)?;
        // SAFETY: both buffers have room for `count` entries of the map's sizes; both cursors live until the return.
        let result = unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr) };
        let ended = match &result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                // One bucket holds more than the whole batch: the same place again, with more room.
                batch = batch.saturating_mul(2);
                continue;
            }
            Err(_) => return result.map(|_| (keys, values)),
        };
        // SAFETY: the member that the kernel wrote; valid for success and ENOENT, which is the end.
        let count = unsafe { attr.batch.count } as usize;
        // SAFETY: the kernel wrote `count` entries behind the old length of both.
        unsafe {
            keys.set_len(keys.len() + count);
            values.set_len(values.len() + count);
        }
        if ended {
            return Ok((keys, values));
        }
        cursor = Some(next);
    }
}

/// Removes the entries with these keys. Returns how many were removed; fewer than asked for comes with the error.
///
/// # Kernel
/// BPF_MAP_DELETE_BATCH, 5.6.
pub fn delete_all<K: Pod>(map: BorrowedFd<'_>, keys: &[K]) -> (usize, io::Result<()>) {
    let Ok(count) = u32::try_from(keys.len()) else {
        return (0, Err(io::Error::from(io::ErrorKind::InvalidInput)));
    };
    if count == 0 {
        return (0, Ok(()));
    }
    let mut attr = zeroed();
    attr.batch.map_fd = map.as_raw_fd() as u32;
    attr.batch.keys = keys.as_ptr() as u64;
    attr.batch.count = count;
    // SAFETY: `keys` has `count` keys of the map's size.
    let result = unsafe { bpf(bpf_cmd::BPF_MAP_DELETE_BATCH, &mut attr) };
    // SAFETY: the member that the kernel wrote: how many were removed, also when it failed in between.
    let removed = unsafe { attr.batch.count } as usize;
    match result {
        // A call that failed before it began has not touched the number it was given.
        Err(error) if removed >= keys.len() => (0, Err(error)),
        result => (removed.min(keys.len()), result.map(|_| ())),
    }
}

/// Ids of the programs on one of an interface's TCX hooks, in the order in which they run.
///
/// # Errors
/// The kernel has no TCX, or the interface is gone.
///
/// # Kernel
/// BPF_PROG_QUERY with BPF_TCX_EGRESS or BPF_TCX_INGRESS, since commit e420bed02507 (6.6).
pub fn tcx_programs(ifindex: u32, ingress: bool) -> io::Result<Vec<u32>> {
    /// BPF_MPROG_MAX (kernel/bpf/mprog.c): no hook has more.
    const MOST: usize = 64;
    let mut ids = [0_u32; MOST];
    let mut attr = zeroed();
    attr.query.__bindgen_anon_1.target_ifindex = ifindex;
    attr.query.attach_type = if ingress {
        bpf_attach_type::BPF_TCX_INGRESS as u32
    } else {
        bpf_attach_type::BPF_TCX_EGRESS as u32
    };
    attr.query.prog_ids = ids.as_mut_ptr() as u64;
    attr.query.__bindgen_anon_2.count = MOST as u32;
    // SAFETY: `prog_ids` has room for `count` ids.
    unsafe { bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr)? };
    // SAFETY: the member that the kernel wrote.
    let count = unsafe { attr.query.__bindgen_anon_2.count } as usize;
    Ok(ids.into_iter().take(count).collect())
}
