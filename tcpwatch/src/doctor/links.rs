//! Interfaces: what is watched, what it hands over, and what lies on what. Pure: judges what the kernel said.

use std::sync::Arc;

use super::finding::Finding;
use crate::config::{Interfaces, Sources};
use crate::kernel::attach::LinkLayer;
use crate::net::{Defaults, Interface};
use crate::pipeline::choice::ChoiceError;
use crate::sink::text::bytes;

/// Addresses that are named; the rest is a number.
const NAMED: usize = 3;

/// What a device says of itself, beyond its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub index: u32,
    /// What made it (veth, vlan, bond …); none: a piece of hardware, mostly.
    pub kind: Option<String>,
    /// The device that it lies on, in the same namespace; none: on none.
    pub on: Option<u32>,
    /// The bond, bridge or team that it is a part of.
    pub part_of: Option<u32>,
    /// Whether it can send: none: it does not say.
    pub operational: Option<bool>,
    /// Most bytes of a buffer that it takes whole.
    pub gso_bytes: Option<u32>,
    /// Most packets that it makes of one buffer.
    pub gso_packets: Option<u32>,
}

/// Why there is nothing to watch. The error's text is what is wrong, a colon, and what to do.
pub fn nothing(error: &ChoiceError) -> Finding {
    let text = error.to_string();
    let (says, cure) = text.split_once(": ").unwrap_or((&text, "--interface NAME"));
    let cure = match cure.strip_prefix("there are ") {
        Some(names) => format!("take one of {names}"),
        None => cure.to_owned(),
    };
    Finding::fail("interface", says).cure(cure)
}

/// An interface that is to be watched.
pub fn interface(
    interface: &Interface,
    device: Option<&Device>,
    choice: &Interfaces,
    defaults: &Defaults,
) -> Finding {
    const CHECK: &str = "interface";
    let name = &interface.name;
    let kind = device.and_then(|device| device.kind.as_deref());
    let mut facts = vec![match (kind, interface.layer) {
        (Some(kind), _) => kind.to_owned(),
        (None, Some(LinkLayer::Ethernet)) => "Ethernet".to_owned(),
        (None, Some(LinkLayer::None)) => "plain IP".to_owned(),
        (None, None) => format!("type {}", interface.kind),
    }];
    if *choice == Interfaces::DefaultRoute {
        let families = match (
            defaults.v4.contains(&interface.index),
            defaults.v6.contains(&interface.index),
        ) {
            (true, true) => "IPv4 and IPv6",
            (true, false) => "IPv4",
            (false, _) => "IPv6",
        };
        facts.push(format!("default route of {families}"));
    }
    let mut addresses: Vec<String> = interface
        .addresses
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    match interface.addresses.len().saturating_sub(NAMED) {
        0 => {}
        more => addresses.push(format!("and {more} more")),
    }
    let says = |state: &str| {
        let list = if addresses.is_empty() {
            "no address".to_owned()
        } else {
            addresses.join(", ")
        };
        format!("{name}: {}, {state}: {list}", facts.join(", "))
    };
    if !interface.up {
        return Finding::warn(CHECK, says("down")).cure(format!(
            "ip link set {name} up; tcpwatch may be started before, and counts from then on"
        ));
    }
    if device.and_then(|device| device.operational) == Some(false) {
        return Finding::warn(CHECK, says("up, but without a carrier"))
            .cure(format!("look at the cable or the other end: ip link show {name}"));
    }
    Finding::ok(CHECK, says("up"))
}

/// Whether what is counted are packets or buffers: packets, always.
pub fn offload(interface: &Interface, device: &Device) -> Option<Finding> {
    const CHECK: &str = "offload";
    let (size, packets) = (device.gso_bytes?, device.gso_packets.unwrap_or(0));
    Some(if packets > 1 {
        Finding::ok(
            CHECK,
            format!(
                "{}: up to {} at once, cut late (GSO/TSO), and counted packet by packet as it leaves",
                interface.name,
                bytes(u64::from(size))
            ),
        )
    } else {
        Finding::ok(
            CHECK,
            format!("{}: every packet is handed over by itself", interface.name),
        )
    })
}

/// Devices that lie on one another, both watched.
pub fn stacked(watched: &[(Arc<str>, &Device)], sources: &Sources) -> Vec<Finding> {
    const CHECK: &str = "stacked";
    let mut found = Vec::new();
    for (name, device) in watched {
        // A pair's ends name each other, and a tunnel's packets are others than those inside.
        let tunnel = device.kind.as_deref().is_some_and(|kind| {
            [
                "veth",
                "gre",
                "gretap",
                "ip6gre",
                "ip6gretap",
                "ipip",
                "ip6tnl",
                "sit",
                "vxlan",
                "geneve",
                "vti",
                "vti6",
            ]
            .contains(&kind)
        });
        let on = device.on.filter(|_| !tunnel);
        for (other, below) in watched {
            let (upper, lower) = if on == Some(below.index) && below.index != device.index {
                (name, other)
            } else if device.part_of == Some(below.index) {
                (other, name)
            } else {
                continue;
            };
            let says =
                format!("{upper} lies on {lower}, and both are watched: a packet through both is seen twice");
            found.push(if *sources == Sources::Auto {
                Finding::note(
                    CHECK,
                    format!(
                        "{says}, and counted where its source address is; on the other it is other_source"
                    ),
                )
                .cure(format!("to see it once, watch one of them: -i {upper}"))
            } else {
                Finding::warn(CHECK, format!("{says}, and with --source counted twice"))
                    .cure(format!("watch one of them: -i {upper}"))
            });
        }
    }
    found
}
