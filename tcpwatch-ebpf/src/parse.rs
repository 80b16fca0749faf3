//! From a socket buffer to its key, without touching the packet.
//!
//! Headers are read where they lie. Senders such as AF_PACKET may leave them outside the linear part, where only a helper
//! reaches them; then the same code runs once more with copies. `DIRECT` chooses, at compile time: a pointer that may be
//! either would be refused by the verifier.

use core::mem::{MaybeUninit, offset_of};

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;
use network_types::vlan::VlanHdr;
use tcpwatch_common::{FlowKey, Outcome, SourceKey};

use crate::transport::{self, Transport};

/// Words of an address.
const ADDRESS: usize = 4;
/// The last word of what every mapped IPv4 address begins with.
pub const MAPPED: u32 = 0xffff_u32.to_be();

const ETHERNET_BYTES: u32 = EthHdr::LEN as u32;
const TAG_BYTES: u32 = VlanHdr::LEN as u32;
/// 802.1ad allows two: the provider's and the customer's.
const MOST_TAGS: u32 = 2;
const ETHER_TYPE: u32 = offset_of!(EthHdr, ether_type) as u32;

/// A key while it is being made, in the words that the processor loads and stores: with the byte arrays of [`FlowKey`],
/// the compiler moves single bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Key {
    pub destination: [u32; ADDRESS],
    pub source: [u32; ADDRESS],
    pub ifindex: u32,
}

const _: () = assert!(size_of::<Key>() == size_of::<FlowKey>() && align_of::<Key>() == align_of::<FlowKey>());
const _: () = assert!(offset_of!(FlowKey, source) == offset_of!(Key, source));
const _: () = assert!(offset_of!(Key, ifindex) - offset_of!(Key, source) == offset_of!(SourceKey, ifindex));

/// Where a key is made. Not cleared beforehand: the compiler would call a function that clears byte by byte.
pub type Slot = MaybeUninit<Key>;

impl Key {
    #[inline(always)]
    pub fn flow(&self) -> &FlowKey {
        // SAFETY: same size, alignment and layout, asserted above; integers only.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }

    /// Source and interface, which lie side by side as they do in the table of own sources.
    #[inline(always)]
    pub fn own_source(&self) -> &SourceKey {
        // SAFETY: the tail of `self` from `source` on has SourceKey's layout, asserted above.
        unsafe { &*core::ptr::from_ref(self).byte_add(offset_of!(Key, source)).cast() }
    }

    /// Leaves only the destination to count under.
    #[inline(always)]
    pub fn forget_source(&mut self) {
        for word in &mut self.source {
            // Volatile: the compiler would call a function that clears byte by byte in a loop.
            // SAFETY: a reference is valid and aligned.
            unsafe { core::ptr::from_mut(word).write_volatile(0) };
        }
    }

    /// The destination's halves as they are loaded from memory in one piece.
    #[inline(always)]
    pub fn destination_words(&self) -> [u64; 2] {
        let [a, b, c, d] = self.destination;
        [join(a, b), join(c, d)]
    }

    #[inline(always)]
    pub fn is_ipv4(&self) -> bool {
        self.destination[0] == 0 && self.destination[1] == 0 && self.destination[2] == MAPPED
    }

    /// The same of the source.
    #[inline(always)]
    pub fn is_from_ipv4(&self) -> bool {
        self.source[2] == MAPPED && self.source[1] | self.source[0] == 0
    }
}

#[inline(always)]
const fn join(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") {
        first as u64 | (second as u64) << 32
    } else {
        second as u64 | (first as u64) << 32
    }
}

/// What parsing comes to.
pub enum Parsed<'k> {
    /// A packet with addresses.
    Ip { key: &'k mut Key, transport: Transport },
    /// Not a packet with addresses.
    Not(Outcome),
    /// A header is not where `DIRECT` looks for it.
    OutOfReach,
}

/// The kernel's context behind aya's wrapper.
#[inline(always)]
pub fn skb(ctx: &TcContext) -> *const __sk_buff {
    ctx.as_ptr().cast()
}

/// Takes from the verifier what it knows of numbers: it would go on with each value of each of them by itself, and check what follows as
/// often. Exclusive-or with zero, of which only the packet knows that it is zero: none has 2^31 bytes.
#[derive(Clone, Copy)]
pub struct Blur(u64);

impl Blur {
    #[inline(always)]
    pub fn new(ctx: &TcContext) -> Self {
        Self(0_u64.wrapping_sub(u64::from(ctx.len() >> 31)))
    }

    #[inline(always)]
    pub const fn long(self, number: u64) -> u64 {
        number ^ self.0
    }

    #[inline(always)]
    pub const fn word(self, number: u32) -> u32 {
        number ^ self.0 as u32
    }
}

/// The first `N` words of the header at `offset`, of which `bytes` must be there; none: not there.
#[inline(always)]
pub fn header<const DIRECT: bool, const N: usize>(
    ctx: &TcContext,
    offset: u32,
    bytes: u32,
    copy: &mut MaybeUninit<[u32; N]>,
) -> Option<*const u32> {
    if DIRECT {
        let start = ctx.data() + offset as usize;
        (start + bytes as usize <= ctx.data_end()).then_some(start as *const u32)
    } else {
        // SAFETY: the buffer has room for N words, and `bytes` is at most that.
        let failed = unsafe { bpf_skb_load_bytes(skb(ctx).cast(), offset, copy.as_mut_ptr().cast(), bytes) };
        (failed == 0).then_some(copy.as_ptr().cast())
    }
}

/// Reads the word `index` of a header.
///
/// # Safety
/// `header` must have answered with `pointer` for at least that much.
#[inline(always)]
unsafe fn word(pointer: *const u32, index: usize) -> u32 {
    // Volatile, so that the load is made here and with this width: frames are not aligned to words, and the compiler
    // would otherwise load byte by byte. The verifier allows it where the processor does.
    // SAFETY: the caller's promise.
    unsafe { pointer.add(index).read_volatile() }
}

/// The 16 bits at `offset`, in network order.
#[inline(always)]
fn ether_type<const DIRECT: bool>(ctx: &TcContext, offset: u32) -> Option<u16> {
    let mut copy = MaybeUninit::<[u32; 1]>::uninit();
    let at = header::<DIRECT, 1>(ctx, offset, size_of::<u16>() as u32, &mut copy)?;
    // SAFETY: two bytes are there; 2-byte aligned in every frame.
    Some(unsafe { at.cast::<u16>().read_volatile() })
}

/// A frame with an Ethernet header and up to two VLAN tags in it. The frame's own type decides: `skb->protocol` is what
/// the sender of a raw packet claims.
///
/// Directly, only untagged frames are read. A tag is nearly always in the socket buffer and not yet in the frame; and a
/// packet pointer may be moved by a constant only, unless the loader has CAP_PERFMON (`sanitize_ptr_alu()`,
/// kernel/bpf/verifier.c).
#[inline(always)]
pub fn ethernet<'k, const DIRECT: bool>(ctx: &TcContext, slot: &'k mut Slot) -> Parsed<'k> {
    let Some(mut kind) = ether_type::<DIRECT>(ctx, ETHER_TYPE) else {
        return missing::<DIRECT>();
    };
    if DIRECT {
        return if is_vlan(kind) {
            Parsed::OutOfReach
        } else {
            ip::<DIRECT>(ctx, kind, ETHERNET_BYTES, slot)
        };
    }
    let mut tags = 0;
    while is_vlan(kind) && tags < MOST_TAGS {
        tags += 1;
        kind = match ether_type::<DIRECT>(ctx, ETHER_TYPE + tags * TAG_BYTES) {
            Some(kind) => kind,
            None => return missing::<DIRECT>(),
        };
    }
    ip::<DIRECT>(ctx, kind, ETHERNET_BYTES + tags * TAG_BYTES, slot)
}

/// A packet that begins with its IP header.
#[inline(always)]
pub fn raw_ip<'k, const DIRECT: bool>(ctx: &TcContext, slot: &'k mut Slot) -> Parsed<'k> {
    // SAFETY: a context field; the verifier turns it into a load from the socket buffer.
    let protocol = unsafe { (*skb(ctx)).protocol };
    ip::<DIRECT>(ctx, protocol as u16, 0, slot)
}

/// `kind` in network byte order, as `EtherType` has it.
#[inline(always)]
fn ip<'k, const DIRECT: bool>(ctx: &TcContext, kind: u16, offset: u32, slot: &'k mut Slot) -> Parsed<'k> {
    if kind == EtherType::Ipv4 as u16 {
        ipv4::<DIRECT>(ctx, offset, slot)
    } else if kind == EtherType::Ipv6 as u16 {
        ipv6::<DIRECT>(ctx, offset, slot)
    } else {
        Parsed::Not(Outcome::NotIp)
    }
}

#[inline(always)]
fn ipv4<'k, const DIRECT: bool>(ctx: &TcContext, offset: u32, slot: &'k mut Slot) -> Parsed<'k> {
    const WORDS: usize = Ipv4Hdr::LEN / size_of::<u32>();
    const SOURCE: usize = offset_of!(Ipv4Hdr, src_addr) / size_of::<u32>();
    const DESTINATION: usize = offset_of!(Ipv4Hdr, dst_addr) / size_of::<u32>();
    let mut copy = MaybeUninit::<[u32; WORDS]>::uninit();
    let Some(at) = header::<DIRECT, WORDS>(ctx, offset, Ipv4Hdr::LEN as u32, &mut copy) else {
        return missing::<DIRECT>();
    };
    // SAFETY: the whole fixed header is there.
    let (version_ihl, total, protocol, fragment) = unsafe {
        (
            at.cast::<u8>().read_volatile(),
            at.byte_add(offset_of!(Ipv4Hdr, tot_len))
                .cast::<u16>()
                .read_volatile(),
            at.byte_add(offset_of!(Ipv4Hdr, proto))
                .cast::<u8>()
                .read_volatile(),
            at.byte_add(offset_of!(Ipv4Hdr, frags))
                .cast::<u16>()
                .read_volatile(),
        )
    };
    let header_bytes = u32::from(version_ihl & 0x0f) * 4;
    if version_ihl >> 4 != 4 || header_bytes < Ipv4Hdr::LEN as u32 || offset + header_bytes > ctx.len() {
        return Parsed::Not(Outcome::Malformed);
    }
    // SAFETY: the whole fixed header is there.
    let (destination, source) = unsafe { (word(at, DESTINATION), word(at, SOURCE)) };
    let end = transport::end(ctx, offset, u16::from_be(total));
    let transport = if !begins_transport(fragment) {
        Some(Transport::unread(protocol, offset + header_bytes, end))
    } else if !DIRECT {
        transport::read::<false>(ctx, protocol, offset + header_bytes, end)
    } else if header_bytes == Ipv4Hdr::LEN as u32 {
        // A constant, by which alone a packet pointer may be moved.
        transport::read::<true>(ctx, protocol, offset + Ipv4Hdr::LEN as u32, end)
    } else {
        None
    };
    let Some(transport) = transport else {
        return Parsed::OutOfReach;
    };
    let key = slot.write(Key {
        destination: [0, 0, MAPPED, destination],
        source: [0, 0, MAPPED, source],
        ifindex: ifindex(ctx),
    });
    Parsed::Ip {
        key,
        transport: transport.blurred(Blur::new(ctx)),
    }
}

/// Reads a field of a header, which need not be aligned for its type.
macro_rules! load {
    ($at:expr, $type:ty) => {
        // SAFETY: the caller has compared the place with the packet's end. The verifier allows loads that are not aligned
        // where the processor does.
        unsafe { ($at as *const $type).read_volatile() }
    };
}
pub(crate) use load;

/// Whether an IPv4 packet with this fragment field has what the protocol's header is in.
#[inline(always)]
const fn begins_transport(fragment: u16) -> bool {
    u16::from_be(fragment) & 0x1fff == 0
}

#[inline(always)]
fn ipv6<'k, const DIRECT: bool>(ctx: &TcContext, offset: u32, slot: &'k mut Slot) -> Parsed<'k> {
    const WORDS: usize = Ipv6Hdr::LEN / size_of::<u32>();
    const SOURCE: usize = offset_of!(Ipv6Hdr, src_addr) / size_of::<u32>();
    const DESTINATION: usize = offset_of!(Ipv6Hdr, dst_addr) / size_of::<u32>();
    let mut copy = MaybeUninit::<[u32; WORDS]>::uninit();
    let Some(at) = header::<DIRECT, WORDS>(ctx, offset, Ipv6Hdr::LEN as u32, &mut copy) else {
        return missing::<DIRECT>();
    };
    // SAFETY: the whole fixed header is there.
    let (version, payload, protocol) = unsafe {
        (
            at.cast::<u8>().read_volatile(),
            at.byte_add(offset_of!(Ipv6Hdr, payload_len))
                .cast::<u16>()
                .read_volatile(),
            at.byte_add(offset_of!(Ipv6Hdr, next_hdr))
                .cast::<u8>()
                .read_volatile(),
        )
    };
    if version >> 4 != 6 {
        return Parsed::Not(Outcome::Malformed);
    }
    // SAFETY: the whole fixed header is there.
    let address = |first| unsafe {
        [
            word(at, first),
            word(at, first + 1),
            word(at, first + 2),
            word(at, first + 3),
        ]
    };
    let key = slot.write(Key {
        destination: address(DESTINATION),
        source: address(SOURCE),
        ifindex: ifindex(ctx),
    });
    let behind = offset + Ipv6Hdr::LEN as u32;
    let end = transport::end(ctx, behind, u16::from_be(payload));
    let transport = if !DIRECT {
        Some(transport::behind_extensions(ctx, protocol, behind, end))
    } else if transport::is_extension(protocol) {
        None
    } else {
        transport::read::<true>(ctx, protocol, behind, end)
    };
    let Some(transport) = transport else {
        return Parsed::OutOfReach;
    };
    Parsed::Ip {
        key,
        transport: transport.blurred(Blur::new(ctx)),
    }
}

/// The number of the interface that the packet leaves through.
#[inline(always)]
pub fn ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: a context field; the verifier turns it into a load from the socket buffer.
    unsafe { (*skb(ctx)).ifindex }
}

/// What a header that is not there means: nothing yet, or that the packet ends before it.
#[inline(always)]
fn missing<const DIRECT: bool>() -> Parsed<'static> {
    if DIRECT {
        Parsed::OutOfReach
    } else {
        Parsed::Not(Outcome::Malformed)
    }
}

#[inline(always)]
fn is_vlan(kind: u16) -> bool {
    kind == EtherType::Ieee8021q as u16 || kind == EtherType::Ieee8021ad as u16
}

/// Bytes of all headers in front of the payload, where the transport header can be read. Always with a copy: it is asked
/// for only when the kernel does not know a super-packet's number of segments.
#[inline(always)]
pub fn headers_bytes(ctx: &TcContext, protocol: u8, transport: u32) -> Option<u32> {
    const DATA_OFFSET: u32 = 12;
    if protocol == IpProto::Tcp as u8 {
        let mut copy = MaybeUninit::<[u32; 1]>::uninit();
        let at = header::<false, 1>(ctx, transport + DATA_OFFSET, 1, &mut copy)?;
        // SAFETY: one byte is there.
        let bytes = u32::from(unsafe { at.cast::<u8>().read_volatile() } >> 4) * 4;
        (bytes >= TcpHdr::LEN as u32).then_some(transport + bytes)
    } else if protocol == IpProto::Udp as u8 {
        Some(transport + UdpHdr::LEN as u32)
    } else {
        None
    }
}
