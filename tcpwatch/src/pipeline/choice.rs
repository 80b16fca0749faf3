//! Which interfaces to watch and whose packets to count: decisions without effects.

use std::sync::Arc;

use ipnet::IpNet;
use tcpwatch_common::SourceKey;

use crate::config::{Interfaces, Sources};
use crate::kernel::attach::LinkLayer;
use crate::kernel::policy::{PolicySet, to_address};
use crate::net::{Defaults, Interface, LOOPBACK_INDEX};

/// Why there is nothing to watch.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// A name that no interface has.
    #[error("no interface {name}: there are {present}")]
    NoSuch {
        /// As typed.
        name: String,
        /// What there is.
        present: String,
    },
    /// An interface that cannot send anything of its own.
    #[error(
        "{name} has no address, so nothing leaves it from an own source: give it one, or count all packets with --source any"
    )]
    NoAddress {
        /// The interface.
        name: Arc<str>,
    },
    /// A kind of device whose frames we cannot read.
    #[error(
        "{name} is a device of type {kind} (ARPHRD), whose frames tcpwatch cannot read: watch the interface below or above it"
    )]
    Kind {
        /// The interface.
        name: Arc<str>,
        /// Its type.
        kind: u16,
    },
    /// No way to the internet.
    #[error("no default route: name the interface to watch with --interface; there are {present}")]
    NoDefaultRoute {
        /// What there is.
        present: String,
    },
    /// `all`, but none is up.
    #[error("no interface but lo is up: bring one up, or name one with --interface; there are {present}")]
    NoneUp {
        /// What there is.
        present: String,
    },
}

/// An interface of the snapshot that can be attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The interface.
    pub interface: Interface,
    /// How its frames begin.
    pub layer: LinkLayer,
}

/// The interfaces to begin with.
///
/// # Errors
/// The first reason why the operator would not get what he asked for.
pub fn choose_first(
    choice: &Interfaces,
    sources: &Sources,
    present: &[Interface],
    defaults: &Defaults,
) -> Result<Vec<Candidate>, ChoiceError> {
    if let Interfaces::Named(names) = choice
        && let Some(name) = names
            .iter()
            .find(|name| !present.iter().any(|interface| *interface.name == ***name))
    {
        return Err(ChoiceError::NoSuch {
            name: name.clone(),
            present: names_of(present),
        });
    }
    let chosen: Vec<&Interface> = present
        .iter()
        .filter(|interface| wanted(choice, interface, defaults))
        .collect();
    if chosen.is_empty() {
        let present = names_of(present);
        return Err(match choice {
            Interfaces::All => ChoiceError::NoneUp { present },
            Interfaces::DefaultRoute | Interfaces::Named(_) => ChoiceError::NoDefaultRoute { present },
        });
    }
    if *choice != Interfaces::All
        && *sources == Sources::Auto
        && let Some(interface) = chosen.iter().find(|interface| interface.addresses.is_empty())
    {
        return Err(ChoiceError::NoAddress {
            name: Arc::clone(&interface.name),
        });
    }
    let mut candidates = Vec::new();
    for interface in chosen {
        match interface.layer {
            Some(layer) => candidates.push(Candidate {
                interface: interface.clone(),
                layer,
            }),
            None if *choice == Interfaces::All => {
                tracing::info!(
                    "{}: not watched: device type {} cannot be read",
                    interface.name,
                    interface.kind
                );
            }
            None => {
                return Err(ChoiceError::Kind {
                    name: Arc::clone(&interface.name),
                    kind: interface.kind,
                });
            }
        }
    }
    Ok(candidates)
}

/// Whether the operator wants it watched.
pub(super) fn wanted(choice: &Interfaces, interface: &Interface, defaults: &Defaults) -> bool {
    match choice {
        Interfaces::DefaultRoute => defaults.contains(interface.index),
        Interfaces::All => interface.up && interface.index != LOOPBACK_INDEX,
        Interfaces::Named(names) => names.iter().any(|name| **name == *interface.name),
    }
}

fn names_of(present: &[Interface]) -> String {
    let mut names: Vec<&str> = present.iter().map(|interface| &*interface.name).collect();
    names.sort_unstable();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Own sources and bans for these interfaces.
pub(super) fn policy<'a>(
    sources: &Sources,
    bans: &Arc<[IpNet]>,
    interfaces: impl Iterator<Item = &'a Interface>,
) -> PolicySet {
    let mut set = PolicySet {
        any_source: *sources == Sources::Any,
        bans: Arc::clone(bans),
        ..PolicySet::default()
    };
    for interface in interfaces {
        let addresses = match sources {
            Sources::Auto | Sources::Any => &interface.addresses,
            Sources::These(addresses) => addresses,
        };
        set.sources.extend(addresses.iter().map(|ip| SourceKey {
            address: to_address(*ip),
            ifindex: interface.index,
        }));
    }
    set
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn interface(index: u32, name: &str, addresses: &[&str]) -> Interface {
        Interface {
            index,
            name: name.into(),
            layer: Some(LinkLayer::Ethernet),
            kind: libc::ARPHRD_ETHER,
            up: true,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    fn present() -> Vec<Interface> {
        vec![
            Interface {
                kind: libc::ARPHRD_LOOPBACK,
                ..interface(1, "lo", &["127.0.0.1"])
            },
            interface(2, "eth0", &["198.51.100.7", "2001:db8::7"]),
            interface(3, "eth1", &[]),
            Interface {
                layer: None,
                kind: 280,
                ..interface(4, "can0", &["192.0.2.9"])
            },
        ]
    }

    fn chosen(choice: &Interfaces, sources: &Sources, defaults: &[u32]) -> Result<Vec<String>, String> {
        choose_first(
            choice,
            sources,
            &present(),
            &Defaults {
                v4: defaults.iter().copied().collect(),
                v6: BTreeSet::new(),
            },
        )
        .map(|candidates| candidates.iter().map(|c| c.interface.name.to_string()).collect())
        .map_err(|error| error.to_string())
    }

    fn named(name: &str) -> Interfaces {
        Interfaces::Named(vec![name.to_owned()])
    }

    #[test]
    fn without_a_name_the_interfaces_of_the_default_route_are_watched() {
        assert_eq!(
            chosen(&Interfaces::DefaultRoute, &Sources::Auto, &[2]).unwrap(),
            ["eth0"]
        );
        let message = chosen(&Interfaces::DefaultRoute, &Sources::Auto, &[]).unwrap_err();
        assert_eq!(
            message,
            "no default route: name the interface to watch with --interface; there are can0, eth0, eth1, lo"
        );
    }

    #[test]
    fn a_family_that_loses_its_route_keeps_its_interface() {
        let both = |v4: &[u32], v6: &[u32]| Defaults {
            v4: v4.iter().copied().collect(),
            v6: v6.iter().copied().collect(),
        };
        let mut defaults = both(&[2], &[3]);
        defaults.update(&both(&[4], &[]));
        assert_eq!(defaults, both(&[4], &[3]));
    }

    #[test]
    fn all_leaves_out_lo_and_what_cannot_be_read() {
        assert_eq!(
            chosen(&Interfaces::All, &Sources::Auto, &[]).unwrap(),
            ["eth0", "eth1"]
        );
    }

    #[test]
    fn a_named_interface_must_exist_have_an_address_and_be_readable() {
        assert_eq!(chosen(&named("eth0"), &Sources::Auto, &[]).unwrap(), ["eth0"]);
        assert!(
            chosen(&named("eth9"), &Sources::Auto, &[])
                .unwrap_err()
                .starts_with("no interface eth9: there are can0")
        );
        assert!(
            chosen(&named("eth1"), &Sources::Auto, &[])
                .unwrap_err()
                .starts_with("eth1 has no address")
        );
        assert_eq!(chosen(&named("eth1"), &Sources::Any, &[]).unwrap(), ["eth1"]);
        assert!(
            chosen(&named("can0"), &Sources::Auto, &[])
                .unwrap_err()
                .contains("type 280")
        );
    }

    #[test]
    fn given_sources_hold_on_every_watched_interface_and_own_addresses_on_theirs() {
        let interfaces = [
            interface(2, "eth0", &["198.51.100.7"]),
            interface(3, "eth1", &["198.51.100.8"]),
        ];
        let keys = |sources: &Sources| {
            let set = policy(sources, &Arc::default(), interfaces.iter());
            set.sources
                .iter()
                .map(|key| (crate::kernel::policy::to_ip(key.address).to_string(), key.ifindex))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            keys(&Sources::Auto),
            [("198.51.100.7".to_owned(), 2), ("198.51.100.8".to_owned(), 3)]
        );
        let these = Sources::These(["192.0.2.5".parse().unwrap()].into());
        assert_eq!(
            keys(&these),
            [("192.0.2.5".to_owned(), 2), ("192.0.2.5".to_owned(), 3)]
        );
    }
}
