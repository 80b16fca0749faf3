//! Where the history is when nobody says where.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Root's.
const SYSTEM: &str = "/var/lib/tcpwatch/history.db";

/// `/var/lib/tcpwatch/history.db` as root, else `$XDG_STATE_HOME/tcpwatch/history.db` (`~/.local/state`); none: the user has no home.
pub fn usual_path() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(SYSTEM.into());
    }
    of_user(env::var_os("XDG_STATE_HOME"), env::home_dir())
}

/// A relative path in the variable is to be ignored (XDG Base Directory Specification).
fn of_user(state: Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let state = state
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| {
            home.filter(|home| home != Path::new(""))
                .map(|home| home.join(".local/state"))
        })?;
    Some(state.join("tcpwatch/history.db"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_history_is_among_his_state() {
        for (state, home, expected) in [
            (Some("/s"), Some("/h"), Some("/s/tcpwatch/history.db")),
            (None, Some("/h"), Some("/h/.local/state/tcpwatch/history.db")),
            (Some("s"), Some("/h"), Some("/h/.local/state/tcpwatch/history.db")),
            (None, Some(""), None),
            (None, None, None),
        ] {
            assert_eq!(
                of_user(state.map(OsString::from), home.map(PathBuf::from)),
                expected.map(PathBuf::from),
                "{state:?} {home:?}"
            );
        }
    }
}
