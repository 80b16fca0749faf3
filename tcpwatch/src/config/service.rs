//! The options of a tcpwatch that runs as a service: what survives it, and by what it is asked.

use std::path::PathBuf;

use clap::Args;

/// Stands for nothing.
const NONE: &str = "none";

/// Where a service keeps what belongs to this boot of the machine.
#[derive(Clone, Debug, Args)]
pub struct ServiceArgs {
    /// Go on counting while tcpwatch is away: what counts is kept in this directory of a BPF file system (like /sys/fs/bpf/tcpwatch)
    /// until the next start takes it over or `tcpwatch detach` ends it
    #[arg(long, value_name = "DIR|none")]
    pub pin: Option<PathBuf>,

    /// Where the control socket, and with --pin the journal of what no record has yet, are kept
    #[arg(
        long,
        value_name = "DIR",
        env = "RUNTIME_DIRECTORY",
        default_value = "/run/tcpwatch"
    )]
    pub runtime: PathBuf,

    /// Socket for `tcpwatch status`, `ban` and `reload`, or none. Default: with --pin, control.sock in the --runtime directory; else none
    #[arg(long, value_name = "FILE|none")]
    pub control: Option<PathBuf>,
}

/// The same, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Directory of a BPF file system; none: what counts ends with the process.
    pub pin: Option<PathBuf>,
    /// Directory that lives as long as the machine runs.
    pub runtime: PathBuf,
    /// The control socket; none: there is none.
    pub control: Option<PathBuf>,
}

impl ServiceArgs {
    /// What is meant.
    #[must_use]
    pub fn service(&self) -> Service {
        let some = |path: &PathBuf| (path.as_os_str() != NONE).then(|| path.clone());
        let pin = self.pin.as_ref().and_then(some);
        let control = match &self.control {
            Some(path) => some(path),
            None => pin.is_some().then(|| self.runtime.join("control.sock")),
        };
        Service {
            pin,
            runtime: self.runtime.clone(),
            control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(pin: Option<&str>, control: Option<&str>) -> Service {
        ServiceArgs {
            pin: pin.map(PathBuf::from),
            runtime: "/run/tcpwatch".into(),
            control: control.map(PathBuf::from),
        }
        .service()
    }

    #[test]
    fn a_service_has_a_control_socket_and_others_only_when_it_is_asked_for() {
        let control = |pin, control| {
            service(pin, control)
                .control
                .map(|path| path.display().to_string())
        };
        assert_eq!(control(None, None), None);
        assert_eq!(control(Some("none"), None), None);
        assert_eq!(
            control(Some("/sys/fs/bpf/t"), None).as_deref(),
            Some("/run/tcpwatch/control.sock")
        );
        assert_eq!(control(Some("/sys/fs/bpf/t"), Some("none")), None);
        assert_eq!(control(None, Some("/tmp/c")).as_deref(), Some("/tmp/c"));
    }
}
