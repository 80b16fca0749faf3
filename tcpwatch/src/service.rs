//! What tcpwatch does for being a service: it tells the service manager how it is ([`notify`]), gives its messages a priority for the
//! journal ([`journal`]), and keeps no more rights than it needs ([`rights`], [`sandbox`]). Knows nothing of what is counted.

pub mod journal;
pub mod notify;
pub mod rights;
pub mod sandbox;

use crate::config::Config;

/// What a service was left with.
#[derive(Debug)]
pub struct Confinement {
    /// The capabilities that are left.
    pub capabilities: String,
    /// Loads the programs with one more; none: there is none.
    pub loader: Option<rights::Loader>,
    /// What it may write to; none: whatever its user may.
    pub sandbox: Result<sandbox::Enforced, String>,
}

/// Gives up what a service does not need, for good. Done before any other thread is started, because each has rights of its own.
///
/// A tcpwatch without `--pin` is somebody's command, and writes where that person likes; none: it is one of those, and keeps what
/// it has.
///
/// # Errors
/// A right could not be given up.
pub fn confine(config: &Config) -> Result<Option<Confinement>, rights::RightsError> {
    if config.service.pin.is_none() {
        return Ok(None);
    }
    // What a command of the operator's may do is not ours to say: it inherits what the process cannot take back.
    let commands = config.periodic.iter().any(|report| !report.command().is_empty());
    let loader = rights::Loader::start()?;
    let capabilities = rights::give_up(!commands)?;
    let sandbox = if commands {
        Err("periodic reports are given to commands, which would be confined with it".to_owned())
    } else {
        sandbox::enforce(&sandbox::Allowed::by(config))
    };
    Ok(Some(Confinement {
        capabilities,
        loader,
        sandbox,
    }))
}

impl Confinement {
    /// Says it, once there is a log.
    pub fn log(&self) {
        tracing::debug!("of its rights, tcpwatch keeps {}", self.capabilities);
        match &self.sandbox {
            Ok(enforced) => tracing::debug!("{enforced}"),
            Err(reason) => tracing::info!("writing is not confined: {reason}"),
        }
    }
}
