//! What is done about a file that cannot be used.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::history::HistoryError;
use crate::history::store::beside;

/// Whether another process has the file for itself just now.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
    )
}

/// Moves a damaged history out of the way, with what SQLite keeps beside it.
pub(super) fn move_away(path: &Path, why: &rusqlite::Error) -> Result<(), HistoryError> {
    let stamp = Timestamp::now().as_second();
    let with = |suffix: &str| beside(path, suffix);
    let aside = (0..)
        .map(|second| with(&format!(".damaged-{}", stamp + second)))
        .find(|name| !name.exists())
        .unwrap_or_else(|| with(".damaged"));
    tracing::error!(
        "the history {} is damaged ({why}): it is moved to {}, and a new one is begun",
        path.display(),
        aside.display()
    );
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::rename(with(suffix), beside(&aside, suffix)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(HistoryError::MoveAway {
                    path: path.to_owned(),
                    source,
                });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
