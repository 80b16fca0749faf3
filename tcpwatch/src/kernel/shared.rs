//! Kernel tables as memory of this process: array maps made with BPF_F_MMAPABLE.
//!
//! # Kernel
//! mmap of array maps: commit fc9702273e2e (5.5).

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use tcpwatch_common::front::{BesideSet, Cpu, Set4, Set6};
use tcpwatch_common::own::{Source4, Source6};
use tcpwatch_common::ports::PortGroup;

/// A struct of integers that an array map holds.
///
/// # Safety
/// `#[repr(C)]`, a size that is a multiple of 8, and every bit pattern, all zero above all, is a value.
pub unsafe trait Element: Copy {}

// SAFETY: integers only, sizes asserted in tcpwatch-common.
unsafe impl Element for Cpu {}
// SAFETY: as above.
unsafe impl Element for Set4 {}
// SAFETY: as above.
unsafe impl Element for Set6 {}
// SAFETY: as above.
unsafe impl Element for BesideSet {}
// SAFETY: as above.
unsafe impl Element for Source4 {}
// SAFETY: as above.
unsafe impl Element for Source6 {}
// SAFETY: as above.
unsafe impl Element for PortGroup {}

/// All elements of a map, until dropped. The kernel's programs write them at the same time: nothing here is ever borrowed.
#[derive(Debug)]
pub struct Shared<T> {
    start: NonNull<T>,
    len: usize,
    of: PhantomData<T>,
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl<T: Element> Send for Shared<T> {}

impl<T: Element> Shared<T> {
    /// Maps the `len` elements of a map.
    ///
    /// # Errors
    /// What the kernel answers: the map is another, or there is no memory.
    pub fn map(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at a place that the kernel chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self {
            start,
            len,
            of: PhantomData,
        })
    }

    /// Where an element is.
    ///
    /// # Panics
    /// When there is no such element.
    pub fn at(&self, index: usize) -> *mut T {
        assert!(index < self.len, "element {index} of {}", self.len);
        // SAFETY: inside the mapping.
        unsafe { self.start.as_ptr().add(index) }
    }

    /// A copy of an element. Parts of it may be older than others if it is being written.
    pub fn copy(&self, index: usize) -> T {
        // SAFETY: a valid place; any bit pattern is a value. Volatile: the kernel writes it.
        unsafe { self.at(index).read_volatile() }
    }

    /// Makes elements zero.
    ///
    /// # Panics
    /// When not all of them exist.
    pub fn clear(&self, first: usize, count: usize) {
        assert!(
            first + count <= self.len,
            "elements {first} + {count} of {}",
            self.len
        );
        // SAFETY: inside the mapping; zero is a value.
        unsafe { self.start.as_ptr().add(first).write_bytes(0, count) };
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping; no pointer into it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len * size_of::<T>()) };
    }
}

/// Stores a word at once, after everything that was written before.
///
/// # Safety
/// `word` must point into a mapping that lives, and be 8-byte aligned.
pub unsafe fn publish(word: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { AtomicU64::from_ptr(word) }.store(value, Ordering::Release);
}

/// So many random words from the kernel.
///
/// # Errors
/// It has none.
pub fn random<const N: usize>() -> io::Result<[u64; N]> {
    let mut words = [0_u64; N];
    let bytes = size_of_val(&words);
    // SAFETY: the buffer has so many bytes.
    let got = unsafe { libc::getrandom(words.as_mut_ptr().cast(), bytes, 0) };
    if got == bytes.cast_signed() {
        Ok(words)
    } else {
        Err(io::Error::last_os_error())
    }
}
