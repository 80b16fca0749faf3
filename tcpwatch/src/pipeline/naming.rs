//! Names on their way from the kernel's samples, and from reverse look-ups, to the record.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tcpwatch_common::names::Sampling;
use tcpwatch_common::{POLICY_DNS, POLICY_QUIC, POLICY_TLS};

use super::PipelineError;
use crate::config::names::NameSources;
use crate::enrich::names::book::{Limits, MOST_NAMES};
use crate::enrich::names::ptr::{Lookups, Pace, System};
use crate::enrich::names::{Book, Finding, Observer};
use crate::kernel::load::Programs;
use crate::kernel::policy::{PolicySet, to_ip};
use crate::kernel::samples::Samples;
use crate::record::{Evidence, Names};

/// Samples that are read between two looks at the clock.
const AT_A_TIME: usize = 64;
/// How long samples are read at a time, so that nothing else waits for long.
const LONGEST: Duration = Duration::from_millis(50);

/// What the programs are to take samples of.
pub const fn samples(sources: NameSources) -> u64 {
    let mut flags = 0;
    if sources.dns {
        flags |= POLICY_DNS;
    }
    if sources.tls {
        flags |= POLICY_TLS;
    }
    if sources.quic {
        flags |= POLICY_QUIC;
    }
    flags
}

/// Everything that names destinations.
#[derive(Debug)]
pub struct Naming {
    /// None: no packet is looked into.
    samples: Option<Samples>,
    observer: Observer,
    book: Book,
    /// None: nobody is asked.
    lookups: Option<Lookups>,
    own: BTreeSet<IpAddr>,
    /// Whether packets from other sources are counted, too.
    any_source: bool,
    read: u64,
    /// What the kernel had dropped when it was last said.
    said: u64,
}

impl Naming {
    /// Must be called inside the runtime. None: no names are wanted.
    ///
    /// # Errors
    /// No memory, or no resolver to ask.
    pub fn start(sources: NameSources, programs: &mut Programs) -> Result<Option<Self>, PipelineError> {
        if !sources.any() {
            return Ok(None);
        }
        let samples = if sources.sampled() {
            Some(programs.samples()?)
        } else {
            None
        };
        let lookups = if sources.ptr {
            Some(Lookups::start(System::open()?, Pace::default()))
        } else {
            None
        };
        Ok(Some(Self {
            samples,
            observer: Observer::new(),
            book: Book::new(Limits::default()),
            lookups,
            own: BTreeSet::new(),
            any_source: false,
            read: 0,
            said: 0,
        }))
    }

    /// Takes note of whose packets are counted.
    pub fn set_policy(&mut self, policy: &PolicySet) {
        self.any_source = policy.any_source;
        self.own = policy
            .sources
            .iter()
            .map(|source| to_ip(source.address))
            .collect();
        if let Some(lookups) = &mut self.lookups {
            lookups.set_own(self.own.clone());
        }
    }

    /// Reads samples that have come, as far as the others can wait.
    pub fn read(&mut self) {
        let Some(samples) = &mut self.samples else {
            return;
        };
        let (observer, book, read) = (&mut self.observer, &mut self.book, &mut self.read);
        let (own, any_source) = (&self.own, self.any_source);
        let begun = Instant::now();
        loop {
            let now = Instant::now();
            let more = samples.read(AT_A_TIME, |sample| {
                *read += 1;
                for finding in observer.observe(sample, now) {
                    book.learn(whose(finding, own, any_source), now);
                }
            });
            if !more || now.duration_since(begun) > LONGEST {
                return;
            }
        }
    }

    /// What has come until now: to be asked before the names of an interval.
    pub fn catch_up(&mut self) {
        self.read();
        let now = Instant::now();
        while let Some((address, outcome)) = self.lookups.as_mut().and_then(Lookups::take) {
            self.book.learn_reverse(address, outcome, now);
        }
    }

    /// The names of a destination. Has it looked up, where that is wanted and there are none but those of an earlier
    /// look-up, which are shown until the next has ended.
    pub fn names(&mut self, destination: IpAddr, source: Option<IpAddr>, now: Instant) -> Option<Arc<Names>> {
        let names = self.book.names(destination, source, now);
        let stronger = names.as_ref().is_some_and(|names| names.from != Evidence::Ptr);
        if !stronger
            && let Some(lookups) = &mut self.lookups
            && self.book.wants_reverse(destination, now)
        {
            lookups.ask(destination);
        }
        names
    }

    /// Connections are counted anew.
    pub fn end_interval(&mut self, sampling: Sampling, seq: u64, now: Instant) {
        let lost = self.book.end_interval(now).connections;
        if lost > 0 {
            tracing::warn!(
                "record {seq}: names of {lost} connections did not fit: more are asked for in an interval than are kept, {MOST_NAMES} of a destination at most"
            );
        }
        let dropped = sampling.dropped.wrapping_sub(self.said);
        self.said = sampling.dropped;
        if dropped > 0 {
            tracing::warn!(
                "record {seq}: {dropped} packets that may tell names were not looked at: there were too many"
            );
        }
        tracing::debug!(
            "names: {} addresses, {:?}, {:?}",
            self.book.addresses(),
            self.observer.counters(),
            self.book.losses()
        );
    }

    /// What was read in all.
    pub fn account(&self, sampling: Sampling) {
        if self.samples.is_some() {
            tracing::info!("names: {} samples read, {} dropped", self.read, sampling.dropped);
        }
    }
}

/// With any source, the connections of those that are not ours have none in the record.
fn whose(finding: Finding, own: &BTreeSet<IpAddr>, any_source: bool) -> Finding {
    match finding {
        Finding::Connection {
            source,
            destination,
            name,
        } if any_source && !own.contains(&source) => Finding::Connection {
            source: Ipv4Addr::UNSPECIFIED.into(),
            destination,
            name,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::enrich::names::ptr::{Answer, Resolve, Unanswered};

    /// Says for each address that it is called `a`, and notes which it was asked for.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<Vec<IpAddr>>>);

    impl Resolve for Fake {
        async fn reverse(&self, address: IpAddr) -> Result<Answer, Unanswered> {
            self.0.lock().unwrap().push(address);
            Ok((vec!["a".into()], Duration::ZERO))
        }
    }

    fn naming(resolver: Fake) -> Naming {
        let pace = Pace {
            gap: Duration::ZERO,
            ..Pace::default()
        };
        Naming {
            samples: None,
            observer: Observer::new(),
            book: Book::new(Limits::default()),
            lookups: Some(Lookups::start(resolver, pace)),
            own: BTreeSet::new(),
            any_source: false,
            read: 0,
            said: 0,
        }
    }

    async fn until_asked(resolver: &Fake, count: usize) {
        let patience = Instant::now() + Duration::from_secs(10);
        while resolver.0.lock().unwrap().len() < count {
            assert!(Instant::now() < patience);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_name_is_shown_while_it_is_looked_up_again() {
        let resolver = Fake::default();
        let mut naming = naming(resolver.clone());
        let start = Instant::now();
        let [first, second] = [1, 2].map(|number| IpAddr::from([8, 8, 8, number]));
        let finding = Finding::Connection {
            source: [192, 0, 2, 1].into(),
            destination: second,
            name: "b".into(),
        };
        naming.book.learn(finding, start);
        let from =
            |naming: &mut Naming, address, now| naming.names(address, None, now).map(|names| names.from);
        assert_eq!(from(&mut naming, first, start), None);
        assert_eq!(from(&mut naming, second, start), Some(Evidence::Sni));
        until_asked(&resolver, 1).await;
        let patience = Instant::now() + Duration::from_secs(10);
        while from(&mut naming, first, start).is_none() {
            assert!(Instant::now() < patience);
            tokio::time::sleep(Duration::from_millis(1)).await;
            naming.catch_up();
        }
        assert_eq!(from(&mut naming, first, start), Some(Evidence::Ptr));
        // Names are believed for five minutes at least.
        let later = start + Duration::from_secs(400);
        assert_eq!(from(&mut naming, first, later), Some(Evidence::Ptr));
        assert_eq!(from(&mut naming, second, later), Some(Evidence::Sni));
        until_asked(&resolver, 2).await;
        assert_eq!(*resolver.0.lock().unwrap(), [first, first]);
    }
}
