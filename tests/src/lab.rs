//! The network of a test: `near`, where tcpwatch runs, and `far`, which every test address is in, joined by a veth pair.
//!
//! All addresses are from the documentation and benchmarking ranges (RFC 5737, RFC 3849, RFC 2544) and exist only in
//! these namespaces.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::command;
use crate::daemon::Tcpwatch;
use crate::invocation::Invocation;
use crate::namespace::Namespace;
use crate::traffic::{Sink, Udp};
use crate::wait;

/// The IPv4 address of `near`.
pub const NEAR_V4: &str = "198.18.0.1";
/// The IPv6 address of `near`.
pub const NEAR_V6: &str = "2001:db8:ffff::1";
/// An IPv4 address that is local to `near`, but not on the watched interface.
pub const ELSEWHERE_V4: &str = "203.0.113.250";
/// An IPv6 address that is local to `near`, but not on the watched interface.
pub const ELSEWHERE_V6: &str = "2001:db8:eeee::1";

/// What is local to `far`, so that packets to all of it arrive somewhere.
const FAR_PREFIXES: [&str; 7] = [
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "198.19.0.0/16",
    "2001:db8:1::/48",
    "2001:db8:2::/48",
    "2001:db8:bad::/48",
];

/// Two namespaces and the link between them.
#[derive(Debug)]
pub struct Lab {
    /// Where tcpwatch runs; its `eth0` has the default routes.
    pub near: Namespace,
    /// Where the destinations are.
    pub far: Namespace,
    /// Takes the UDP packets, so that no ICMP errors come back.
    _sink: Sink,
}

impl Lab {
    /// Builds the network. It is quiet: nothing leaves `near` but what the test sends, unless its addresses change.
    ///
    /// # Panics
    ///
    /// Without root, or when the kernel refuses.
    pub fn new() -> Self {
        let near = Namespace::new("a");
        let far = Namespace::new("b");
        for namespace in [&near, &far] {
            // No duplicate address detection, no router solicitations, no link-local addresses; multicast
            // listener reports at once instead of for two seconds.
            namespace.run(
                "sysctl -q -w net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.dad_transmits=0 \
                 net.ipv6.conf.default.router_solicitations=0 net.ipv6.conf.default.addr_gen_mode=1 \
                 net.ipv6.conf.default.mldv1_unsolicited_report_interval=1 \
                 net.ipv6.conf.default.mldv2_unsolicited_report_interval=1",
            );
        }
        near.ip(&format!("address add {ELSEWHERE_V4}/32 dev lo"));
        near.ip(&format!("address add {ELSEWHERE_V6}/128 dev lo nodad"));
        let routes: String = FAR_PREFIXES
            .iter()
            .map(|prefix| format!("route add local {prefix} dev lo\n"))
            .collect();
        command::ip_batch(far.name(), &routes);
        let sink = far.within(Sink::open);
        let lab = Self {
            near,
            far,
            _sink: sink,
        };
        lab.connect();
        lab
    }

    /// Makes the link with its addresses and routes; also after it was removed.
    ///
    /// # Panics
    ///
    /// When there already is one.
    pub fn connect(&self) {
        command::ip_batch(
            self.near.name(),
            &format!(
                "link add eth0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns {}\n\
                 address add {NEAR_V4}/24 dev eth0\n\
                 address add {NEAR_V6}/64 dev eth0 nodad\n",
                self.far.name()
            ),
        );
        command::ip_batch(
            self.far.name(),
            "address add 198.18.0.2/24 dev eth0\n\
             address add 2001:db8:ffff::2/64 dev eth0 nodad\n\
             link set eth0 up\n",
        );
        self.near.ip("link set eth0 up");
        self.route();
    }

    /// Waits until `near` has sent nothing for a second. On a slow machine its multicast listener reports, of which kernels send
    /// different numbers, may come after the link is made.
    ///
    /// # Panics
    ///
    /// When it goes on sending.
    #[track_caller]
    pub fn wait_until_quiet(&self) {
        const QUIET: Duration = Duration::from_secs(1);
        let sent = || self.near.run("cat /sys/class/net/eth0/statistics/tx_packets");
        let (mut last, mut since) = (sent(), Instant::now());
        wait::until("near is quiet", || {
            let now = sent();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            since.elapsed() >= QUIET
        });
    }

    /// Makes a second link, `eth1`, with one address of `near` and one neighbour. No route leads to it.
    ///
    /// # Panics
    ///
    /// When there already is one.
    pub fn connect_eth1(&self, address: &str, neighbour: &str) {
        self.near.ip(&format!(
            "link add eth1 address 02:00:00:00:01:01 type veth peer name eth1 address 02:00:00:00:01:02 netns {}",
            self.far.name()
        ));
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.near.ip(&format!("address add {address} dev eth1 {nodad}"));
        self.far.ip("link set eth1 up");
        self.near.ip("link set eth1 up");
        self.near.ip(&format!(
            "neighbour replace {neighbour} lladdr 02:00:00:00:01:02 dev eth1 nud permanent"
        ));
    }

    /// Sets the routes and neighbours of `near`; also after its link was down, which removes them.
    ///
    /// The neighbours are fixed: a packet that waits for an answer could be dropped before it reaches the device.
    ///
    /// # Panics
    ///
    /// When the link is down.
    pub fn route(&self) {
        command::ip_batch(
            self.near.name(),
            &format!(
                "address replace {NEAR_V6}/64 dev eth0 nodad\n\
                 neighbour replace 198.18.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent\n\
                 neighbour replace 2001:db8:ffff::2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent\n\
                 route replace default via 198.18.0.2\n\
                 route replace default via 2001:db8:ffff::2\n",
            ),
        );
        command::ip_batch(
            self.far.name(),
            &format!(
                "neighbour replace {NEAR_V4} lladdr 02:00:00:00:00:01 dev eth0 nud permanent\n\
                 neighbour replace {NEAR_V6} lladdr 02:00:00:00:00:01 dev eth0 nud permanent\n"
            ),
        );
    }

    /// A UDP socket of `near`, bound to its own IPv4 address.
    ///
    /// # Panics
    ///
    /// When `near` has no such address.
    pub fn udp_v4(&self) -> Udp {
        self.udp_from(NEAR_V4)
    }

    /// A UDP socket of `near`, bound to its own IPv6 address.
    ///
    /// # Panics
    ///
    /// When `near` has no such address.
    pub fn udp_v6(&self) -> Udp {
        self.udp_from(NEAR_V6)
    }

    /// A UDP socket of `near`, bound to `source`.
    ///
    /// # Panics
    ///
    /// When `near` has no such address.
    #[track_caller]
    pub fn udp_from(&self, source: &str) -> Udp {
        let source: IpAddr = source.parse().expect("a literal address");
        self.near.within(|| Udp::bind(source))
    }

    /// tcpwatch in `near`, with these arguments; to be started.
    pub fn tcpwatch<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Invocation {
        Invocation::new(&self.near, arguments)
    }

    /// `tcpwatch run -f json` with further arguments in `near`, started and attached.
    ///
    /// # Panics
    ///
    /// When it does not get that far.
    #[track_caller]
    pub fn watch<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Tcpwatch {
        self.tcpwatch(["run", "--format", "json"]).with(arguments).start()
    }

    /// One of the counters that the kernel keeps for `eth0` of `near`, such as `tx_packets`.
    ///
    /// # Panics
    ///
    /// When there is no such counter.
    pub fn device_counter(&self, name: &str) -> u64 {
        let text = self
            .near
            .run(&format!("cat /sys/class/net/eth0/statistics/{name}"));
        text.trim().parse().expect("a counter is a number")
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}
