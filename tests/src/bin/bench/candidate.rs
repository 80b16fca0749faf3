//! The programs that are compared, each loaded with its own tables.

use std::net::Ipv4Addr;

use aya::Ebpf;
use aya::maps::HashMap;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use ipnet::IpNet;
use tcpwatch::kernel::attach::LinkLayer;
use tcpwatch::kernel::drain::Drain;
use tcpwatch::kernel::load::{self, COMPARISON, Capacity, Programs};
use tcpwatch::kernel::policy::PolicySet;
use tcpwatch::kernel::tables::KernelTables;
use tcpwatch_common::{SourceKey, mapped};

/// Room for destinations, the same for all.
pub const DESTINATIONS: u32 = 262_144;

enum Loaded {
    Comparison(Ebpf, &'static str),
    // The tables are held: dropping them would not free the program's, but keeps this honest.
    Tcpwatch(
        Programs,
        #[expect(dead_code, reason = "holds the tables")] Box<Drain<KernelTables>>,
    ),
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
        Self::comparison("naive", "naive", Some(source))
    }

    fn comparison(name: &'static str, program: &'static str, source: Option<Ipv4Addr>) -> Self {
        let mut ebpf = Ebpf::load(COMPARISON).unwrap();
        let classifier: &mut SchedClassifier = ebpf.program_mut(program).unwrap().try_into().unwrap();
        classifier.load().unwrap();
        if let Some(source) = source {
            let mut sources: HashMap<_, [u8; 4], u8> = ebpf.map_mut("SOURCES").unwrap().try_into().unwrap();
            sources.insert(source.octets(), 0, 0).unwrap();
        }
        Self {
            name,
            loaded: Loaded::Comparison(ebpf, program),
        }
    }

    /// tcpwatch with one own source and these bans.
    pub fn tcpwatch(name: &'static str, source: Ipv4Addr, ifindex: u32, bans: &[IpNet]) -> Self {
        let capacity = Capacity {
            destinations: DESTINATIONS,
            bans: u32::try_from(bans.len()).unwrap(),
        };
        let (programs, tables) = load::load(capacity).unwrap();
        let policy = PolicySet {
            any_source: false,
            sources: [SourceKey {
                address: mapped(source.octets()),
                ifindex,
            }]
            .into(),
            bans: bans.into(),
        };
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
            Loaded::Tcpwatch(programs, _) => programs.get_mut(LinkLayer::Ethernet).unwrap(),
        }
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
}
