//! The host's network as far as counting needs it: interfaces, their addresses, the default route. Followed live by
//! netlink: subscribed first, asked afterwards, and asked anew after every change, so that a lost message costs nothing.

pub mod listening;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteType};
use rtnetlink::{MulticastGroup, RouteMessageBuilder};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::kernel::attach::LinkLayer;

/// Changes come in bursts (an interface brings its addresses): one look after the burst is enough.
const BURST: Duration = Duration::from_millis(20);
/// The number of the loopback interface in every network namespace.
pub const LOOPBACK_INDEX: u32 = 1;

/// A call to the kernel's network configuration that failed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The socket.
    #[error("cannot open a netlink socket")]
    Socket(#[source] io::Error),
    /// A request.
    #[error("cannot ask the kernel for {what}")]
    Ask {
        /// What was asked for.
        what: &'static str,
        /// The cause.
        #[source]
        source: rtnetlink::Error,
    },
    /// An answer that did not come.
    #[error("the kernel does not answer about its network")]
    Silent(#[source] tokio::time::error::Elapsed),
}

/// An interface and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: Arc<str>,
    /// What its frames begin with; none: a kind of device whose frames we cannot read.
    pub layer: Option<LinkLayer>,
    /// The device type (ARPHRD_*, include/uapi/linux/if_arp.h).
    pub kind: u16,
    /// Whether it is administratively up.
    pub up: bool,
    /// All its addresses, both families.
    pub addresses: BTreeSet<IpAddr>,
}

/// Numbers of the interfaces that packets to the internet leave through, by family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// For IPv4; empty: there is no route.
    pub v4: BTreeSet<u32>,
    /// For IPv6; empty: there is no route.
    pub v6: BTreeSet<u32>,
}

impl Defaults {
    /// Whether packets of either family leave through it.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        self.v4.contains(&index) || self.v6.contains(&index)
    }

    /// Takes over what is known now. A family without a route keeps what it had: routes come back.
    pub fn update(&mut self, now: &Self) {
        for (mine, now) in [(&mut self.v4, &now.v4), (&mut self.v6, &now.v6)] {
            if !now.is_empty() {
                mine.clone_from(now);
            }
        }
    }
}

/// The connection to the kernel.
#[derive(Debug)]
pub struct Network {
    handle: rtnetlink::Handle,
    changed: Arc<Notify>,
    /// Polls the socket, and turns its messages into `changed`.
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Network {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Network {
    /// Opens the connection and subscribes to changes. Must be called inside the runtime.
    ///
    /// # Errors
    /// No netlink in this kernel or sandbox.
    pub fn open() -> Result<Self, NetError> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ];
        let (connection, handle, mut messages) =
            rtnetlink::new_multicast_connection(&groups).map_err(NetError::Socket)?;
        let changed = Arc::new(Notify::new());
        let notify = Arc::clone(&changed);
        // What a message says does not matter, and neither does how many there were: the kernel is asked anew.
        let pump = tokio::spawn(async move {
            while messages.next().await.is_some() {
                tokio::time::sleep(BURST).await;
                while let Some(Some(_)) = messages.next().now_or_never() {}
                notify.notify_one();
            }
        });
        Ok(Self {
            handle,
            changed,
            tasks: [tokio::spawn(connection), pump],
        })
    }

    /// A handle for other requests over the same connection.
    #[must_use]
    pub fn handle(&self) -> rtnetlink::Handle {
        self.handle.clone()
    }

    /// Waits until something may have changed. Several changes in a row are one; none is lost when the wait is given up.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// All interfaces with their addresses.
    ///
    /// # Errors
    /// A request failed.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, NetError> {
        let ask = |what| move |source| NetError::Ask { what, source };
        let links: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(ask("its interfaces"))?;
        let mut interfaces: BTreeMap<u32, Interface> = links
            .iter()
            .filter_map(interface)
            .map(|interface| (interface.index, interface))
            .collect();
        let mut addresses = self.handle.address().get().execute();
        while let Some(message) = addresses.try_next().await.map_err(ask("its addresses"))? {
            let found = interfaces.get_mut(&message.header.index);
            if let (Some(interface), Some(address)) = (found, own_address(&message.attributes)) {
                interface.addresses.insert(address);
            }
        }
        Ok(interfaces.into_values().collect())
    }

    /// The interfaces that packets to the internet leave through.
    ///
    /// The kernel is asked for the route to a public address of each family (nothing is sent), which respects policy
    /// rules and needs no dump of what may be a full routing table.
    ///
    /// # Errors
    /// A request failed for another reason than a missing route.
    pub async fn defaults(&self) -> Result<Defaults, NetError> {
        // A root server's addresses (k.root-servers.net): as public as an address can be.
        let v4 =
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(Ipv4Addr::new(193, 0, 14, 129), 32);
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(Ipv6Addr::new(0x2001, 0x7fd, 0, 0, 0, 0, 0, 1), 128);
        Ok(Defaults {
            v4: self.route(v4.build()).await?,
            v6: self.route(v6.build()).await?,
        })
    }

    /// The interfaces of the route that answers `question`: several when it has several next hops.
    async fn route(&self, mut question: RouteMessage) -> Result<BTreeSet<u32>, NetError> {
        // The whole route, not the one next hop that a packet would take.
        question.header.flags |= RouteFlags::FibMatch;
        let route = match self.handle.route().get(question).execute().try_next().await {
            Ok(Some(route)) if route.header.kind == RouteType::Unicast => route,
            Ok(_) => return Ok(BTreeSet::new()),
            Err(error) if is_no_route(&error) => return Ok(BTreeSet::new()),
            Err(source) => {
                return Err(NetError::Ask {
                    what: "the default route",
                    source,
                });
            }
        };
        let mut found = BTreeSet::new();
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => {
                    found.insert(*index);
                }
                RouteAttribute::MultiPath(hops) => found.extend(hops.iter().map(|hop| hop.interface_index)),
                _ => {}
            }
        }
        found.remove(&LOOPBACK_INDEX);
        Ok(found)
    }
}

/// "Network is unreachable" and its relatives: unreachable and prohibit routes answer with these, too.
fn is_no_route(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else {
        return false;
    };
    let code = message.code.map_or(0, |code| -code.get());
    [
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::EACCES,
        libc::EINVAL,
        // What a kernel without the family answers, or one that was started with ipv6.disable=1.
        libc::EAFNOSUPPORT,
        libc::EOPNOTSUPP,
    ]
    .contains(&code)
}

fn interface(link: &LinkMessage) -> Option<Interface> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(Arc::from(name.as_str())),
        _ => None,
    })?;
    let kind = u16::from(link.header.link_layer_type);
    Some(Interface {
        index: link.header.index,
        name,
        layer: layer(kind),
        kind,
        up: link.header.flags.contains(LinkFlags::Up),
        addresses: BTreeSet::new(),
    })
}

/// The host's own end: on point-to-point links `IFA_ADDRESS` is the peer's (include/uapi/linux/if_addr.h).
fn own_address(attributes: &[AddressAttribute]) -> Option<IpAddr> {
    let local = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// What the egress hook finds at the start of a frame, by device type.
const fn layer(kind: u16) -> Option<LinkLayer> {
    // Not in libc; include/uapi/linux/if_arp.h.
    const ARPHRD_RAWIP: u16 = 519;
    const ARPHRD_IP6GRE: u16 = 823;
    match kind {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Some(LinkLayer::Ethernet),
        libc::ARPHRD_NONE
        | libc::ARPHRD_PPP
        | ARPHRD_RAWIP
        | libc::ARPHRD_TUNNEL
        | libc::ARPHRD_TUNNEL6
        | libc::ARPHRD_SIT
        | libc::ARPHRD_IPGRE
        | ARPHRD_IP6GRE => Some(LinkLayer::None),
        _ => None,
    }
}

/// Packets and bytes that a device says it has sent since it was made; none: it is gone, or sysfs is not there.
pub fn device_counters(name: &str) -> Option<(u64, u64)> {
    let read = |counter: &str| {
        let text = std::fs::read_to_string(format!("/sys/class/net/{name}/statistics/{counter}")).ok()?;
        text.trim().parse().ok()
    };
    Some((read("tx_packets")?, read("tx_bytes")?))
}
