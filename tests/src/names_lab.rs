//! The network of a server between its clients and the targets that have names: clients – server – targets. tcpwatch runs
//! on the server, which watches both of its interfaces.
//!
//! What runs in it is in the modules below: a resolver, servers that answer to names, and what a proxy server does.

pub mod capture;
pub mod dns;
pub mod dnsmasq;
pub mod flood;
pub mod hello;
pub mod initial;
pub mod quic;
pub mod relay;
pub mod tools;

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use crate::command;
use crate::daemon::Tcpwatch;
use crate::invocation::Invocation;
use crate::lab::Lab;
use crate::names_lab::capture::Capture;
use crate::names_lab::dns::{Kind, Stub};
use crate::names_lab::dnsmasq::Dnsmasq;
use crate::names_lab::quic::Server;
use crate::names_lab::relay::Relay;
use crate::namespace::Namespace;
use crate::web::{Authority, Reply, Web};

/// The server's IPv4 address for its clients, on `eth1`.
pub const SERVER_V4: &str = "198.18.1.1";
/// The server's IPv6 address for its clients, on `eth1`.
pub const SERVER_V6: &str = "2001:db8:cccc::1";
/// The client's IPv4 address.
pub const CLIENT_V4: &str = "198.18.1.2";
/// The client's IPv6 address.
pub const CLIENT_V6: &str = "2001:db8:cccc::2";
/// The resolver that the server asks, among the targets.
pub const RESOLVER: &str = "192.0.2.53";
/// The same over IPv6.
pub const RESOLVER_V6: &str = "2001:db8:1::53";
/// Nothing comes back from here.
pub const BLACKHOLE: &str = "192.0.2.66";
/// Where the proxy listens on the server.
pub const PROXY_PORT: u16 = 3128;
/// HTTPS and QUIC.
pub const HTTPS: u16 = 443;

/// The three namespaces and their links.
#[derive(Debug)]
pub struct NamesLab {
    /// Server and targets.
    pub lab: Lab,
    /// Where the clients of the server are.
    pub clients: Namespace,
}

impl NamesLab {
    /// Builds the network. It is quiet: nothing leaves the server but what the test has it send. The devices are given
    /// single packets, so that what arrives can be counted by the frame.
    ///
    /// # Panics
    ///
    /// Without root, or when the kernel refuses.
    pub fn new() -> Self {
        let lab = Lab::new();
        let clients = Namespace::new("c");
        clients.run(
            "sysctl -q -w net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.dad_transmits=0 \
             net.ipv6.conf.default.router_solicitations=0 net.ipv6.conf.default.addr_gen_mode=1",
        );
        command::ip_batch(
            lab.near.name(),
            &format!(
                "link add eth1 address 02:00:00:00:01:01 type veth peer name eth0 address 02:00:00:00:01:02 netns {}\n\
                 address add {SERVER_V4}/24 dev eth1\n\
                 address add {SERVER_V6}/64 dev eth1 nodad\n",
                clients.name()
            ),
        );
        command::ip_batch(
            clients.name(),
            &format!(
                "address add {CLIENT_V4}/24 dev eth0\n\
                 address add {CLIENT_V6}/64 dev eth0 nodad\n\
                 link set eth0 up\n"
            ),
        );
        command::ip_batch(
            lab.near.name(),
            &format!(
                "link set eth1 up\n\
                 neighbour replace {CLIENT_V4} lladdr 02:00:00:00:01:02 dev eth1 nud permanent\n\
                 neighbour replace {CLIENT_V6} lladdr 02:00:00:00:01:02 dev eth1 nud permanent\n"
            ),
        );
        command::ip_batch(
            clients.name(),
            &format!(
                "neighbour replace {SERVER_V4} lladdr 02:00:00:00:01:01 dev eth0 nud permanent\n\
                 neighbour replace {SERVER_V6} lladdr 02:00:00:00:01:01 dev eth0 nud permanent\n"
            ),
        );
        command::ip_batch(
            lab.far.name(),
            &format!(
                "address add {RESOLVER}/32 dev lo\n\
                 address add {RESOLVER_V6}/128 dev lo nodad\n\
                 route add blackhole {BLACKHOLE}/32 table local\n"
            ),
        );
        for device in ["eth0", "eth1"] {
            lab.near.run(&format!(
                "ethtool -K {device} tso off gso off tx-udp-segmentation off"
            ));
        }
        // QUIC servers name the source of each answer.
        lab.far.sysctl("net.ipv6.ip_nonlocal_bind", 1);
        let names_lab = Self { lab, clients };
        names_lab.lab.wait_until_quiet();
        names_lab
    }

    /// Where tcpwatch and the proxy run.
    pub fn server(&self) -> &Namespace {
        &self.lab.near
    }

    /// Where the targets are.
    pub fn targets(&self) -> &Namespace {
        &self.lab.far
    }

    /// `tcpwatch run` with further arguments on the server, not yet started. It watches both interfaces and makes a
    /// record when it ends.
    pub fn tcpwatch<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Invocation {
        let both = ["run", "--interface", "eth0", "eth1", "--interval", "1h"];
        self.lab.tcpwatch(both).with(arguments)
    }

    /// The same, started, with records in JSON.
    ///
    /// # Panics
    ///
    /// When it does not get that far.
    #[track_caller]
    pub fn watch<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Tcpwatch {
        self.tcpwatch(["--format", "json"]).with(arguments).start()
    }

    /// What arrives at the targets from now on.
    pub fn at_targets(&self) -> Capture {
        Capture::start(self.targets(), "eth0")
    }

    /// What arrives at the clients from now on.
    pub fn at_clients(&self) -> Capture {
        Capture::start(&self.clients, "eth0")
    }

    /// HTTPS on every address of the targets, with a certificate for these names.
    ///
    /// # Panics
    ///
    /// When there is one already.
    pub fn web(&self, authority: &Authority, names: &[&str]) -> Web {
        self.targets().within(|| {
            let listener = TcpListener::bind(("::", HTTPS)).expect("the port is free");
            Web::serve_tls_on(listener, authority, names, |_| Reply::Whole(PAGE.to_vec()))
        })
    }

    /// HTTP without TLS on every address of the targets.
    ///
    /// # Panics
    ///
    /// When there is one already.
    pub fn plain_web(&self, port: u16) -> Web {
        self.targets().within(|| {
            let listener = TcpListener::bind(("::", port)).expect("the port is free");
            Web::serve_on(listener, |_| Reply::Whole(PAGE.to_vec()))
        })
    }

    /// QUIC on every address of the targets, with a certificate for these names.
    ///
    /// # Panics
    ///
    /// When there is one already.
    pub fn quic(&self, authority: &Authority, names: &[&str]) -> Server {
        Server::start(self.targets(), HTTPS, authority.server(names))
    }

    /// The resolver at [`RESOLVER`], which knows what these lines of a dnsmasq configuration say.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[track_caller]
    pub fn resolver(&self, lines: &str) -> Dnsmasq {
        Dnsmasq::start(self.targets(), &[RESOLVER, RESOLVER_V6], lines)
    }

    /// An HTTP proxy on the server, for CONNECT. It asks the resolver for the name in the request.
    ///
    /// # Panics
    ///
    /// When there is one already.
    pub fn proxy(&self) -> Web {
        let stub = Stub::of(RESOLVER);
        self.server().within(|| {
            let listener = TcpListener::bind(("::", PROXY_PORT)).expect("the port is free");
            Web::serve_on(listener, move |target| {
                let (name, port) = target.rsplit_once(':').expect("name and port");
                let port = port.parse().expect("a port is a number");
                let address = [Kind::A, Kind::Aaaa]
                    .into_iter()
                    .find_map(|kind| stub.ask(name, kind).first().copied());
                match address {
                    Some(address) => Reply::Tunnel((address, port).into()),
                    None => Reply::Status(502),
                }
            })
        })
    }

    /// A relay of UDP datagrams on the server, from its port for QUIC to that of `target`.
    ///
    /// # Panics
    ///
    /// When there is one already.
    #[track_caller]
    pub fn relay(&self, target: &str) -> Relay {
        let target: IpAddr = target.parse().expect("a literal address");
        self.server().within(|| {
            let listening = UdpSocket::bind(("::", HTTPS)).expect("the port is free");
            Relay::start(listening, SocketAddr::from((target, HTTPS)))
        })
    }
}

impl Default for NamesLab {
    fn default() -> Self {
        Self::new()
    }
}

/// What every server answers.
pub const PAGE: &[u8] = b"so it is\n";
