//! The script, played once for one way of attaching: loaded, attached, sent, drained, detached, compared.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use tcpwatch_common::{Counts, Outcome, SourceKey, Traffic};

use super::SelftestError;
use super::script::{self, Act, FOREIGN, Fate, Kind, NEAR_V4, NEAR_V6};
use super::stage::{INTERFACE, PORT, Stage};
use super::traces::Traces;
use crate::kernel::attach::{AttachMode, Attacher, Direction, LinkLayer, survey};
use crate::kernel::capacity::Capacity;
use crate::kernel::drain::{CounterSource as _, Drain};
use crate::kernel::load::load;
use crate::kernel::policy::{PolicySet, to_address, to_ip};
use crate::kernel::sandbox;
use crate::tally::Tally;

#[cfg(test)]
mod tests;

/// Small tables: there are few destinations.
const CAPACITY: Capacity = Capacity {
    slots: Some(1024),
    spill: 1024,
    bans: 1,
    samples: 0,
};
/// How long packets may be on their way through the pair.
const ARRIVAL: Duration = Duration::from_secs(1);
/// How long a connection may take to be refused.
const REFUSAL: Duration = Duration::from_millis(500);

/// What came of one line of the script.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The line.
    pub act: Act,
    /// What was to be counted.
    pub expected: Traffic,
    /// What was.
    pub counted: Traffic,
    /// Packets that arrived at the other end; none: that is not asked of it.
    pub arrived: Option<u64>,
    /// Packets of the kernel's own that were counted with them.
    pub noise: u64,
}

impl Row {
    /// Exactly; what is not from an own source may be more, because the kernel itself sends such packets.
    pub fn passed(&self) -> bool {
        let exact = self.counted == self.expected;
        exact
            && self
                .arrived
                .is_none_or(|packets| packets == self.expected.counts.packets)
    }
}

/// What came of one way of attaching.
#[derive(Clone, Debug)]
pub struct Part {
    /// How the program was attached.
    pub attach: &'static str,
    /// The lines of the script.
    pub rows: Vec<Row>,
    /// Destinations that nothing was sent to, with their packets.
    pub strangers: Vec<(IpAddr, u64)>,
    /// Whether every packet that was seen is in one of the outcomes, and every one of those under its destination or prefix.
    pub balanced: bool,
    /// All packets.
    pub seen: Counts,
    /// Drains that this took.
    pub drains: u32,
    /// How long it took.
    pub took: Duration,
}

impl Part {
    /// Whether everything was as expected.
    pub fn passed(&self) -> bool {
        self.balanced && self.strangers.is_empty() && self.rows.iter().all(Row::passed)
    }
}

/// Plays `acts` with the program attached by `mode`. With `fault`, a packet is lost between the kernel and the comparison.
pub async fn perform(
    stage: &Stage,
    acts: &[Act],
    mode: AttachMode,
    before: &BTreeSet<u32>,
    traces: &mut Traces,
    fault: bool,
) -> Result<Part, SelftestError> {
    let (programs, tables) = load(CAPACITY)?;
    let mut source = Drain::new(tables, policy(stage.ifindex))?;
    let mut attacher = Attacher::new(programs, mode, stage.near.clone(), None);
    let attachment = attacher
        .attach(INTERFACE, stage.ifindex, LinkLayer::Ethernet, Direction::Egress)
        .await?;
    traces.programs.extend(
        survey::names()
            .into_iter()
            .filter(|(id, name)| !before.contains(id) && name.starts_with("tcpwatch_"))
            .map(|(id, _)| id),
    );
    let mut tally = Tally::default();
    // In two halves, so that both generations of the tables are used, and the last drain is made as a daemon makes it.
    let (first, second) = acts.split_at(acts.len() / 2);
    for act in first {
        play(act)?;
    }
    let mut balanced = tally.add(source.drain()?.drained).is_none();
    for act in second {
        play(act)?;
    }
    let attach = attachment.hook.name();
    drop(attachment);
    balanced &= tally.add(source.drain()?.drained).is_none();
    if fault {
        lose_a_packet(&mut tally);
    }
    let arrived = arrived(stage, acts);
    Ok(judge(stage.ifindex, acts, attach, &tally, balanced, &arrived))
}

/// The negative control: of the first destination, so that it is the same one each time.
fn lose_a_packet(tally: &mut Tally) {
    let first = tally.destinations.iter_mut().min_by_key(|(key, _)| **key);
    if let Some((_, traffic)) = first {
        traffic.counts.packets -= 1;
    }
}

fn policy(ifindex: u32) -> PolicySet {
    let own = |address: IpAddr| SourceKey {
        address: to_address(address),
        ifindex,
    };
    PolicySet {
        sources: [own(NEAR_V4.into()), own(NEAR_V6.into())].into(),
        bans: [script::banned()].into(),
        ..PolicySet::default()
    }
}

/// Sends what one line of the script says.
fn play(act: &Act) -> Result<(), SelftestError> {
    let send = |source| SelftestError::Step {
        step: "send its traffic",
        source,
    };
    let to = SocketAddr::from((act.destination, PORT));
    match act.kind {
        Kind::Datagrams { payload } => {
            let socket = bind(act).map_err(send)?;
            let data = vec![b'x'; usize::from(payload)];
            for _ in 0..act.packets {
                socket.send_to(&data, to).map_err(send)?;
            }
        }
        Kind::Burst { segment } => {
            let socket = bind(act).map_err(send)?;
            sandbox::cut_datagrams(&socket, segment).map_err(send)?;
            let data = vec![b'x'; usize::from(segment) * usize::from(act.packets)];
            socket.send_to(&data, to).map_err(send)?;
        }
        Kind::Connections => {
            for _ in 0..act.packets {
                match TcpStream::connect_timeout(&to, REFUSAL) {
                    // As it should be: the other end has received the SYN, and nobody listens.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(error) => return Err(send(error)),
                    Ok(_) => return Err(send(io::Error::other("somebody listens where nobody should"))),
                }
            }
        }
    }
    Ok(())
}

fn bind(act: &Act) -> io::Result<UdpSocket> {
    let from: IpAddr = match (act.fate, act.destination) {
        (Fate::OtherSource, _) => FOREIGN.into(),
        (_, IpAddr::V4(_)) => NEAR_V4.into(),
        (_, IpAddr::V6(_)) => NEAR_V6.into(),
    };
    UdpSocket::bind((from, 0))
}

/// What has come to the other end, by destination. Packets from a foreign source may be refused there.
fn arrived(stage: &Stage, acts: &[Act]) -> BTreeMap<IpAddr, u64> {
    let wanted: BTreeMap<IpAddr, u64> = acts
        .iter()
        .filter(|act| act.kind != Kind::Connections && act.fate != Fate::OtherSource)
        .map(|act| (act.destination, u64::from(act.packets)))
        .collect();
    let mut arrived: BTreeMap<IpAddr, u64> = wanted.keys().map(|address| (*address, 0)).collect();
    let begin = Instant::now();
    let mut buffer = [0; 2048];
    loop {
        for (address, socket) in &stage.sinks {
            while socket.recv(&mut buffer).is_ok() {
                if let Some(packets) = arrived.get_mut(address) {
                    *packets += 1;
                }
            }
        }
        if arrived == wanted || begin.elapsed() > ARRIVAL {
            return arrived;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Compares.
fn judge(
    ifindex: u32,
    acts: &[Act],
    attach: &'static str,
    tally: &Tally,
    balanced: bool,
    arrived: &BTreeMap<IpAddr, u64>,
) -> Part {
    let mut found: BTreeMap<IpAddr, Traffic> = BTreeMap::new();
    let mut elsewhere = false;
    for (key, traffic) in &tally.destinations {
        elsewhere |= key.ifindex != ifindex;
        found.entry(to_ip(key.destination)).or_default().add(*traffic);
    }
    let of = |outcome: Outcome| tally.totals.outcomes[outcome as usize];
    let rows = acts
        .iter()
        .map(|act| {
            let expected = act.expected();
            let mut noise = 0;
            let counted = match act.fate {
                Fate::Counted => found.remove(&act.destination).unwrap_or_default(),
                Fate::Banned => Traffic::of(tally.bans.get(&script::banned()).copied().unwrap_or_default()),
                Fate::OtherSource => {
                    let mut all = of(Outcome::OtherSource);
                    // The kernel's own packets (multicast listener reports) have no own source either.
                    if all.packets > expected.counts.packets && all.bytes > expected.counts.bytes {
                        noise = all.packets - expected.counts.packets;
                        all = expected.counts;
                    }
                    Traffic::of(all)
                }
            };
            Row {
                act: *act,
                expected,
                counted,
                arrived: arrived.get(&act.destination).copied(),
                noise,
            }
        })
        .collect();
    let wrong = [Outcome::Malformed, Outcome::Served, Outcome::Overflow];
    Part {
        attach,
        rows,
        // What the kernel itself says to all of its neighbours is no mistake of the count.
        strangers: found
            .into_iter()
            .filter(|(address, _)| !address.is_multicast())
            .map(|(address, traffic)| (address, traffic.counts.packets))
            .collect(),
        balanced: balanced && !elsewhere && wrong.into_iter().all(|outcome| of(outcome).packets == 0),
        seen: tally.totals.seen,
        drains: tally.drains,
        took: Duration::ZERO,
    }
}
