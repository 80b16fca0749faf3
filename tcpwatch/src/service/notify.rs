//! What the service manager is told, by the datagrams of sd_notify(3). Without a manager, which NOTIFY_SOCKET names, nothing happens.
//!
//! Nothing here ever waits: a manager that does not read must not hold up a drain. What it cannot take is dropped.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

/// The shortest period of the watchdog that is kept: a beat more often would cost something.
const SHORTEST: Duration = Duration::from_millis(10);

static MANAGER: OnceLock<Option<Manager>> = OnceLock::new();

/// Packets are counted, and what is watched has been said.
pub fn ready() {
    tell("READY=1");
}

/// The configuration is read again, from now until [`ready`].
pub fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    tell(&format!(
        "RELOADING=1\nMONOTONIC_USEC={}",
        now.tv_sec * 1_000_000 + now.tv_nsec / 1000
    ));
}

/// The end has begun.
pub fn stopping() {
    tell("STOPPING=1");
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    tell(&format!("STATUS={}", line.replace('\n', " ")));
}

/// What came of an interval.
pub fn record(seq: u64, destinations: usize, lost: u64) {
    status(&format!("record {seq}: {destinations} destinations, {lost} lost"));
}

/// How often the manager wants to hear that this process lives: half of what it waits. None: it does not.
#[must_use]
pub fn watchdog_period() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    period(
        number("WATCHDOG_USEC"),
        number("WATCHDOG_PID"),
        std::process::id(),
    )
}

/// The variables may be of a parent: then they are not for us.
fn period(microseconds: Option<u64>, of: Option<u64>, ours: u32) -> Option<Duration> {
    let wanted = of.is_none_or(|of| of == u64::from(ours));
    let period = Duration::from_micros(microseconds.filter(|time| wanted && *time > 0)?) / 2;
    Some(period.max(SHORTEST))
}

/// The beat of the event loop, which it gives itself: where it hangs, there is none.
pub struct Heartbeat(Option<Interval>);

impl Heartbeat {
    /// As often as the manager wants it.
    #[must_use]
    pub fn start() -> Self {
        Self(watchdog_period().map(|period| {
            let mut beat = tokio::time::interval_at(Instant::now(), period);
            beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
            beat
        }))
    }

    /// Completes when one is due, and gives it.
    pub async fn beat(&mut self) {
        match &mut self.0 {
            Some(beat) => {
                beat.tick().await;
                tell("WATCHDOG=1");
            }
            None => std::future::pending().await,
        }
    }
}

struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    fn at(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    fn tell(&self, state: &str) -> io::Result<usize> {
        self.socket.send_to_addr(state.as_bytes(), &self.address)
    }
}

fn tell(state: &str) {
    let manager = MANAGER.get_or_init(|| {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        Manager::at(&name)
            .inspect_err(|error| tracing::warn!("the service manager is not told anything: {error}"))
            .ok()
    });
    if let Some(manager) = manager
        && let Err(error) = manager.tell(state)
    {
        tracing::debug!("the service manager did not take {state:?}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_it_bites_and_only_ours() {
        assert_eq!(period(Some(30_000_000), None, 7), Some(Duration::from_secs(15)));
        assert_eq!(
            period(Some(30_000_000), Some(7), 7),
            Some(Duration::from_secs(15))
        );
        assert_eq!(period(Some(30_000_000), Some(8), 7), None);
        assert_eq!(period(Some(0), None, 7), None);
        assert_eq!(period(None, None, 7), None);
        assert_eq!(period(Some(1), None, 7), Some(SHORTEST));
    }

    #[test]
    fn a_manager_gets_whole_datagrams_and_one_that_reads_nothing_holds_up_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let manager = Manager::at(path.as_os_str()).unwrap();
        manager.tell("READY=1").unwrap();
        let mut buffer = [0; 64];
        let length = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        let full = (0..10_000).find_map(|_| manager.tell("WATCHDOG=1").err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_manager_may_have_an_abstract_name() {
        let name = format!("tcpwatch-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        let manager = Manager::at(OsStr::new(&format!("@{name}"))).unwrap();
        manager.tell("STOPPING=1").unwrap();
        let mut buffer = [0; 64];
        let length = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"STOPPING=1");
    }
}
