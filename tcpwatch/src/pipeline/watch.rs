//! Which interfaces are watched now, and what follows from it: attachments and the policy.

mod contest;
mod incoming;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use self::contest::Contest;
use self::incoming::Incoming;
use super::choice::{Candidate, policy, wanted};
use super::naming;
use crate::config::{Config, Interfaces, Sources};
use crate::kernel::attach::{AttachError, Attacher, Attachment, Direction, Standing, remove_left};
use crate::kernel::pins::Pins;
use crate::kernel::policy::{PolicySet, PortBits};
use crate::net::{Defaults, Interface, Network, device_counters};
use crate::record::WatchedInterface;

/// What a look at the network leads to.
#[derive(Debug, Default)]
pub struct Changes {
    /// Newly chosen interfaces, to be attached to after `policy` is in force.
    pub attach: Vec<Candidate>,
    /// The policy, when it is another than before.
    pub policy: Option<PolicySet>,
    /// Interfaces that the default route has left, to be let go of after the new ones are attached to.
    pub release: Vec<u32>,
}

/// One watched interface.
#[derive(Debug)]
struct Watched {
    interface: Interface,
    /// For name servers' answers. Before `attachment`, because this is the order in which they are taken off: the lock on the classic
    /// hooks is the other one's.
    incoming: Incoming,
    attachment: Attachment,
    /// Since when.
    since: Timestamp,
}

/// The watched interfaces.
pub struct Watch {
    choice: Interfaces,
    sources: Sources,
    bans: Arc<[IpNet]>,
    attacher: Attacher,
    watched: BTreeMap<u32, Watched>,
    /// Interfaces whose packets may still be in the tally, although they may be gone.
    names: HashMap<u32, Arc<str>>,
    policy: PolicySet,
    /// The default route's interfaces, also while the route is missing.
    defaults: Defaults,
    /// Interfaces that could not be attached to: tried again, but said once.
    failed: BTreeSet<u32>,
    /// Others are chosen than at the last update: those that are watched may not be wanted any more.
    rechosen: bool,
    /// How often somebody took the program off an interface.
    removals: Removals,
    /// Interfaces on which others came before us.
    contests: HashMap<u32, Contest>,
}

/// How often the program was taken off an interface by somebody else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Removals {
    /// Times since the start.
    pub count: u64,
    /// When that was last noticed.
    pub last: Option<Timestamp>,
}

impl Watch {
    /// Begins with nothing attached. `first` are the interfaces that the first policy is for.
    #[must_use]
    pub fn new(config: &Config, attacher: Attacher, first: &[Candidate], defaults: Defaults) -> Self {
        let interfaces = first.iter().map(|candidate| &candidate.interface);
        Self {
            choice: config.interfaces.clone(),
            sources: config.sources.clone(),
            bans: Arc::clone(&config.bans),
            attacher,
            watched: BTreeMap::new(),
            names: HashMap::new(),
            policy: PolicySet {
                samples: naming::samples(config.names),
                ..policy(&config.sources, &config.bans, interfaces)
            },
            defaults,
            failed: BTreeSet::new(),
            rechosen: false,
            removals: Removals::default(),
            contests: HashMap::new(),
        }
    }

    /// The policy that should be in force.
    #[must_use]
    pub const fn policy(&self) -> &PolicySet {
        &self.policy
    }

    /// Leaves out these destinations.
    pub fn set_bans(&mut self, bans: Arc<[IpNet]>) {
        self.policy.bans = Arc::clone(&bans);
        self.bans = bans;
    }

    /// Watches other interfaces, and counts packets from other sources, from the next [`Self::update`] on.
    pub fn choose(&mut self, choice: Interfaces, sources: Sources) {
        self.rechosen |= choice != self.choice;
        self.choice = choice;
        self.sources = sources;
    }

    /// Has everything as it was before [`Self::choose`] and other changes of the policy.
    pub fn take_back(&mut self, choice: Interfaces, sources: Sources, policy: PolicySet) {
        self.rechosen = false;
        self.choice = choice;
        self.sources = sources;
        self.bans = Arc::clone(&policy.bans);
        self.policy = policy;
    }

    /// Leaves out packets from these ports.
    pub fn set_served(&mut self, ports: Arc<PortBits>) {
        self.policy.served = Some(ports);
    }

    /// Has it noted how many packets are from these ports, until [`Self::forget_served`].
    pub fn note_served(&mut self, ports: Arc<PortBits>) {
        self.policy.only_noted = true;
        self.set_served(ports);
    }

    /// Ends it.
    pub fn forget_served(&mut self) {
        self.policy.only_noted = false;
        self.policy.served = None;
    }

    /// Attaches to one more interface, for what leaves it; for what arrives, see [`Self::attach_incoming`].
    ///
    /// # Errors
    /// Nothing of ours is on it then.
    pub async fn attach(&mut self, candidate: Candidate) -> Result<(), AttachError> {
        let Candidate { interface, layer } = candidate;
        let attachment = self
            .attacher
            .attach(&interface.name, interface.index, layer, Direction::Egress)
            .await?;
        if attachment.behind > 0 {
            tracing::warn!(
                "{}: {} filters of others run before tcpwatch on the clsact hook: what they drop or accept finally is not counted",
                interface.name,
                attachment.behind
            );
        }
        self.names.insert(interface.index, Arc::clone(&interface.name));
        self.watched.insert(
            interface.index,
            Watched {
                interface,
                incoming: Incoming::new(self.policy.samples),
                attachment,
                since: Timestamp::now(),
            },
        );
        Ok(())
    }

    /// Takes in what the network looks like now: forgets interfaces that are gone, and says what else is to be done.
    pub fn update(&mut self, present: &[Interface], defaults: &Defaults) -> Changes {
        self.defaults.update(defaults);
        self.watched.retain(|index, watched| {
            let still = present.iter().any(|interface| interface.index == *index);
            if !still {
                tracing::warn!(
                    "{}: the interface is gone; watching for its return",
                    watched.interface.name
                );
            }
            still
        });
        self.failed
            .retain(|index| present.iter().any(|interface| interface.index == *index));
        let mut attach = Vec::new();
        for interface in present {
            if let Some(watched) = self.watched.get_mut(&interface.index) {
                if watched.interface != *interface {
                    self.names.insert(interface.index, Arc::clone(&interface.name));
                    watched.interface = interface.clone();
                }
            } else if let Some(layer) = interface.layer
                && wanted(&self.choice, interface, &self.defaults)
            {
                attach.push(Candidate {
                    interface: interface.clone(),
                    layer,
                });
            }
        }
        let interfaces = self
            .interfaces()
            .chain(attach.iter().map(|candidate| &candidate.interface));
        let policy = PolicySet {
            served: self.policy.served.clone(),
            only_noted: self.policy.only_noted,
            samples: self.policy.samples,
            ..policy(&self.sources, &self.bans, interfaces)
        };
        let changed = policy != self.policy;
        self.policy = policy;
        let left = |watched: &&Watched| {
            (self.rechosen || self.choice == Interfaces::DefaultRoute)
                && !wanted(&self.choice, &watched.interface, &self.defaults)
        };
        let release = self
            .watched
            .values()
            .filter(left)
            .map(|watched| watched.interface.index)
            .collect();
        Changes {
            attach,
            policy: changed.then(|| self.policy.clone()),
            release,
        }
    }

    /// Attaches to interfaces that came while running; a failure is said once, tried again at the next look, and leaves
    /// the others alone. True: none failed.
    pub async fn attach_late(&mut self, candidates: Vec<Candidate>) -> bool {
        let mut all = true;
        for candidate in candidates {
            let (name, index) = (Arc::clone(&candidate.interface.name), candidate.interface.index);
            match self.attach(candidate).await {
                Ok(()) => {
                    self.failed.remove(&index);
                    tracing::info!("{name}: watching");
                    self.mend_incoming().await;
                }
                Err(error) => {
                    all = false;
                    if self.failed.insert(index) {
                        tracing::error!(
                            "not watching {name}, trying again: {:#}",
                            anyhow::Error::from(error)
                        );
                    }
                }
            }
        }
        all
    }

    /// Takes the program off interfaces that are no longer to be watched.
    pub fn release(&mut self, indices: &[u32]) {
        self.rechosen = false;
        for index in indices {
            if let Some(watched) = self.watched.remove(index) {
                let why = match self.choice {
                    Interfaces::DefaultRoute => "the default route has moved",
                    Interfaces::All | Interfaces::Named(_) => "the configuration names others",
                };
                tracing::info!("{}: no longer watched: {why}", watched.interface.name);
            }
        }
    }

    /// Lets go of interfaces from whose hook the program was removed by somebody, so that the next look attaches it again.
    /// True: there were some.
    pub async fn notice_removed(&mut self) -> bool {
        let mut removed = Vec::new();
        let mut behind = Vec::new();
        for (index, watched) in &mut self.watched {
            let name = &watched.interface.name;
            let standing = self::standing(&self.attacher, &watched.attachment, name, *index).await;
            if let Standing::Behind(others) = &standing {
                behind.push((*index, others.clone()));
            }
            if standing == Standing::Gone {
                tracing::error!(
                    "{name}: somebody has removed tcpwatch from the egress hook: packets since then are not counted; attaching again"
                );
                removed.push(*index);
                continue;
            }
            mend_pin(&mut watched.attachment, name);
            if let Incoming::Attached(attachment) = &mut watched.incoming {
                mend_pin(attachment, name);
            }
            if let Incoming::Attached(attachment) = &watched.incoming
                && self::standing(&self.attacher, attachment, name, *index).await == Standing::Gone
            {
                tracing::error!(
                    "{name}: somebody has removed tcpwatch from the ingress hook: name servers' answers since then are not known; attaching again"
                );
                watched.incoming = Incoming::Missing { said: false };
            }
        }
        self.mend_incoming().await;
        if let Some(pins) = self.attacher.pins()
            && let Err(error) = pins.mend_tables()
        {
            tracing::error!(
                "somebody has removed kernel tables from {}, and they cannot be put back: were tcpwatch killed now, counts would be lost: {:#}",
                pins.directory().display(),
                anyhow::Error::from(error)
            );
        }
        for (index, others) in behind {
            if !self.contest(index, &others).await {
                removed.push(index);
            }
        }
        for index in &removed {
            self.watched.remove(index);
            self.removals.count += 1;
            self.removals.last = Some(Timestamp::now());
        }
        !removed.is_empty()
    }

    /// Leaves the program on every interface when the process ends, if that is wanted.
    pub fn leave_all(&mut self) {
        if let Some(pins) = self.attacher.pins() {
            pins.stay();
            for watched in std::mem::take(&mut self.watched).into_values() {
                watched.attachment.leave();
                if let Incoming::Attached(attachment) = watched.incoming {
                    attachment.leave();
                }
            }
        }
    }

    /// Whether the program is to go on without the process.
    #[must_use]
    pub const fn survives(&self) -> bool {
        self.attacher.has_pins()
    }

    /// What goes on without the process.
    pub const fn pins(&mut self) -> Option<&mut Pins> {
        self.attacher.pins()
    }

    /// Takes what earlier processes have left off all interfaces. What is to be watched has a program of this one already.
    pub async fn release_left(&mut self, network: &Network) {
        let Some(pins) = self.attacher.pins() else {
            return;
        };
        pins.release_links();
        let present = match network.interfaces().await {
            Ok(present) => present,
            Err(error) => {
                tracing::warn!(
                    "cannot look for filters that were left: {:#}",
                    anyhow::Error::from(error)
                );
                return;
            }
        };
        for interface in present {
            if !self.watched.contains_key(&interface.index)
                && let Err(error) = remove_left(&network.handle(), &interface.name, interface.index).await
            {
                tracing::debug!("{}: {error}", interface.name);
            }
        }
    }

    /// Takes note of interfaces' names that are not known yet.
    pub fn note_names(&mut self, names: HashMap<u32, Arc<str>>) {
        for (index, name) in names {
            self.names.entry(index).or_insert(name);
        }
    }

    /// Takes the program off every interface.
    pub fn detach_all(&mut self) {
        self.watched.clear();
    }

    /// The watched interfaces.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.watched.values().map(|watched| &watched.interface)
    }

    /// How often somebody took the program off.
    #[must_use]
    pub const fn removals(&self) -> Removals {
        self.removals
    }

    /// The watched interfaces, each with its hook and since when it is watched.
    pub fn attached(&self) -> impl Iterator<Item = (&Interface, &'static str, Timestamp)> {
        self.watched.values().map(|watched| {
            let hook = watched.attachment.hook.name();
            (&watched.interface, hook, watched.since)
        })
    }

    /// The watched interfaces, as the record names them.
    #[must_use]
    pub fn for_record(&self) -> Vec<WatchedInterface> {
        let entry = |watched: &Watched| {
            let name = Arc::clone(&watched.interface.name);
            let (tx_packets, tx_bytes) = device_counters(&name).unzip();
            WatchedInterface {
                tx_packets,
                tx_bytes,
                ..WatchedInterface::new(name, watched.attachment.hook.name())
            }
        };
        self.watched.values().map(entry).collect()
    }

    /// Names by interface number, also of interfaces that went away during the interval.
    #[must_use]
    pub const fn names(&self) -> &HashMap<u32, Arc<str>> {
        &self.names
    }

    /// Forgets interfaces that were gone before the interval that has just been recorded ended.
    pub fn forget_gone(&mut self) {
        self.names.retain(|index, _| self.watched.contains_key(index));
    }
}

/// Puts back the name of a link that somebody has removed.
fn mend_pin(attachment: &mut Attachment, interface: &str) {
    match attachment.mend_pin(interface) {
        Ok(false) => {}
        Ok(true) => tracing::warn!(
            "{interface}: somebody has removed the pin of tcpwatch's link; it was put back, nothing is lost"
        ),
        Err(error) => tracing::error!(
            "somebody has removed the pin of tcpwatch's link: {:#}",
            anyhow::Error::from(error)
        ),
    }
}

/// Where a program stands, as far as that can be told.
async fn standing(attacher: &Attacher, attachment: &Attachment, interface: &str, index: u32) -> Standing {
    attacher
        .standing(attachment, interface, index)
        .await
        // An interface that has just gone: the network's own message follows.
        .inspect_err(|error| tracing::debug!("{interface}: {error}"))
        .unwrap_or(Standing::First)
}
