//! The control socket as a file: made with the right mode at once, taken over from a dead process, left alone while another one answers.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

/// For ourselves and our group.
const MODE: u32 = 0o660;
/// Of its directory, if there is none: nobody else has a way to the socket.
const DIRECTORY_MODE: u32 = 0o750;
/// How long one that is there may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens on it.
    #[error("another tcpwatch answers on {}: stop it or choose another --control", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has its name.
    #[error("{} is there and is no socket: remove it or choose another --control", path.display())]
    NoSocket {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error(
        "cannot make the control socket {}: let tcpwatch write there, choose another --control, or do without (--control none)",
        path.display()
    )]
    Make {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A socket that is listened on; its file goes when this is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    /// Device and number of the file, so that no other's is removed.
    file: (u64, u64),
}

impl Socket {
    /// Makes the socket and its directory, and listens. Needs the runtime.
    pub(super) async fn listen(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let failed = |source| SocketError::Make {
            path: path.to_owned(),
            source,
        };
        check_free(path).await?;
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            Some(_) | None => Path::new("."),
        };
        if !directory.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(directory)
                .map_err(failed)?;
        }
        let make = || {
            // Where nobody else looks, until its mode is right; renaming also replaces what a dead process has left.
            let private = tempfile::Builder::new().prefix(".c").tempdir_in(directory)?;
            let made = private.path().join("s");
            let listener = UnixListener::bind(&made)?;
            fs::set_permissions(&made, Permissions::from_mode(MODE))?;
            let metadata = fs::metadata(&made)?;
            fs::rename(&made, path)?;
            let socket = Self {
                path: path.to_owned(),
                file: (metadata.dev(), metadata.ino()),
            };
            Ok((socket, listener))
        };
        make().map_err(failed)
    }
}

/// Whether the name can be used: nothing has it, or a socket that nobody listens on.
async fn check_free(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Make {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NoSocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match tokio::time::timeout(ANSWER, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Also when too many wait to be heard already: somebody is there.
        Ok(Ok(_)) | Err(_) => Err(SocketError::Taken {
            path: path.to_owned(),
        }),
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketError::Taken {
            path: path.to_owned(),
        }),
        Ok(Err(error)) => Err(failed(error)),
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("{} stays behind: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_socket_is_for_its_group_and_goes_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/control.sock");
        let (socket, _listener) = Socket::listen(&path).await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o660);
        assert_eq!(mode(path.parent().unwrap()) & 0o027, 0);
        drop(socket);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_live_one_is_left_alone_and_a_dead_one_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let (socket, listener) = Socket::listen(&path).await.unwrap();
        let error = Socket::listen(&path).await.unwrap_err().to_string();
        assert!(
            error.starts_with("another tcpwatch answers on ") && error.ends_with("choose another --control"),
            "{error}"
        );
        drop(listener);
        let (second, _listener) = Socket::listen(&path).await.unwrap();
        // The first one's end does not take the second one's file with it.
        drop(socket);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn another_kind_of_file_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        fs::write(&path, "mine").unwrap();
        let error = Socket::listen(&path).await.unwrap_err().to_string();
        assert!(error.contains("is no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let long = directory.path().join("x".repeat(200)).join("c");
        let error = Socket::listen(&long).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot make the control socket "), "{error}");
    }
}
