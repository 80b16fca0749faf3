//! dnsmasq, which many hosts have as their resolver, answering from a list of its own.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::names_lab::dns::{Kind, Stub};
use crate::namespace::Namespace;
use crate::wait;

/// A name that every one of them knows.
const PROBE: &str = "probe.invalid";

/// The running resolver. Killed when dropped.
#[derive(Debug)]
pub struct Dnsmasq {
    child: Child,
    _configuration: NamedTempFile,
    log: NamedTempFile,
}

impl Dnsmasq {
    /// Starts it at these addresses of the namespace and waits until it answers. It asks no other server.
    ///
    /// # Panics
    ///
    /// When it does not start; dnsmasq (package dnsmasq-base) says why.
    #[track_caller]
    pub fn start(namespace: &Namespace, addresses: &[&str], lines: &str) -> Self {
        let mut configuration = NamedTempFile::new().expect("there is room for a file");
        write!(
            configuration,
            "keep-in-foreground\nlog-facility=-\npid-file\nuser=root\n\
             no-resolv\nno-hosts\nno-poll\nbind-interfaces\nlisten-address={}\n\
             host-record={PROBE},192.0.2.1\n{lines}\n",
            addresses.join(",")
        )
        .expect("there is room for a file");
        let log = NamedTempFile::new().expect("there is room for a file");
        let child = Command::new("ip")
            .args(["netns", "exec", namespace.name()])
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .arg("dnsmasq")
            .arg(format!("--conf-file={}", configuration.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().expect("it is there"))
            .spawn()
            .expect("ip (package iproute2) can be started");
        let mut resolver = Self {
            child,
            _configuration: configuration,
            log,
        };
        for address in addresses {
            let stub = Stub::of(address).with_patience(Duration::from_millis(200));
            wait::until(&format!("dnsmasq answers at {address}"), || {
                if let Some(status) = resolver.child.try_wait().expect("it is our child") {
                    panic!("dnsmasq ended with {status}:\n{}", resolver.said());
                }
                namespace.within(|| stub.try_ask(PROBE, Kind::A).is_some())
            });
        }
        resolver
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap_or_default()
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            crate::note(format_args!("killing dnsmasq: {error}"));
        }
    }
}
