//! What destinations are to be named by.

use clap::ValueEnum;

use crate::config::ConfigError;

/// A value of `--names`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NameOption {
    /// Answers to DNS questions that this host asked
    Dns,
    /// Server names in the TLS ClientHellos of its connections
    Tls,
    /// The same in the Initials of its QUIC connections
    Quic,
    /// Reverse look-ups: what the address's owner calls it
    Ptr,
    /// No names
    None,
}

/// Sources of names that are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameSources {
    /// DNS answers.
    pub dns: bool,
    /// TLS ClientHellos.
    pub tls: bool,
    /// QUIC Initials.
    pub quic: bool,
    /// Reverse look-ups.
    pub ptr: bool,
}

impl NameSources {
    /// Whether there are names at all.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// Where names come from, for people; none: from nowhere.
    #[must_use]
    pub fn said(self) -> Option<String> {
        let sources: Vec<&str> = [
            (self.dns, "DNS answers"),
            (self.tls, "TLS ClientHellos"),
            (self.quic, "QUIC Initials"),
            (self.ptr, "reverse look-ups"),
        ]
        .into_iter()
        .filter_map(|(wanted, name)| wanted.then_some(name))
        .collect();
        (!sources.is_empty()).then(|| format!("from {}", sources.join(", ")))
    }

    /// Whether packets have to be looked into.
    #[must_use]
    pub const fn sampled(self) -> bool {
        self.dns || self.tls || self.quic
    }
}

pub(super) fn sources(options: &[NameOption]) -> Result<NameSources, ConfigError> {
    let has = |option| options.contains(&option);
    let sources = NameSources {
        dns: has(NameOption::Dns),
        tls: has(NameOption::Tls),
        quic: has(NameOption::Quic),
        ptr: has(NameOption::Ptr),
    };
    if has(NameOption::None) && sources.any() {
        return Err(ConfigError::NoneAlone);
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_stands_alone() {
        let none = NameSources::default();
        assert_eq!(sources(&[]).unwrap(), none);
        assert_eq!(sources(&[NameOption::None, NameOption::None]).unwrap(), none);
        let some = sources(&[NameOption::Quic, NameOption::Dns, NameOption::Quic]).unwrap();
        assert_eq!(
            some,
            NameSources {
                dns: true,
                quic: true,
                ..none
            }
        );
        assert!(some.sampled() && !sources(&[NameOption::Ptr]).unwrap().sampled());
        let message = sources(&[NameOption::None, NameOption::Dns])
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "--names none cannot be combined with other sources of names: give it alone"
        );
    }
}
