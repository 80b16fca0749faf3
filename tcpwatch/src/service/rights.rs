//! The capabilities that a running tcpwatch needs, and how it gives up all others for good.
//!
//! CAP_BPF and CAP_NET_ADMIN are needed to the end: tables are drained by bpf(2), policies written, programs attached again when
//! somebody removed them, or for an interface that comes later.

use std::collections::HashSet;
use std::io;

use caps::errors::CapsError;
use caps::{CapSet, Capability};

/// A right that could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// What there is cannot be read.
    #[error("cannot read the capabilities of this process")]
    Read(#[source] CapsError),
    /// One of the sets.
    #[error("cannot give up the {set} capabilities: start tcpwatch without --pin, or find what forbids it")]
    GiveUp {
        /// Which set.
        set: &'static str,
        /// The cause.
        #[source]
        source: CapsError,
    },
    /// A later program could gain some.
    #[error("cannot give up to gain rights (no_new_privs)")]
    NoNewPrivileges(#[source] io::Error),
}

/// Gives up every capability that is not needed, and with `for_children` also what programs that are started could gain. Names what
/// is left.
///
/// # Errors
/// One of them stays: nobody should rely on that it is gone.
pub fn give_up(for_children: bool) -> Result<String, RightsError> {
    let permitted = caps::read(None, CapSet::Permitted).map_err(RightsError::Read)?;
    let kept = needed(&permitted);
    let failed = |set| move |source| RightsError::GiveUp { set, source };
    // What a program gets that somebody else starts here: nothing.
    caps::clear(None, CapSet::Ambient).map_err(failed("ambient"))?;
    caps::clear(None, CapSet::Inheritable).map_err(failed("inheritable"))?;
    if for_children {
        // Without the right to, systemd has set the bounds already, or nobody wants any.
        if permitted.contains(&Capability::CAP_SETPCAP) {
            let bounding = caps::read(None, CapSet::Bounding).map_err(RightsError::Read)?;
            for capability in bounding.difference(&kept) {
                caps::drop(None, CapSet::Bounding, *capability).map_err(failed("bounding"))?;
            }
        }
        rustix::thread::set_no_new_privs(true).map_err(|errno| RightsError::NoNewPrivileges(errno.into()))?;
    }
    caps::set(None, CapSet::Effective, &kept).map_err(failed("effective"))?;
    caps::set(None, CapSet::Permitted, &kept).map_err(failed("permitted"))?;
    Ok(named(&kept))
}

/// CAP_SYS_ADMIN stands for CAP_BPF where that is missing: in containers that are older than it.
fn needed(permitted: &HashSet<Capability>) -> HashSet<Capability> {
    let bpf = if permitted.contains(&Capability::CAP_BPF) {
        Capability::CAP_BPF
    } else {
        Capability::CAP_SYS_ADMIN
    };
    [bpf, Capability::CAP_NET_ADMIN]
        .into_iter()
        .filter(|capability| permitted.contains(capability))
        .collect()
}

fn named(capabilities: &HashSet<Capability>) -> String {
    let mut names: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
    names.sort();
    if names.is_empty() {
        "no capability".to_owned()
    } else {
        names.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_capabilities_are_kept_and_an_older_one_only_in_place_of_them() {
        let of = |permitted: &[Capability]| named(&needed(&permitted.iter().copied().collect()));
        let all = [
            Capability::CAP_SYS_ADMIN,
            Capability::CAP_NET_ADMIN,
            Capability::CAP_BPF,
            Capability::CAP_PERFMON,
            Capability::CAP_DAC_OVERRIDE,
        ];
        assert_eq!(of(&all), "CAP_BPF and CAP_NET_ADMIN");
        assert_eq!(of(&all[..2]), "CAP_NET_ADMIN and CAP_SYS_ADMIN");
        assert_eq!(of(&[Capability::CAP_CHOWN]), "no capability");
    }
}
