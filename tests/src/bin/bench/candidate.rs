//! The programs that are compared, each loaded with its own tables.

use std::ffi::CString;
use std::net::Ipv4Addr;
use std::sync::Arc;

use aya::maps::HashMap;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use ipnet::IpNet;
use tcpwatch::kernel::attach::{Direction, LinkLayer};
use tcpwatch::kernel::capacity::{Capacity, SAMPLE_BYTES};
use tcpwatch::kernel::drain::{CounterSource as _, Drain};
use tcpwatch::kernel::load::{self, COMPARISON, Programs};
use tcpwatch::kernel::policy::{PolicySet, PortBits};
use tcpwatch::kernel::tables::KernelTables;
use tcpwatch::tally::Drained;
use tcpwatch_common::ports::{GROUP, GROUPS, bit};
use tcpwatch_common::{POLICY_DNS, POLICY_QUIC, POLICY_TLS, SourceKey, mapped};

use crate::sender::Sender;

/// The watched interface of the lab.
pub const INTERFACE: &str = "eth0";
/// Its address, which packets are sent from.
pub const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Room for destinations, the same for all that are compared.
pub const ROOM: u32 = 262_144;

/// The name of [`Candidate::everything`].
const EVERYTHING: &str = "tcpwatch, everything on";
/// A port that is served; nothing is sent from it.
const SERVED: u16 = 443;

/// Drains before a measurement: tables that adapt to the number of destinations have then done so, in both generations.
const WARM_UP_DRAINS: usize = 3;

/// The only place that knows how the kernel tables are sized.
fn capacity(destinations: u32, bans: usize, samples: u32) -> Capacity {
    Capacity {
        slots: None,
        spill: destinations,
        bans: u32::try_from(bans).unwrap(),
        samples,
    }
}

enum Loaded {
    Comparison(Box<Ebpf>, &'static str),
    Tcpwatch(Programs, Box<Drain<KernelTables>>),
}

/// A program to measure.
pub struct Candidate {
    /// As the report names it.
    pub name: &'static str,
    loaded: Loaded,
}

impl Candidate {
    /// Does nothing: what calling a program costs.
    pub fn empty() -> Self {
        Self::comparison("empty", "empty", None)
    }

    /// Own sources, bans and one shared hash map with atomic additions, each asked for every packet.
    pub fn naive(source: Ipv4Addr) -> Self {
        Self::naive_of(&[source])
    }

    /// The same with these own sources.
    pub fn naive_of(own: &[Ipv4Addr]) -> Self {
        let mut naive = Self::comparison("naive", "naive", Some("DESTINATIONS"));
        if let Loaded::Comparison(ebpf, _) = &mut naive.loaded {
            let mut sources: HashMap<_, [u8; 4], u8> = ebpf.map_mut("SOURCES").unwrap().try_into().unwrap();
            for source in own {
                sources.insert(source.octets(), 0, 0).unwrap();
            }
        }
        naive
    }

    /// A per-CPU hash map of destinations and nothing else: no sources, no bans, no atomics.
    pub fn per_cpu() -> Self {
        Self::comparison("per-CPU hash", "percpu", Some("PER_CPU_DESTINATIONS"))
    }

    fn comparison(name: &'static str, program: &'static str, table: Option<&str>) -> Self {
        let mut loader = EbpfLoader::new();
        // The object has the tables of all programs; those of the others take no memory.
        for map in ["DESTINATIONS", "PER_CPU_DESTINATIONS"] {
            loader.map_max_entries(map, if table == Some(map) { ROOM } else { 1 });
        }
        let mut ebpf = loader.load(COMPARISON).unwrap();
        let classifier: &mut SchedClassifier = ebpf.program_mut(program).unwrap().try_into().unwrap();
        classifier.load().unwrap();
        Self {
            name,
            loaded: Loaded::Comparison(Box::new(ebpf), program),
        }
    }

    /// tcpwatch with room for so many destinations, one own source and these bans.
    pub fn tcpwatch(name: &'static str, room: u32, source: SourceKey, bans: &[IpNet]) -> Self {
        Self::of_sources(name, room, &[source], bans)
    }

    /// The same with these own sources.
    pub fn of_sources(name: &'static str, room: u32, sources: &[SourceKey], bans: &[IpNet]) -> Self {
        let policy = PolicySet {
            sources: sources.iter().copied().collect(),
            bans: bans.into(),
            ..PolicySet::default()
        };
        Self::with(name, capacity(room, bans.len(), 0), policy)
    }

    /// The same with everything on: served ports are left out, and DNS, TLS and QUIC are sampled.
    pub fn everything(room: u32, source: SourceKey) -> Self {
        let mut served = PortBits {
            tcp: Box::new([0; GROUPS as usize]),
            udp: Box::new([0; GROUPS as usize]),
        };
        for ports in [&mut served.tcp, &mut served.udp] {
            ports[(SERVED / GROUP as u16) as usize] |= bit(SERVED);
        }
        let policy = PolicySet {
            sources: [source].into(),
            served: Some(Arc::new(served)),
            samples: POLICY_DNS | POLICY_TLS | POLICY_QUIC,
            ..PolicySet::default()
        };
        Self::with(EVERYTHING, capacity(room, 0, SAMPLE_BYTES), policy)
    }

    fn with(name: &'static str, capacity: Capacity, policy: PolicySet) -> Self {
        let (programs, tables) = load::load(capacity).unwrap();
        let drain = Drain::new(tables, policy).unwrap();
        Self {
            name,
            loaded: Loaded::Tcpwatch(programs, Box::new(drain)),
        }
    }

    /// The program, to be run or attached.
    pub fn program(&mut self) -> &mut SchedClassifier {
        match &mut self.loaded {
            Loaded::Comparison(ebpf, program) => ebpf.program_mut(program).unwrap().try_into().unwrap(),
            Loaded::Tcpwatch(programs, _) => {
                programs.get_mut(LinkLayer::Ethernet, Direction::Egress).unwrap()
            }
        }
    }

    /// What was counted since the drain before; none for a program that is never drained.
    pub fn drain(&mut self) -> Option<Drained> {
        match &mut self.loaded {
            Loaded::Comparison(..) => None,
            Loaded::Tcpwatch(_, drain) => Some(drain.drain().unwrap().drained),
        }
    }

    /// Fills the tables: what is measured is the middle of an interval, not its beginning.
    pub fn warm_up(&mut self, sender: &Sender) {
        let _link = self.attach(INTERFACE);
        for _ in 0..WARM_UP_DRAINS {
            sender.all_once();
            self.drain();
        }
        sender.all_once();
    }

    /// Attaches to an interface of the calling thread's namespace, until the link is dropped.
    pub fn attach(&mut self, interface: &str) -> SchedClassifierLink {
        let program = self.program();
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program
            .attach_with_options(interface, TcAttachType::Egress, options)
            .unwrap();
        program.take_link(id).unwrap()
    }

    /// Sends while attached and returns nanoseconds a packet by the kernel's run-time statistics, which must be on.
    /// Before, each destination is met once, so that no program starts with caches that another one has filled.
    pub fn measure(&mut self, sender: &Sender, first: usize, packets: usize) -> f64 {
        let _link = self.attach(INTERFACE);
        sender.all_once();
        let before = self.program().info().unwrap();
        sender.send(first, packets);
        let after = self.program().info().unwrap();
        let runs = after.run_count() - before.run_count();
        assert!(
            runs >= packets as u64,
            "{}: {runs} runs for {packets} packets",
            self.name
        );
        (after.run_time() - before.run_time()).as_nanos() as f64 / runs as f64
    }
}

/// An own source as tcpwatch knows it.
pub fn own(address: Ipv4Addr, ifindex: u32) -> SourceKey {
    SourceKey {
        address: mapped(address.octets()),
        ifindex,
    }
}

/// The lab's own source. Must be called in its namespace.
pub fn lab_source() -> SourceKey {
    lab_own(SOURCE)
}

/// An own source on the lab's interface. Must be called in its namespace.
pub fn lab_own(address: Ipv4Addr) -> SourceKey {
    let name = CString::new(INTERFACE).unwrap();
    // SAFETY: a terminated string.
    own(address, unsafe { libc::if_nametoindex(name.as_ptr()) })
}
