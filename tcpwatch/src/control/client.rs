//! Asking a running tcpwatch: connects, says one line, and reads one.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{self, Answer, MOST_REQUEST_BYTES, Request};

/// How long is waited for the answer: somewhat longer than tcpwatch takes to say that it is busy.
const PATIENCE: Duration = Duration::from_secs(75);
/// The longest answer: a million bans.
const MOST_ANSWER_BYTES: u64 = 512 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error(
        "no tcpwatch answers on {}: is it running? start it with --pin or --control, or name its socket with --control",
        path.display()
    )]
    Nobody {
        /// The socket.
        path: PathBuf,
    },
    /// We may not.
    #[error("no right to ask on {}: run this as root, or as a member of the group that owns the socket", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// More than a request may have.
    #[error("these are too many prefixes for one request: put them into a ban file and `tcpwatch reload`")]
    TooLong,
    /// It broke off, or was silent.
    #[error("tcpwatch does not answer on {}: look whether it hangs (its log, `systemctl status tcpwatch`)", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is of another version, or no tcpwatch.
    #[error("what answers on {} is another version: use the `tcpwatch` that is running, or restart it", path.display())]
    Version {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

/// Asks on the socket.
///
/// # Errors
/// Nobody answered. A request that is refused is an answer.
pub fn ask(path: &Path, request: &Request) -> Result<Answer, ClientError> {
    let version = |source| ClientError::Version {
        path: path.to_owned(),
        source,
    };
    let said = protocol::encode(request).map_err(version)?;
    if said.len() > MOST_REQUEST_BYTES {
        return Err(ClientError::TooLong);
    }
    let heard = converse(path, &said)?;
    protocol::answer(&heard).map_err(version)
}

fn converse(path: &Path, said: &[u8]) -> Result<Vec<u8>, ClientError> {
    let mut stream = UnixStream::connect(path).map_err(|source| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::Nobody { path },
            io::ErrorKind::PermissionDenied => ClientError::Forbidden { path },
            _ => ClientError::Broken { path, source },
        }
    })?;
    let mut heard = Vec::new();
    let mut exchange = || {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(said)?;
        stream.shutdown(Shutdown::Write)?;
        (&mut stream).take(MOST_ANSWER_BYTES).read_to_end(&mut heard)?;
        if heard.last() == Some(&b'\n') {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    };
    exchange().map_err(|source| ClientError::Broken {
        path: path.to_owned(),
        source,
    })?;
    Ok(heard)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    #[test]
    fn that_nobody_answers_is_said_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c");
        for dead in [false, true] {
            if dead {
                drop(UnixListener::bind(&path).unwrap());
            }
            let error = ask(&path, &Request::Status).unwrap_err().to_string();
            assert!(
                error.starts_with("no tcpwatch answers on ") && error.contains("--control"),
                "{error}"
            );
        }
    }

    #[test]
    fn half_an_answer_and_another_programs_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c");
        let listener = UnixListener::bind(&path).unwrap();
        let answers = ["{\"protocol\":1,\"bans\":[", "HTTP/1.0 400 Bad Request\r\n"];
        let other = thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let broken = ask(&path, &Request::Status).unwrap_err().to_string();
        assert!(broken.starts_with("tcpwatch does not answer on "), "{broken}");
        let version = ask(&path, &Request::Status).unwrap_err().to_string();
        assert!(version.contains("is another version"), "{version}");
        other.join().unwrap();
    }
}
