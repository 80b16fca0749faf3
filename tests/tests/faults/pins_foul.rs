//! Pins that are not ours, are used already, are removed, or cannot be made.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tcpwatch_tests::hook;
use tcpwatch_tests::wait;

use super::support::{Site, Stream, held, refused};

#[test]
fn a_second_instance_is_refused_and_harms_nothing() {
    let site = Site::new();
    let watch = site.pinned().start();
    let stream = Stream::start(site.lab.udp_v4());
    let second = site.pinned().finish();
    refused(&second, &["another tcpwatch", "stop it first"]);
    wait::until("records are written", || site.records().len() > 2);
    let sent = stream.stop();
    assert_eq!(watch.stop().code(), Some(0));
    site.check(&sent);
    site.detach();
    held(
        "a second instance with the same --pin and --runtime",
        "refused with status 2, the first counts on",
        &format!("{} packets", sent.total().packets),
    );
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let site = Site::new();
    site.pinned().start().stop();
    // Somebody else's now, and what is in it.
    std::os::unix::fs::chown(site.pins.path(), Some(65534), Some(65534)).unwrap();
    for file in site.pins.files() {
        std::os::unix::fs::chown(file, Some(65534), Some(65534)).unwrap();
    }
    let ended = site.pinned().finish();
    let taken = ended.code() == Some(0);
    assert!(!taken, "{ended:#?}");
    refused(&ended, &["--pin", site.pins.path().to_str().unwrap()]);
    std::os::unix::fs::chown(site.pins.path(), Some(0), Some(0)).unwrap();
    for file in site.pins.files() {
        std::os::unix::fs::chown(file, Some(0), Some(0)).unwrap();
    }
    site.detach();
    hook::assert_bare(&site.lab.near, "eth0");
    held(
        "pins of another user",
        "refused with status 2, untouched; taken when they are ours again",
        "1 refusal",
    );
}

#[test]
fn pins_that_somebody_removes_are_put_back() {
    let site = Site::new();
    let watch = site.pinned().start();
    let stream = Stream::start(site.lab.udp_v4());
    let files = site.pins.files();
    assert!(!files.is_empty());
    for file in &files {
        fs::remove_file(file).unwrap();
    }
    wait::until("all pins are there again", || {
        let now = site.pins.files();
        files.iter().all(|file| now.contains(file))
    });
    // They are worth something: a kill loses nothing.
    watch.kill();
    let watch = site.pinned().start();
    site.wait_for_new_records();
    let sent = stream.stop();
    assert_eq!(watch.stop().code(), Some(0));
    site.check(&sent);
    site.detach();
    held(
        "somebody removes all pins, then kill -9",
        "put back within a second; nothing lost",
        &format!("{} pins, {} packets", files.len(), sent.total().packets),
    );
}

#[test]
fn a_bpf_file_system_that_is_read_only_is_refused() {
    let site = Site::new();
    let script = site.directory.path().join("start");
    let bpffs = site.pins.mounted().display();
    let text = format!("#!/bin/sh\nset -e\nmount -o remount,bind,ro {bpffs}\nexec \"$@\"\n");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let ended = site
        .pinned()
        .under(&format!("unshare --mount {}", script.display()))
        .finish();
    refused(&ended, &["--pin", "Read-only file system"]);
    hook::assert_bare(&site.lab.near, "eth0");
    held(
        "the BPF file system is read-only",
        "refused with status 2, nothing attached",
        "1 refusal",
    );
}
