//! A machine that has no inotify left.

use std::fs::{self, File};
use std::io;
use std::os::fd::FromRawFd as _;
use std::thread;

/// Uses up the inotify instances of a user, which should be nobody else's, until the result is dropped. They belong to the user
/// who made them, whoever holds them.
///
/// # Panics
///
/// When the kernel refuses earlier than its limit says.
#[must_use]
pub fn use_up(user: u32) -> Vec<File> {
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").expect("procfs");
    let most: libc::rlim_t = most.trim().parse().expect("a number");
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes the limits into a variable of ours.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    limit.rlim_cur = limit.rlim_cur.max(most + 1000);
    limit.rlim_max = limit.rlim_max.max(limit.rlim_cur);
    // SAFETY: a plain value; root may raise it.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    thread::scope(|scope| scope.spawn(|| all_of(user, most)).join()).expect("it has said why")
}

/// Changes the calling thread's user.
fn all_of(user: u32, most: libc::rlim_t) -> Vec<File> {
    let (same, user) = (libc::c_long::from(-1_i32), libc::c_long::from(user));
    // SAFETY: takes no pointers. Unlike the function of the C library it changes one thread, not all.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, same, user, same) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    let mut instances = Vec::new();
    loop {
        // SAFETY: takes no pointers.
        let descriptor = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
        if descriptor < 0 {
            break;
        }
        // SAFETY: it was just opened, and is nobody else's.
        instances.push(unsafe { File::from_raw_fd(descriptor) });
    }
    let error = io::Error::last_os_error();
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
    assert_eq!(instances.len() as libc::rlim_t, most, "instances of user {user}");
    instances
}
