//! The bell by which the programs wake the daemon when tables or samples become many.

use std::io;

use aya::maps::{MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A ring buffer with nothing in it but that it has something.
#[derive(Debug)]
pub struct Bell {
    ring: AsyncFd<Ring>,
}

struct Ring(RingBuf<MapData>);

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ring").finish_non_exhaustive()
    }
}

impl std::os::fd::AsRawFd for Ring {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

impl Bell {
    /// Must be called inside the runtime.
    pub(super) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        // SAFETY: the ring buffer owns its descriptor and keeps it for as long as it lives.
        let ring = unsafe { AsyncFd::register_with_interest(Ring(ring), Interest::READABLE) };
        Ok(Self { ring: ring? })
    }

    /// Waits until it is rung. Nothing is lost when the future is dropped.
    pub async fn rung(&mut self) {
        // Without the runtime's driver there is nothing to wait for any more: the daemon looks by itself from time to time.
        let Ok(mut ready) = self.ring.readable_mut().await else {
            return std::future::pending().await;
        };
        while ready.get_inner_mut().0.next().is_some() {}
        ready.clear_ready();
    }
}
