//! Two network namespaces of one thread, joined by a veth pair: `near` sends, `far` has the destinations.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute, State};
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use super::SelftestError;
use super::script::{Act, FAR_V4, FAR_V6, FOREIGN, Fate, Kind, NEAR_V4, NEAR_V6};
use crate::kernel::sandbox;
use crate::net::LOOPBACK_INDEX;

/// The watched interface.
pub const INTERFACE: &str = "watched0";
/// The other end.
const PEER: &str = "far0";
/// The port of the destinations, "discard".
pub const PORT: u16 = 9;
/// How long the pair may take to be ready.
const READY: Duration = Duration::from_secs(2);
const NEAR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const FAR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

/// What keeps the kernel from sending packets of its own, and SYNs at their usual size. One that a kernel has not is not needed
/// there.
const QUIET: [(&str, &str); 11] = [
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/dad_transmits", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/default/addr_gen_mode", "1"),
    ("ipv6/conf/default/mldv1_unsolicited_report_interval", "1"),
    ("ipv6/conf/default/mldv2_unsolicited_report_interval", "1"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv4/ip_forward", "0"),
    ("ipv4/tcp_timestamps", "1"),
    ("ipv4/tcp_sack", "1"),
    ("ipv4/tcp_window_scaling", "1"),
];

/// The two namespaces. The calling thread is in `near` from then on.
pub struct Stage {
    /// Netlink of `near`.
    pub near: Handle,
    /// Number of the watched interface.
    pub ifindex: u32,
    /// The namespaces' numbers.
    pub namespaces: [u64; 2],
    /// The destinations of datagrams: what arrives waits there.
    pub sinks: Vec<(IpAddr, UdpSocket)>,
    _far: OwnedFd,
    _near: OwnedFd,
}

impl Stage {
    /// Builds it for `acts`. Must be called in a thread of its own, inside its runtime.
    ///
    /// # Errors
    /// No right to, or the kernel refuses a step.
    pub async fn build(acts: &[Act]) -> Result<Self, SelftestError> {
        let far_namespace = sandbox::enter().map_err(SelftestError::Namespace)?;
        quieten();
        let far = connect()?;
        up(&far, LOOPBACK_INDEX).await?;
        for act in acts {
            address(&far, LOOPBACK_INDEX, act.destination, None).await?;
        }
        let mut sinks = Vec::new();
        for act in acts.iter().filter(|act| act.kind != Kind::Connections) {
            let socket = UdpSocket::bind((act.destination, PORT)).map_err(step("bind a destination"))?;
            socket.set_nonblocking(true).map_err(step("bind a destination"))?;
            sinks.push((act.destination, socket));
        }
        // From here on the thread is in the other one; what was opened before stays where it is.
        let near_namespace = sandbox::enter().map_err(SelftestError::Namespace)?;
        quieten();
        let near = connect()?;
        up(&near, LOOPBACK_INDEX).await?;
        if acts.iter().any(|act| act.fate == Fate::OtherSource) {
            address(&near, LOOPBACK_INDEX, FOREIGN.into(), None).await?;
        }
        let ipv6 = acts.iter().any(|act| act.destination.is_ipv6());
        let ifindex = join(&near, &far, far_namespace.as_raw_fd(), ipv6).await?;
        Ok(Self {
            namespaces: [inode(&far_namespace)?, inode(&near_namespace)?],
            near,
            ifindex,
            sinks,
            _far: far_namespace,
            _near: near_namespace,
        })
    }
}

/// Makes the pair with its addresses and routes. Answers the number of the near end.
async fn join(near: &Handle, far: &Handle, namespace: i32, ipv6: bool) -> Result<u32, SelftestError> {
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(PEER)
        .address(FAR_MAC.to_vec())
        .setns_by_fd(namespace)
        .build();
    let pair = LinkVeth::new(INTERFACE, PEER)
        .address(NEAR_MAC.to_vec())
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    near.link()
        .add(pair)
        .execute()
        .await
        .map_err(ask("make a veth pair"))?;
    let (here, there) = (index(near, INTERFACE).await?, index(far, PEER).await?);
    let mut addresses = vec![(IpAddr::from(NEAR_V4), IpAddr::from(FAR_V4), 30)];
    if ipv6 {
        addresses.push((NEAR_V6.into(), FAR_V6.into(), 64));
    }
    for (mine, theirs, length) in &addresses {
        address(near, here, *mine, Some(*length)).await?;
        address(far, there, *theirs, Some(*length)).await?;
    }
    // The far end first: so the near one has its carrier, and can send, when it comes up.
    up(far, there).await?;
    up(near, here).await?;
    wait_until_up(near, here).await?;
    wait_until_up(far, there).await?;
    // No packet waits for an answer about who has an address: it could be dropped before it reaches the device.
    for (mine, theirs, _) in &addresses {
        neighbour(near, here, *theirs, FAR_MAC).await?;
        neighbour(far, there, *mine, NEAR_MAC).await?;
    }
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(Ipv4Addr::new(198, 18, 0, 0), 15)
        .gateway(FAR_V4)
        .build();
    near.route().add(v4).execute().await.map_err(ask("set a route"))?;
    if ipv6 {
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32)
            .gateway(FAR_V6)
            .build();
        near.route().add(v6).execute().await.map_err(ask("set a route"))?;
    }
    Ok(here)
}

/// Whether this kernel has IPv6.
pub fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6/conf/default").exists()
}

/// Of the calling thread's namespace.
fn quieten() {
    for (name, value) in QUIET {
        if let Err(error) = fs::write(Path::new("/proc/sys/net").join(name), value) {
            tracing::debug!(%error, "{name} stays as it is");
        }
    }
}

fn connect() -> Result<Handle, SelftestError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(step("open a netlink socket"))?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn up(handle: &Handle, index: u32) -> Result<(), SelftestError> {
    handle
        .link()
        .set(LinkUnspec::new_with_index(index).up().build())
        .execute()
        .await
        .map_err(ask("bring an interface up"))
}

/// `length`: of the prefix that is on the link; none: the address alone.
async fn address(
    handle: &Handle,
    index: u32,
    address: IpAddr,
    length: Option<u8>,
) -> Result<(), SelftestError> {
    let mut message = match address {
        IpAddr::V4(v4) => AddressMessageBuilder::<Ipv4Addr>::new()
            .address(v4, length.unwrap_or(32))
            .build(),
        IpAddr::V6(v6) => AddressMessageBuilder::<Ipv6Addr>::new()
            .address(v6, length.unwrap_or(128))
            .build(),
    };
    message.header.index = index;
    if address.is_ipv6() {
        // Nobody else has it: it is to be used at once.
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    let mut request = handle.address().add(index, address, message.header.prefix_len);
    *request.message_mut() = message;
    request.execute().await.map_err(ask("set an address"))
}

async fn neighbour(handle: &Handle, index: u32, address: IpAddr, mac: [u8; 6]) -> Result<(), SelftestError> {
    handle
        .neighbours()
        .add(index, address)
        .link_layer_address(&mac)
        .replace()
        .execute()
        .await
        .map_err(ask("set a neighbour"))
}

async fn index(handle: &Handle, name: &str) -> Result<u32, SelftestError> {
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    let link = found.try_next().await.map_err(ask("find an interface"))?;
    link.map(|link| link.header.index).ok_or(SelftestError::Step {
        step: "find an interface",
        source: io::ErrorKind::NotFound.into(),
    })
}

/// Queues are put in place a moment after the carrier is there.
async fn wait_until_up(handle: &Handle, index: u32) -> Result<(), SelftestError> {
    let begin = Instant::now();
    loop {
        let link = handle.link().get().match_index(index).execute().try_next().await;
        let is_up = link
            .map_err(ask("look at an interface"))?
            .is_some_and(|link| link.attributes.contains(&LinkAttribute::OperState(State::Up)));
        if is_up {
            return Ok(());
        }
        if begin.elapsed() > READY {
            return Err(SelftestError::Step {
                step: "bring the veth pair up",
                source: io::ErrorKind::TimedOut.into(),
            });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn inode(namespace: &OwnedFd) -> Result<u64, SelftestError> {
    rustix::fs::fstat(namespace)
        .map(|stat| stat.st_ino)
        .map_err(|source| step("look at a namespace")(source.into()))
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> SelftestError {
    move |source| SelftestError::Step { step, source }
}

fn ask(step: &'static str) -> impl FnOnce(rtnetlink::Error) -> SelftestError {
    move |source| SelftestError::Netlink { step, source }
}
