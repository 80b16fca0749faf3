//! Network namespaces of a thread's own: what is tried there disturbs nobody, and is gone when the thread is. And the one
//! socket option that is needed there.

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::panic::resume_unwind;
use std::thread;

/// Does `work` in a thread of its own, which [`enter`] may be called in.
///
/// # Panics
/// When `work` does.
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Puts the calling thread, and no other, into a new network namespace. It lives as long as the thread stays, the answer is
/// open, or a socket that was made in it is.
///
/// # Errors
/// No right to (CAP_SYS_ADMIN), or as many namespaces as the system allows.
pub fn enter() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer, and changes the calling thread only.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Has the kernel cut every following datagram into packets of `bytes` of payload, as late as it can.
///
/// # Errors
/// What the kernel answers.
///
/// # Kernel
/// UDP_SEGMENT, commit bec1f6f69736 (4.18).
pub fn cut_datagrams(socket: &UdpSocket, bytes: u16) -> io::Result<()> {
    let value = libc::c_int::from(bytes);
    // SAFETY: pointer and length are those of `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
