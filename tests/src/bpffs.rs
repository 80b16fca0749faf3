//! A BPF file system of a test's own: `ip netns exec` hides the machine's, and what is pinned must not outlive the test.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::{io, ptr};

use crate::note;

/// Mounted on a directory of its own; unmounted, with all that is pinned in it, when dropped.
#[derive(Debug)]
pub struct BpfFs(tempfile::TempDir);

impl BpfFs {
    /// Mounts it.
    ///
    /// # Panics
    ///
    /// Without root, or when the kernel refuses.
    #[must_use]
    pub fn mount() -> Self {
        let bpffs = Self(tempfile::tempdir().expect("there is room"));
        let place = bpffs.place();
        // Not by a program: an emulated machine has none for it.
        // SAFETY: terminated strings.
        let mounted =
            unsafe { libc::mount(c"bpf".as_ptr(), place.as_ptr(), c"bpf".as_ptr(), 0, ptr::null()) };
        assert_eq!(mounted, 0, "mount: {}", io::Error::last_os_error());
        bpffs
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn place(&self) -> CString {
        CString::new(self.path().as_os_str().as_bytes()).expect("no zero in a path")
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        // SAFETY: a terminated string.
        let gone = unsafe { libc::umount2(self.place().as_ptr(), libc::MNT_DETACH) };
        if gone != 0 {
            note(format_args!(
                "the BPF file system stays: {}",
                io::Error::last_os_error()
            ));
        }
    }
}
