//! A relay of UDP datagrams, as proxies and tunnels are for QUIC: each client has a socket of its own to the target.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::names_lab::dns::asking;

/// How soon a thread looks whether the relay has ended.
const LOOK: Duration = Duration::from_millis(50);

/// The running relay. It ends with this value.
#[derive(Debug)]
pub struct Relay {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Carries what comes to `listening` to `target`, and the answers back. The sockets to the target are in the calling
    /// thread's namespace.
    ///
    /// # Panics
    ///
    /// When the socket cannot be shared between threads.
    pub fn start(listening: UdpSocket, target: SocketAddr) -> Self {
        listening.set_read_timeout(Some(LOOK)).expect("not zero");
        let ended = Arc::<AtomicBool>::default();
        let end = Arc::clone(&ended);
        let thread = thread::spawn(move || forth(&Arc::new(listening), target, &end));
        Self {
            ended,
            thread: Some(thread),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            crate::note(format_args!("the relay has panicked"));
        }
    }
}

fn forth(listening: &Arc<UdpSocket>, target: SocketAddr, ended: &Arc<AtomicBool>) {
    let mut upstreams = BTreeMap::<SocketAddr, Arc<UdpSocket>>::new();
    let mut threads = Vec::new();
    let mut datagram = vec![0; 1 << 16];
    while !ended.load(Ordering::SeqCst) {
        let Some((length, client)) = received(listening.recv_from(&mut datagram)) else {
            continue;
        };
        let upstream = upstreams.entry(client).or_insert_with(|| {
            let upstream = Arc::new(asking(target));
            upstream.set_read_timeout(Some(LOOK)).expect("not zero");
            let (from, to, ended) = (Arc::clone(&upstream), Arc::clone(listening), Arc::clone(ended));
            threads.push(thread::spawn(move || back(&from, &to, client, &ended)));
            upstream
        });
        deliver(upstream.send(&datagram[..length]));
    }
    for thread in threads {
        thread.join().expect("the way back does not panic");
    }
}

fn back(from: &UdpSocket, to: &UdpSocket, client: SocketAddr, ended: &AtomicBool) {
    let mut datagram = vec![0; 1 << 16];
    while !ended.load(Ordering::SeqCst) {
        if let Some(length) = received(from.recv(&mut datagram)) {
            deliver(to.send_to(&datagram[..length], client));
        }
    }
}

/// None when nothing came yet, or an ICMP error did.
fn received<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(received) => Some(received),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionRefused
            ) =>
        {
            None
        }
        Err(error) => panic!("relay: {error}"),
    }
}

/// A datagram that cannot be delivered is lost, as datagrams are.
fn deliver(result: io::Result<usize>) {
    if let Err(error) = result {
        crate::note(format_args!("relay: {error}"));
    }
}
