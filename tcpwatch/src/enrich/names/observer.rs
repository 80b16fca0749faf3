//! Samples in, findings out: keeps what belongs together until it can be read, and lets it go when that takes too long.

use std::mem;
use std::time::{Duration, Instant};

use super::dns::{self, Reply};
use super::finished::Finished;
use super::hello::Hello;
use super::pieces::{Full, Pieces};
use super::reader::Reader;
use super::table::{Key, Limits, Table};
use super::{Finding, Sample, SampleKind, quic, tls};

/// Connections of which a part is held.
const UNFINISHED: Limits = Limits {
    entries: 4096,
    bytes: 8 << 20,
    age: Duration::from_secs(10),
};

/// Samples of a connection that are put together: each is work, and the kernel takes four.
const MOST_SAMPLES: u32 = 64;

/// Longest message of a name server on TCP that is waited for, in bytes with its length of two.
const LONGEST_REPLY: usize = (16 << 10) + 2;

/// What became of the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// All that were given.
    pub samples: u64,
    /// Findings made of them.
    pub findings: u64,
    /// Connections and answers that were read and name no host, or no address.
    pub nameless: u64,
    /// Connections, datagrams and messages that are not what they should be, or damaged.
    pub unreadable: u64,
    /// Connections that were let go before they could be read: too old, too many, too long.
    pub given_up: u64,
}

/// Reads names out of samples.
#[derive(Debug)]
pub struct Observer {
    unfinished: Table<Unfinished>,
    finished: Finished,
    counters: Counters,
}

#[derive(Debug)]
struct Unfinished {
    samples: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Tls(Pieces),
    Quic(quic::Connection),
    Dns(Replies),
}

/// What a name server sends on a TCP connection.
#[derive(Debug)]
struct Replies {
    /// The place in the stream from which on `pieces` are.
    base: u32,
    pieces: Pieces,
}

impl Default for Observer {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self {
            unfinished: Table::new(UNFINISHED),
            finished: Finished::default(),
            counters: Counters::default(),
        }
    }

    /// What became of the samples until now.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many connections wait for more, and what they hold, in bytes.
    pub fn waiting(&self) -> (usize, usize) {
        (self.unfinished.len(), self.unfinished.bytes())
    }

    /// Reads a sample, taken about `now`. There is at most one finding for each connection, and one for each message of
    /// a name server.
    pub fn observe(&mut self, sample: Sample<'_>, now: Instant) -> Vec<Finding> {
        self.counters.samples += 1;
        let Self {
            unfinished,
            finished,
            counters,
        } = self;
        unfinished.expire(now, |gone| counters.let_go(&gone));
        finished.expire(now);
        let findings = match sample.kind {
            SampleKind::DnsUdp => self.message(sample.payload, sample.cut).into_iter().collect(),
            SampleKind::DnsTcp => self.messages(&sample, now),
            SampleKind::Tls | SampleKind::Quic => self.connection(&sample, now).into_iter().collect(),
        };
        self.counters.findings += findings.len() as u64;
        findings
    }

    fn message(&mut self, message: &[u8], cut: bool) -> Option<Finding> {
        match dns::reply(message, cut) {
            Reply::Addresses(name, addresses) => return Some(Finding::Answer { name, addresses }),
            Reply::Nothing => self.counters.nameless += 1,
            Reply::Unreadable => self.counters.unreadable += 1,
        }
        None
    }

    fn connection(&mut self, sample: &Sample<'_>, now: Instant) -> Option<Finding> {
        let key = Key::of(sample);
        if sample.kind == SampleKind::Tls && sample.offset == 0 {
            // Ports are used again; what is sent again is the same.
            self.finished.give_way(&key, sample.payload);
        }
        if self.finished.contains(&key) {
            return None;
        }
        let (mut connection, since) = self.unfinished.take(&key).unwrap_or_else(|| {
            let state = match sample.kind {
                SampleKind::Quic => State::Quic(quic::Connection::default()),
                _ => State::Tls(Pieces::default()),
            };
            (Unfinished { samples: 0, state }, now)
        });
        connection.samples += 1;
        match connection.read(sample) {
            Hello::Unfinished if connection.samples < MOST_SAMPLES => {
                self.keep(key, connection, since);
                return None;
            }
            // Whatever it is, the connection may still tell.
            Hello::Unreadable if connection.outlives_damage() => {
                self.counters.unreadable += 1;
                self.keep(key, connection, since);
                return None;
            }
            told => {
                self.finished.insert(&key, connection.beginning(), now);
                match told {
                    Hello::Name(name) => {
                        return Some(Finding::Connection {
                            source: sample.local,
                            destination: sample.remote,
                            name,
                        });
                    }
                    Hello::Nameless => self.counters.nameless += 1,
                    Hello::Unreadable => self.counters.unreadable += 1,
                    Hello::Unfinished => self.counters.given_up += 1,
                }
            }
        }
        None
    }

    /// The findings in what a name server sent on a TCP connection (RFC 1035 section 4.2.2, RFC 7766).
    fn messages(&mut self, sample: &Sample<'_>, now: Instant) -> Vec<Finding> {
        let key = Key::of(sample);
        let known = self
            .unfinished
            .take(&key)
            .and_then(|(known, _)| match known.state {
                State::Dns(replies) => Some(replies),
                State::Tls(_) | State::Quic(_) => None,
            });
        let mut replies = known.unwrap_or_else(|| Replies::beginning_with(sample));
        if replies.insert(sample).is_err() {
            self.counters.given_up += 1;
            return Vec::new();
        }
        let mut findings = Vec::new();
        let mut rest = Reader::new(replies.pieces.beginning());
        let mut taken = 0;
        let mut lost = false;
        loop {
            let whole = rest.rest().len();
            let Ok(length) = rest.length() else {
                break;
            };
            lost = length + 2 > LONGEST_REPLY;
            let Ok(message) = rest.take(length) else {
                break;
            };
            findings.extend(self.message(message, false));
            taken += whole - rest.rest().len();
        }
        if lost {
            self.counters.given_up += 1;
            return findings;
        }
        replies.advance(taken);
        // The next message comes behind it, perhaps soon.
        let connection = Unfinished {
            samples: 0,
            state: State::Dns(replies),
        };
        self.keep(key, connection, now);
        findings
    }

    fn keep(&mut self, key: Key, connection: Unfinished, since: Instant) {
        let counters = &mut self.counters;
        let bytes = connection.size();
        self.unfinished
            .put(key, connection, bytes, since, |gone| counters.let_go(&gone));
    }
}

impl Counters {
    fn let_go(&mut self, connection: &Unfinished) {
        // One on which nothing is under way has lost nothing.
        self.given_up += u64::from(!connection.is_idle());
    }
}

impl Unfinished {
    fn read(&mut self, sample: &Sample<'_>) -> Hello {
        match &mut self.state {
            State::Quic(connection) => connection.datagram(sample.payload),
            State::Tls(pieces) => {
                let offset = usize::try_from(sample.offset).unwrap_or(usize::MAX);
                let piece = Reader::new(sample.payload).up_to(tls::LONGEST.saturating_sub(offset));
                match pieces.insert(offset, piece, tls::LONGEST) {
                    Ok(()) => tls::first_sent(pieces.beginning()),
                    Err(Full) => Hello::Unreadable,
                }
            }
            State::Dns(_) => Hello::Unreadable,
        }
    }

    /// What was sent on TCP from the first byte on.
    fn beginning(&self) -> &[u8] {
        match &self.state {
            State::Tls(pieces) => pieces.beginning(),
            State::Quic(_) | State::Dns(_) => &[],
        }
    }

    /// Whether a sample that cannot be read leaves the connection as it was.
    fn outlives_damage(&self) -> bool {
        matches!(&self.state, State::Quic(connection) if !connection.is_empty())
    }

    fn is_idle(&self) -> bool {
        matches!(&self.state, State::Dns(replies) if replies.pieces.is_empty())
    }

    /// In bytes.
    fn size(&self) -> usize {
        let held = match &self.state {
            State::Tls(pieces) => pieces.size(),
            State::Quic(connection) => connection.size(),
            State::Dns(replies) => replies.pieces.size(),
        };
        mem::size_of::<Self>() + held
    }
}

impl Replies {
    /// Where the first message begins is known of the stream's first byte; elsewhere it is taken for certain if the
    /// sample holds whole messages, or if the first byte is out of reach.
    fn beginning_with(sample: &Sample<'_>) -> Self {
        let far = usize::try_from(sample.offset).is_ok_and(|offset| offset > LONGEST_REPLY);
        Self {
            base: if far || is_framed(sample.payload) {
                sample.offset
            } else {
                0
            },
            pieces: Pieces::default(),
        }
    }

    fn insert(&mut self, sample: &Sample<'_>) -> Result<(), Full> {
        // Streams may be longer than the numbers.
        let ahead = sample.offset.wrapping_sub(self.base);
        let (skip, at) = if ahead <= u32::MAX / 2 {
            (0, ahead)
        } else {
            (ahead.wrapping_neg(), 0)
        };
        let [skip, at] = [skip, at].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        // What has been read before is sent again.
        let Some(piece) = sample.payload.get(skip..) else {
            return Ok(());
        };
        if at > LONGEST_REPLY {
            // Something between was missed; what comes now is the beginning of a message, with luck.
            *self = Self {
                base: sample.offset,
                pieces: Pieces::default(),
            };
            return self.pieces.insert(0, piece, 2 * LONGEST_REPLY);
        }
        self.pieces.insert(at, piece, 2 * LONGEST_REPLY)
    }

    fn advance(&mut self, count: usize) {
        self.pieces.advance(count);
        self.base = self.base.wrapping_add(u32::try_from(count).unwrap_or(u32::MAX));
    }
}

/// Whether `payload` is whole messages, each with its length.
fn is_framed(payload: &[u8]) -> bool {
    let mut rest = Reader::new(payload);
    while !rest.is_empty() {
        let whole = rest.length().and_then(|length| rest.take(length));
        if whole.is_err() {
            return false;
        }
    }
    !payload.is_empty()
}

#[cfg(test)]
mod tests;
