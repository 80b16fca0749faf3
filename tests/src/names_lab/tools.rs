//! Programs that ask for names as others do: curl, and the C library's resolver.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Output, Stdio};

use tempfile::NamedTempFile;

use crate::namespace::Namespace;
use crate::web::Authority;

/// Fetches `url` with curl in the namespace, with further options; no configuration of the user's is read. Returns what
/// curl printed.
///
/// # Panics
///
/// When curl fails; it says why.
#[track_caller]
pub fn curl(namespace: &Namespace, authority: &Authority, options: &[&str], url: &str) -> String {
    let mut roots = NamedTempFile::new().expect("there is room for a file");
    roots
        .write_all(authority.pem().as_bytes())
        .expect("there is room for a file");
    let mut command = in_namespace(namespace);
    command
        .args([
            "curl",
            "--disable",
            "--silent",
            "--show-error",
            "--max-time",
            "20",
        ])
        .arg("--cacert")
        .arg(roots.path())
        .args(options)
        .arg(url);
    for variable in [
        "http_proxy",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        command.env_remove(variable);
    }
    printed(command.output())
}

/// The addresses of a name by the C library, which asks the resolver at `server` for both families at once.
///
/// # Panics
///
/// When it finds none.
#[track_caller]
pub fn getent(namespace: &Namespace, server: &str, name: &str) -> Vec<IpAddr> {
    let file = |text: &str| {
        let mut file = NamedTempFile::new().expect("there is room for a file");
        file.write_all(text.as_bytes()).expect("there is room for a file");
        file
    };
    let resolver = file(&format!("nameserver {server}\n"));
    let switch = file("hosts: dns\n");
    // `ip netns exec` gives the command mounts of its own.
    let mut command = in_namespace(namespace);
    command
        .args([
            "sh",
            "-c",
            "mount --bind \"$1\" /etc/resolv.conf && mount --bind \"$2\" /etc/nsswitch.conf && exec getent ahosts \"$3\"",
            "sh",
        ])
        .args([resolver.path(), switch.path()])
        .arg(name);
    let mut addresses: Vec<IpAddr> = printed(command.output())
        .lines()
        .filter_map(|line| line.split(' ').next()?.parse().ok())
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

fn in_namespace(namespace: &Namespace) -> Command {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", namespace.name()])
        .stdin(Stdio::null());
    command
}

#[track_caller]
fn printed(output: std::io::Result<Output>) -> String {
    let output = output.expect("ip (package iproute2) can be started");
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("they print UTF-8")
}
