//! What the kernel and our rights must offer, checked before anything is touched.

use std::fs;
use std::io;

use caps::{CapSet, Capability};

/// The oldest kernel that works.
///
/// # Kernel
/// Everything needed is in 5.15: batch operations (5.6), CAP_BPF (5.8), no memory-lock accounting (5.11).
pub const OLDEST_KERNEL: (u32, u32) = (5, 15);

/// What is missing.
#[derive(Debug, thiserror::Error)]
pub enum RequirementError {
    /// The kernel.
    #[error(
        "Linux {release} is too old: tcpwatch needs {}.{} or later; update the kernel and start the machine anew",
        OLDEST_KERNEL.0,
        OLDEST_KERNEL.1
    )]
    Kernel {
        /// What `uname -r` says.
        release: String,
    },
    /// Rights.
    #[error(
        "missing {missing}: run tcpwatch as root (sudo), or give the binary the rights once: sudo setcap cap_bpf,cap_net_admin,cap_perfmon+ep {binary}"
    )]
    Capabilities {
        /// The names of those that are not in the effective set.
        missing: String,
        /// This program's file.
        binary: String,
    },
    /// A file of /proc.
    #[error("cannot read {path}")]
    Proc {
        /// The file.
        path: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The capability system call.
    #[error("cannot read this process's capabilities")]
    Caps(#[source] caps::errors::CapsError),
}

/// Checks everything.
///
/// # Errors
/// The first thing that is missing.
pub fn check() -> Result<(), RequirementError> {
    check_kernel(&kernel_release()?)?;
    check_capabilities()
}

/// What `uname -r` says.
///
/// # Errors
/// The kernel does not answer.
pub fn kernel_release() -> Result<String, RequirementError> {
    uname().map(|name| text(&name.release))
}

fn uname() -> Result<libc::utsname, RequirementError> {
    // SAFETY: a struct of byte arrays: all zero is a value of it.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is valid for writes.
    if unsafe { libc::uname(&raw mut name) } != 0 {
        return Err(RequirementError::Proc {
            path: "uname(2)",
            source: io::Error::last_os_error(),
        });
    }
    Ok(name)
}

fn text(field: &[libc::c_char]) -> String {
    let bytes: Vec<u8> = field.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a kernel of this release is new enough.
///
/// # Errors
/// It is not, or is none.
pub fn check_kernel(release: &str) -> Result<(), RequirementError> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST_KERNEL => Ok(()),
        _ => Err(RequirementError::Kernel {
            release: release.to_owned(),
        }),
    }
}

fn check_capabilities() -> Result<(), RequirementError> {
    let missing = missing_capabilities()?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(RequirementError::Capabilities {
        missing: missing.join(" and "),
        binary: binary(),
    })
}

/// Names of the capabilities that tcpwatch needs and this process has not.
///
/// # Errors
/// The kernel does not answer.
pub fn missing_capabilities() -> Result<Vec<String>, RequirementError> {
    let effective = caps::read(None, CapSet::Effective).map_err(RequirementError::Caps)?;
    if effective.contains(&Capability::CAP_SYS_ADMIN) && effective.contains(&Capability::CAP_NET_ADMIN) {
        return Ok(Vec::new());
    }
    Ok([Capability::CAP_BPF, Capability::CAP_NET_ADMIN]
        .into_iter()
        .filter(|capability| !effective.contains(capability))
        .map(|capability| capability.to_string())
        .collect())
}

/// Whether this thread has CAP_PERFMON, or what stood for it before there was one.
#[must_use]
pub fn has_perfmon() -> bool {
    caps::read(None, CapSet::Effective).is_ok_and(|effective| {
        [Capability::CAP_PERFMON, Capability::CAP_SYS_ADMIN]
            .iter()
            .any(|capability| effective.contains(capability))
    })
}

/// This program's file.
#[must_use]
pub fn binary() -> String {
    std::env::current_exe().map_or_else(|_| "tcpwatch".to_owned(), |path| path.display().to_string())
}

/// Whether whoever started us wants us to outlive the terminal (nohup): SIGHUP was ignored then.
///
/// # Errors
/// /proc is not there.
pub fn ignores_hangup() -> Result<bool, RequirementError> {
    let status = read_proc("/proc/self/status")?;
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    Ok(ignored & (1 << (libc::SIGHUP - 1)) != 0)
}

/// Whether the kernel lets one task interrupt another inside the egress hook.
///
/// # Errors
/// The kernel does not answer.
pub fn is_preempt_rt() -> Result<bool, RequirementError> {
    uname().map(|name| text(&name.version).contains("PREEMPT_RT"))
}

/// The kernel's random identifier of this boot.
///
/// # Errors
/// /proc is not there.
pub fn boot_id() -> Result<String, RequirementError> {
    read_proc("/proc/sys/kernel/random/boot_id")
}

/// A new random identifier from the kernel.
///
/// # Errors
/// /proc is not there.
pub fn random_id() -> Result<String, RequirementError> {
    read_proc("/proc/sys/kernel/random/uuid")
}

/// The host's name.
///
/// # Errors
/// /proc is not there.
pub fn host_name() -> Result<String, RequirementError> {
    read_proc("/proc/sys/kernel/hostname")
}

fn read_proc(path: &'static str) -> Result<String, RequirementError> {
    let text = fs::read_to_string(path).map_err(|source| RequirementError::Proc { path, source })?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_5_15_are_refused_by_name() {
        for release in [
            "5.15.0",
            "5.15.0-91-generic",
            "6.1.0-25-amd64",
            "6.18.44-fc",
            "10.0",
            "6.6-rc1",
        ] {
            check_kernel(release).unwrap();
        }
        for release in ["5.14.21", "4.19.0-27", "2.6.60+", "5", "", "linux"] {
            let message = check_kernel(release).unwrap_err().to_string();
            assert!(message.contains("5.15") && message.contains(release), "{message}");
        }
    }
}
