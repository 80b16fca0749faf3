//! The question to the kernel: which sockets wait for others to begin (`man 7 sock_diag`).

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use netlink_packet_core::{
    DecodeError, Emitable as _, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{SOCK_DIAG_BY_FAMILY, SockDiagMessage};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket as Netlink, SocketAddr};

use super::Protocol;
use crate::net::LOOPBACK_INDEX;

/// All four questions are answered in less: a kernel walks 20,000 UDP sockets in 8 ms (measured).
const DEADLINE: Duration = Duration::from_secs(1);

/// The largest piece that the kernel sends (`netlink_recvmsg()`, net/netlink/af_netlink.c: 32 KiB less its own header).
const PIECE_BYTES: usize = 32 << 10;

/// Why the kernel's sockets are not known.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The netlink socket.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// The question.
    #[error("cannot send to the kernel")]
    Send(#[source] io::Error),
    /// The answer.
    #[error("cannot receive from the kernel")]
    Receive(#[source] io::Error),
    /// The kernel cannot tell.
    #[error("the kernel refuses to say which {protocol} sockets there are")]
    Refused {
        /// Which were asked for.
        protocol: Protocol,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No netlink message.
    #[error("the kernel's answer cannot be read")]
    Malformed(#[source] DecodeError),
    /// It takes too long.
    #[error("the kernel has not said all in a second")]
    Late,
}

/// A socket that others can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) protocol: Protocol,
    /// The local address; unspecified: all.
    pub(super) address: IpAddr,
    /// The local port; never 0.
    pub(super) port: u16,
    /// The interface that it is bound to; 0: none.
    pub(super) interface: u32,
}

impl Socket {
    /// Whether nobody reaches it from outside.
    pub(super) fn is_local(&self) -> bool {
        self.address.to_canonical().is_loopback() || self.interface == LOOPBACK_INDEX
    }
}

/// TCP sockets that listen, and UDP sockets that are bound to a port of their choice and not connected.
pub(super) fn listening() -> Result<Vec<Socket>, AskError> {
    let until = Instant::now() + DEADLINE;
    // A socket of its own for every look: nothing of an answer that was given up can be in it.
    let mut netlink = Netlink::new(NETLINK_SOCK_DIAG).map_err(AskError::Open)?;
    netlink.bind_auto().map_err(AskError::Open)?;
    netlink.connect(&SocketAddr::new(0, 0)).map_err(AskError::Open)?;
    let mut found = Vec::new();
    for protocol in Protocol::ALL {
        for family in [AF_INET, AF_INET6] {
            let asked = Question { protocol, family };
            netlink.send(&asked.bytes(), 0).map_err(AskError::Send)?;
            answers(&netlink, protocol, until, &mut found)?;
        }
    }
    Ok(found)
}

/// A dump of one family and protocol.
struct Question {
    protocol: Protocol,
    family: u8,
}

impl Question {
    fn bytes(self) -> Vec<u8> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(self));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn request(&self) -> InetRequest {
        let (protocol, states) = match self.protocol {
            Protocol::Tcp => (IPPROTO_TCP, StateFlags::LISTEN),
            // A connected UDP socket is ESTABLISHED, any other one is CLOSE (udp_dump(), net/ipv4/udp_diag.c).
            Protocol::Udp => (IPPROTO_UDP, StateFlags::CLOSE),
        };
        InetRequest {
            family: self.family,
            protocol,
            extensions: ExtensionFlags::empty(),
            states,
            socket_id: if self.family == AF_INET {
                SocketId::new_v4()
            } else {
                SocketId::new_v6()
            },
        }
    }

    /// For UDP, the kernel leaves out sockets that had their port from it.
    const fn filter(&self) -> &'static [u8] {
        match self.protocol {
            Protocol::Tcp => &[],
            Protocol::Udp => CHOSEN,
        }
    }
}

/// An attribute with a program of two instructions that lets those sockets pass that chose their port themselves: the socket
/// of a client has one from the kernel, and a host that relays UDP has thousands of them. Included in every kernel since
/// inet_diag is there (`inet_diag_bc_run()`, net/ipv4/inet_diag.c).
const CHOSEN: &[u8] = {
    // include/uapi/linux/inet_diag.h; each instruction is: code, length to go on at if it holds, the same if not.
    const INET_DIAG_REQ_BYTECODE: u8 = 1;
    const INET_DIAG_BC_JMP: u8 = 1;
    const INET_DIAG_BC_AUTO: u8 = 6;
    const {
        &attribute(
            INET_DIAG_REQ_BYTECODE,
            [INET_DIAG_BC_AUTO, 4],
            8,
            [INET_DIAG_BC_JMP, 4],
            8,
        )
    }
};

/// Length, kind, and two instructions. To end behind the last one is to refuse.
const fn attribute(kind: u8, first: [u8; 2], first_no: u16, second: [u8; 2], second_no: u16) -> [u8; 12] {
    let length = 12_u16.to_ne_bytes();
    let kind = (kind as u16).to_ne_bytes();
    let (a, b) = (first_no.to_ne_bytes(), second_no.to_ne_bytes());
    [
        length[0], length[1], kind[0], kind[1], first[0], first[1], a[0], a[1], second[0], second[1], b[0],
        b[1],
    ]
}

impl NetlinkSerializable for Question {
    fn message_type(&self) -> u16 {
        SOCK_DIAG_BY_FAMILY
    }

    fn buffer_len(&self) -> usize {
        self.request().buffer_len() + self.filter().len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let request = self.request();
        let (head, tail) = buffer.split_at_mut(request.buffer_len());
        request.emit(head);
        tail.copy_from_slice(self.filter());
    }
}

/// Takes what the kernel answers to one question.
fn answers(
    netlink: &Netlink,
    protocol: Protocol,
    until: Instant,
    found: &mut Vec<Socket>,
) -> Result<(), AskError> {
    let refused = |source| AskError::Refused { protocol, source };
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        // The kernel writes while it is asked and whenever something is taken: there is nothing to wait for.
        let length = netlink
            .recv(&mut piece.as_mut_slice(), libc::MSG_DONTWAIT)
            .map_err(AskError::Receive)?;
        let mut rest = piece.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(AskError::Malformed)?;
            // Each message begins at a multiple of four.
            let taken = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(taken.max(1)..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    let id = &response.header.socket_id;
                    if id.source_port != 0 && id.destination_port == 0 {
                        found.push(Socket {
                            protocol,
                            address: id.source_address,
                            port: id.source_port,
                            interface: id.interface_id,
                        });
                    }
                }
                NetlinkPayload::Done(done) if done.code == 0 => return Ok(()),
                NetlinkPayload::Done(done) => return Err(refused(io::Error::from_raw_os_error(-done.code))),
                NetlinkPayload::Error(error) => return Err(refused(error.to_io())),
                _ => {}
            }
        }
        if Instant::now() > until {
            return Err(AskError::Late);
        }
    }
}
