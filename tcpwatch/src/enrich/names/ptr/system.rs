//! The system's name servers.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData};
use hickory_resolver::system_conf::read_system_conf;

use super::{Answer, Resolve, Unanswered};
use crate::enrich::names::host::host;

/// How long a name server may take; it is asked twice.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Why the system's name servers cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// There are none.
    #[error("cannot take the name servers from /etc/resolv.conf")]
    Configuration(#[source] NetError),
    /// The resolver.
    #[error("cannot make a resolver")]
    Resolver(#[source] NetError),
}

/// Look-ups by the name servers of `/etc/resolv.conf`. Its other settings, `/etc/hosts` and search lists say nothing about what an
/// address's owner calls it.
pub struct System {
    resolver: Mutex<TokioResolver>,
}

impl System {
    /// Reads the configuration. Nothing is sent.
    ///
    /// # Errors
    /// No configuration, or one without name servers.
    pub fn open() -> Result<Self, SystemError> {
        Self::with(configuration()?)
    }

    pub(super) fn with(servers: ResolverConfig) -> Result<Self, SystemError> {
        Ok(Self {
            resolver: Mutex::new(resolver(servers)?),
        })
    }

    fn resolver(&self) -> TokioResolver {
        self.resolver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn configuration() -> Result<ResolverConfig, SystemError> {
    let (servers, _) = read_system_conf().map_err(SystemError::Configuration)?;
    Ok(servers)
}

fn resolver(servers: ResolverConfig) -> Result<TokioResolver, SystemError> {
    let mut builder = TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = PATIENCE;
    options.attempts = 1;
    // One server is asked at a time: each question is a packet that we count.
    options.num_concurrent_reqs = 1;
    // The book remembers.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // A port of our choice would look like one that this host serves.
    options.os_port_selection = true;
    builder.build().map_err(SystemError::Resolver)
}

impl Resolve for System {
    async fn reverse(&self, address: IpAddr) -> Result<Answer, Unanswered> {
        match self.resolver().reverse_lookup(address).await {
            Ok(lookup) => {
                let records = || {
                    lookup.answers().iter().filter_map(|record| match &record.data {
                        RData::PTR(name) => Some((name, record.ttl)),
                        _ => None,
                    })
                };
                let life = records().map(|(_, life)| life).min().unwrap_or_default();
                let names = records().filter_map(|(name, _)| text(name)).collect();
                Ok((names, Duration::from_secs(life.into())))
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Ok((Vec::new(), Duration::ZERO)),
            Err(error) => {
                tracing::debug!(%address, %error, "no reverse look-up");
                Err(match error {
                    NetError::Timeout | NetError::Io(_) | NetError::NoConnections | NetError::Busy => {
                        Unanswered::Silence
                    }
                    _ => Unanswered::Refusal,
                })
            }
        }
    }

    fn refresh(&self) {
        match configuration().and_then(resolver) {
            Ok(new) => *self.resolver.lock().unwrap_or_else(PoisonError::into_inner) = new,
            Err(error) => tracing::debug!(%error, "the name servers stay as they are"),
        }
    }
}

/// A name as text; none: it has a character that names have not, such as a dot inside a label.
fn text(name: &Name) -> Option<std::sync::Arc<str>> {
    let labels: Vec<&[u8]> = name.iter().collect();
    if labels.iter().any(|label| label.contains(&b'.')) {
        return None;
    }
    host(&labels.join(&b'.'))
}
