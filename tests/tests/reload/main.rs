//! Place databases that are replaced while tcpwatch runs: well, badly, in place, by links, and without signs of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod observed;

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tcpwatch_tests::invocation::binary;
use tcpwatch_tests::lab::Lab;
use tcpwatch_tests::{inotify, note, places, records, wait};

use self::observed::{
    FEBRUARY, JANUARY, SOON, bytes_read, dates, february, january, said, short, under_traffic, wait_for,
    wait_until_said,
};

#[test]
fn a_file_replaced_at_once_is_used_from_one_record_to_the_next() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let path = places::write(directory.path(), "countries.mmdb", &january());
    let watch = short(&lab).with_path("--geo", &path).start();
    let records = under_traffic(&lab, watch, |watch| {
        wait_for(watch, JANUARY, SOON);
        for (date, bytes) in [(FEBRUARY, february()), (JANUARY, january())] {
            places::replace(&path, &bytes);
            wait_for(watch, date, SOON);
        }
        watch.wait_for_records(3);
        assert_eq!(said(watch, " INFO place database in use").len(), 2);
        assert_eq!(said(watch, " WARN"), [] as [&str; 0]);
    });
    assert_eq!(dates(&records), [JANUARY, FEBRUARY, JANUARY]);
}

#[test]
fn a_file_is_read_once_for_each_change_and_not_on_sighup_without_one() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let path = places::write(directory.path(), "countries.mmdb", &january());
    let size = fs::metadata(&path).unwrap().len();
    let watch = short(&lab)
        .with_path("--geo", &path)
        .with_path("--record", &directory.path().join("records.jsonl"))
        .start();
    watch.wait_for_records(3);
    let start = bytes_read(&watch);
    for _ in 0..5 {
        watch.signal(libc::SIGHUP);
        watch.wait_for_records(10);
    }
    let unchanged = bytes_read(&watch) - start;
    places::replace(&path, &february());
    wait_for(&watch, FEBRUARY, SOON);
    watch.wait_for_records(10);
    let changed = bytes_read(&watch) - start - unchanged;
    note(format_args!(
        "of {size} bytes: {unchanged} without a change, {changed} with one"
    ));
    assert!(unchanged < size / 2, "{unchanged} of {size}");
    assert!((size..size + size / 2).contains(&changed), "{changed} of {size}");
    watch.stop().books();
}

#[test]
fn a_broken_replacement_is_refused_with_one_warning_and_the_old_one_stays() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let path = places::write(directory.path(), "countries.mmdb", &january());
    let watch = short(&lab)
        .with_path("--geo", &path)
        .with_path("--record", &directory.path().join("records.jsonl"))
        .start();
    let whole = february();
    let broken: [(&[u8], &str); 3] = [
        (
            &whole[..whole.len() / 2],
            "is cut short, damaged or not an MMDB file",
        ),
        (b"<html>404</html>", "is cut short, damaged or not an MMDB file"),
        (&places::mmdb("GeoIP2-Domain"), "is of type \"GeoIP2-Domain\""),
    ];
    let records = under_traffic(&lab, watch, |watch| {
        let refused = "place database not replaced, the one built on 2026-01-01 stays in use: ";
        for (number, (bytes, why)) in broken.iter().enumerate() {
            places::replace(&path, bytes);
            wait_until_said(watch, refused, number + 1);
            watch.signal(libc::SIGHUP);
            watch.wait_for_records(10);
            let warnings = said(watch, refused);
            assert_eq!(warnings.len(), number + 1, "{warnings:#?}");
            assert!(
                warnings[number].contains(path.to_str().unwrap()) && warnings[number].contains(why),
                "{warnings:#?}"
            );
        }
        fs::remove_file(&path).unwrap();
        wait_until_said(watch, "no such place database", 1);
        watch.wait_for_records(10);
        assert_eq!(said(watch, refused).len(), broken.len() + 1);
        places::replace(&path, &whole);
        wait_for(watch, FEBRUARY, SOON);
    });
    assert_eq!(dates(&records), [JANUARY, FEBRUARY]);
}

/// Cut off and written again where it lies, by halves, as a careless script does it. To a program that had mapped it that would
/// be fatal; see the control.
#[test]
fn a_file_written_again_in_place_two_hundred_times_harms_nothing() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let path = places::write(directory.path(), "countries.mmdb", &january());
    let versions = [(JANUARY, january()), (FEBRUARY, february())];
    assert_eq!(versions[0].1.len(), versions[1].1.len());
    let watch = short(&lab).with_path("--geo", &path).start();
    let records = under_traffic(&lab, watch, |watch| {
        for round in 1..=200_u64 {
            let (date, bytes) = &versions[usize::from(round % 2 == 1)];
            let mut file = File::options().write(true).open(&path).unwrap();
            if round % 3 == 0 {
                // Over the old one, which is as long: for a while it is half this and half that.
                file.rewind().unwrap();
            } else {
                file.set_len(0).unwrap();
            }
            let (first, second) = bytes.split_at(bytes.len() / 2);
            file.write_all(first).unwrap();
            thread::sleep(Duration::from_millis(round % 8));
            file.write_all(second).unwrap();
            drop(file);
            if round % 25 == 0 {
                wait_for(watch, date, SOON);
            }
        }
        // On a machine so busy that a write takes as long as a rest, half a file may be met; and is refused.
        let warnings = said(watch, " WARN");
        assert!(
            warnings.iter().all(|line| line.contains("is cut short")),
            "{warnings:#?}"
        );
    });
    assert!(dates(&records).len() > 8, "every rest was with the other version");
}

/// The control: what would happen if the file were mapped.
#[test]
fn a_mapped_file_that_is_truncated_kills_who_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = places::write(directory.path(), "countries.mmdb", &january());
    let file = File::options().read(true).write(true).open(&path).unwrap();
    // SAFETY: the child makes system calls and reads memory, and never returns from here.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: a new mapping of an open file; reading it is what is tried.
        unsafe {
            let mapped = libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            );
            if mapped == libc::MAP_FAILED || libc::ftruncate(file.as_raw_fd(), 0) != 0 {
                libc::_exit(1);
            }
            mapped.cast::<u8>().read_volatile();
            libc::_exit(0);
        }
    }
    let mut status = 0;
    // SAFETY: the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFSIGNALED(status), "status {status:#x}");
    assert_eq!(libc::WTERMSIG(status), libc::SIGBUS);
}

#[test]
fn a_directory_made_later_is_noticed_and_a_removed_file_gives_way_to_the_next_best() {
    // Newer than what this machine may have.
    let dates = ["2098-01-01", "2099-01-01"];
    let lab = Lab::new();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("share");
    let watch = short(&lab).env("XDG_DATA_HOME", data.to_str().unwrap()).start();
    watch.wait_for_records(2);
    let directory = data.join("tcpwatch");
    fs::create_dir_all(&directory).unwrap();
    let paths = dates.map(|date| {
        let name = format!("dbip-city-lite-{}.mmdb", &date[..7]);
        places::write(&directory, &name, &places::cities("NL", date))
    });
    let wait_for = |path: &Path, date: &str| {
        wait::until_some(SOON, &format!("{} is in use", path.display()), || {
            let last = records::parse(watch.stdout_lines().last()).pop()?;
            let used = |geo: &records::Geo| Path::new(&geo.file) == path && geo.built == date;
            last.geo.iter().any(used).then_some(())
        });
    };
    wait_for(&paths[1], dates[1]);
    fs::remove_file(&paths[1]).unwrap();
    wait_for(&paths[0], dates[0]);
    wait_until_said(&watch, "it was removed", 1);
    let removed = said(&watch, "it was removed");
    assert!(
        removed.len() == 1 && removed[0].contains(paths[1].to_str().unwrap()),
        "{removed:#?}"
    );
    watch.stop().books();
}

#[test]
fn a_link_that_leads_elsewhere_is_followed_and_so_is_a_change_where_it_leads() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let first = places::write(elsewhere.path(), "first.mmdb", &january());
    let second = places::write(elsewhere.path(), "second.mmdb", &february());
    let link = directory.path().join("countries.mmdb");
    symlink(&first, &link).unwrap();
    let watch = short(&lab).with_path("--geo", &link).start();
    let records = under_traffic(&lab, watch, |watch| {
        wait_for(watch, JANUARY, SOON);
        let new = directory.path().join("new");
        symlink(&second, &new).unwrap();
        fs::rename(&new, &link).unwrap();
        wait_for(watch, FEBRUARY, SOON);
        places::replace(&second, &january());
        wait_for(watch, JANUARY, SOON);
        assert_eq!(said(watch, " WARN"), [] as [&str; 0]);
    });
    assert_eq!(dates(&records), [JANUARY, FEBRUARY, JANUARY]);
}

/// A user for this test alone, so that what it uses up nobody misses.
const USER: u32 = 64_990;

/// Without signs nothing happens at once, which is the control of the tests above; SIGHUP and a look each minute make up for it.
#[test]
fn without_inotify_a_replaced_file_is_noticed_on_sighup_and_within_a_minute() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let copy = directory.path().join("tcpwatch");
    fs::copy(binary(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let path = places::write(directory.path(), "countries.mmdb", &january());
    let _used_up = inotify::use_up(USER);
    let watch = short(&lab)
        .with_path("--geo", &path)
        .with_path("--record", &directory.path().join("records.jsonl"))
        .copy_at(&copy)
        .under(&format!(
            "setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps=-all,+bpf,+net_admin \
             --ambient-caps=-all,+bpf,+net_admin --"
        ))
        .start();
    let records = under_traffic(&lab, watch, |watch| {
        wait_until_said(watch, "no inotify", 1);
        places::replace(&path, &february());
        let from = Instant::now();
        wait::until("what is soon is over", || from.elapsed() > SOON);
        assert_eq!(dates(&watch.records()), [JANUARY], "the control");
        watch.signal(libc::SIGHUP);
        wait_for(watch, FEBRUARY, SOON);
        places::replace(&path, &january());
        wait_for(watch, JANUARY, Duration::from_secs(75));
        assert_eq!(said(watch, " WARN").len(), 1);
        assert_eq!(said(watch, " INFO place database").len(), 2);
    });
    assert_eq!(dates(&records), [JANUARY, FEBRUARY, JANUARY]);
}
