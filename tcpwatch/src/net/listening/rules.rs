//! Which of the sockets' ports are served, and for how long. Pure.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::ask::Socket;
use super::{PortOverride, PortSet, Protocol, ServedPorts};

/// A port stays served for so long after its listener is gone: a server that starts again still answers on connections that it
/// took before.
const LINGER: Duration = Duration::from_secs(60);

/// A UDP socket that chose its port must have it for so long. DNS resolvers choose their ports at random, too, but give them up
/// after seconds.
const SETTLED: Duration = Duration::from_secs(10);

/// The same for ports of the ephemeral range. Few servers have one of them, but WireGuard (51820) is among these.
const SETTLED_EPHEMERAL: Duration = Duration::from_secs(30);

/// The first port that any program may choose, in most configurations (`net.ipv4.ip_unprivileged_port_start`).
const UNPRIVILEGED: u16 = 1024;

/// When a port had a listener.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Since when, without a gap; none: longer than we look.
    since: Option<Instant>,
    last: Instant,
}

/// The rules, and what they remember: at most one entry for each port and protocol.
#[derive(Debug)]
pub(super) struct Rules {
    overrides: Vec<PortOverride>,
    listeners: HashMap<(Protocol, u16), Times>,
    /// Whether nothing was looked at yet.
    first: bool,
}

impl Rules {
    pub(super) fn new(overrides: Vec<PortOverride>) -> Self {
        Self {
            overrides,
            listeners: HashMap::new(),
            first: true,
        }
    }

    /// What is served at `now`, given the sockets and the ephemeral ports.
    ///
    /// - Sockets of loopback answer nobody through an interface.
    /// - TCP listeners are served whatever their port.
    /// - UDP sockets that had their port from the kernel are clients', and are not among `sockets`; one that chose it may be a
    ///   client's, too. So it is served once it is settled, or if it was there at the first look.
    /// - A port of the ephemeral range does not linger, because it may be a client's next.
    /// - Overrides have the last word, those that take away the very last.
    pub(super) fn served(
        &mut self,
        sockets: &[Socket],
        ephemeral: &RangeInclusive<u16>,
        now: Instant,
    ) -> ServedPorts {
        let since = (!std::mem::take(&mut self.first)).then_some(now);
        for socket in sockets.iter().filter(|socket| !socket.is_local()) {
            self.listeners
                .entry((socket.protocol, socket.port))
                .and_modify(|times| times.last = now)
                .or_insert(Times { since, last: now });
        }
        let mut served = ServedPorts::default();
        let lingers = |port, last| !ephemeral.contains(&port) && now.saturating_duration_since(last) < LINGER;
        self.listeners.retain(|&(protocol, port), times| {
            let had_for = times
                .since
                .map_or(Duration::MAX, |since| times.last.saturating_duration_since(since));
            let settled = had_for >= settling(protocol, port, ephemeral);
            if settled && (times.last == now || lingers(port, times.last)) {
                of(&mut served, protocol).insert(port);
                return true;
            }
            times.last == now
        });
        self.overrule(&mut served);
        served
    }

    fn overrule(&self, served: &mut ServedPorts) {
        for served_last in [true, false] {
            for rule in self.overrides.iter().filter(|rule| rule.served == served_last) {
                for protocol in Protocol::ALL {
                    if rule.protocol.is_none_or(|only| only == protocol) {
                        let ports = of(served, protocol);
                        if rule.served {
                            ports.insert(rule.port);
                        } else {
                            ports.remove(rule.port);
                        }
                    }
                }
            }
        }
    }
}

/// How long a socket must have had its port.
fn settling(protocol: Protocol, port: u16, ephemeral: &RangeInclusive<u16>) -> Duration {
    match protocol {
        Protocol::Udp if ephemeral.contains(&port) => SETTLED_EPHEMERAL,
        Protocol::Udp if port >= UNPRIVILEGED => SETTLED,
        Protocol::Tcp | Protocol::Udp => Duration::ZERO,
    }
}

const fn of(served: &mut ServedPorts, protocol: Protocol) -> &mut PortSet {
    match protocol {
        Protocol::Tcp => &mut served.tcp,
        Protocol::Udp => &mut served.udp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

    fn socket(protocol: Protocol, address: &str, port: u16) -> Socket {
        Socket {
            protocol,
            address: address.parse().unwrap(),
            port,
            interface: 0,
        }
    }

    fn tcp(address: &str, port: u16) -> Socket {
        socket(Protocol::Tcp, address, port)
    }

    fn udp(port: u16) -> Socket {
        socket(Protocol::Udp, "0.0.0.0", port)
    }

    fn shown(served: &ServedPorts) -> [Vec<u16>; 2] {
        [&served.tcp, &served.udp].map(|ports| ports.iter().collect())
    }

    struct Run {
        rules: Rules,
        start: Instant,
    }

    impl Run {
        fn new(overrides: &[&str]) -> Self {
            let overrides = overrides.iter().map(|text| text.parse().unwrap()).collect();
            Self {
                rules: Rules::new(overrides),
                start: Instant::now(),
            }
        }

        fn at(&mut self, second: u64, sockets: &[Socket]) -> [Vec<u16>; 2] {
            let now = self.start + Duration::from_secs(second);
            shown(&self.rules.served(sockets, &EPHEMERAL, now))
        }
    }

    #[test]
    fn what_listens_on_loopback_only_is_left_out() {
        let on_lo = Socket {
            interface: crate::net::LOOPBACK_INDEX,
            ..tcp("0.0.0.0", 6)
        };
        let sockets = [
            tcp("0.0.0.0", 443),
            tcp("127.0.0.1", 1),
            tcp("127.0.0.53", 2),
            tcp("::1", 3),
            tcp("::ffff:127.0.0.1", 4),
            tcp("::", 5),
            on_lo,
            tcp("127.0.0.1", 7),
            tcp("192.0.2.1", 7),
        ];
        assert_eq!(Run::new(&[]).at(0, &sockets), [vec![5, 7, 443], vec![]]);
    }

    #[test]
    fn a_port_lingers_for_a_minute() {
        let mut run = Run::new(&[]);
        let all = [tcp("::", 443), udp(443), tcp("::", 40_000)];
        assert_eq!(run.at(0, &all), [vec![443, 40_000], vec![443]]);
        assert_eq!(
            run.at(1, &[]),
            [vec![443], vec![443]],
            "an ephemeral one does not"
        );
        assert_eq!(run.at(59, &[]), [vec![443], vec![443]]);
        assert_eq!(run.at(60, &[]), [Vec::new(), Vec::<u16>::new()]);
        assert_eq!(run.at(61, &all), [vec![443, 40_000], vec![443]]);
    }

    #[test]
    fn a_udp_port_that_is_given_up_soon_was_none() {
        let mut run = Run::new(&[]);
        run.at(0, &[]);
        assert_eq!(
            run.at(1, &[udp(5000), udp(443)])[1],
            [443],
            "nobody gets 443 by chance"
        );
        assert_eq!(run.at(10, &[udp(5000)])[1], [443]);
        assert_eq!(run.at(11, &[udp(5000)])[1], [443, 5000]);
        assert_eq!(run.at(12, &[])[1], [443, 5000], "a server's lingers");
        assert_eq!(run.at(13, &[udp(5001)])[1], [443, 5000]);
        assert_eq!(run.at(14, &[])[1], [443, 5000]);
        assert_eq!(
            run.at(30, &[udp(5001), udp(5000)])[1],
            [443, 5000],
            "5001 begins anew, 5000 does not"
        );
    }

    #[test]
    fn an_ephemeral_udp_port_is_served_once_it_is_settled() {
        let mut run = Run::new(&[]);
        assert_eq!(
            run.at(0, &[udp(51_820)])[1],
            [51_820],
            "who knows how long it was there"
        );
        let both = [udp(51_820), udp(41_641)];
        assert_eq!(run.at(10, &both)[1], [51_820]);
        assert_eq!(run.at(39, &both)[1], [51_820]);
        assert_eq!(run.at(40, &both)[1], [41_641, 51_820]);
        assert_eq!(run.at(41, &[udp(51_820)])[1], [51_820]);
        assert_eq!(run.at(42, &both)[1], [51_820], "it begins anew");
    }

    #[test]
    fn the_operator_has_the_last_word() {
        let mut run = Run::new(&["8443", "51820/udp", "-443/udp", "-22", "-8443/udp", "+22"]);
        let sockets = [tcp("::", 443), udp(443), tcp("::", 22)];
        assert_eq!(run.at(0, &sockets), [vec![443, 8443], vec![51_820]]);
    }
}
