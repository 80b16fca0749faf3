//! Clients of the control socket: a few at a time, each with little time and little to say. What they ask goes through a queue, so
//! that none of them is ever waited for where packets are drained.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::protocol::{self, Answer, BanChange, MOST_REQUEST_BYTES, Request};
use super::socket::Socket;
pub use super::socket::SocketError;
use crate::config::reload::Origin;
use crate::config::{Config, ConfigError};

/// Connections at a time; others wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 8;
/// How long a client may take to say what it wants, and again to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer may take to be made: a change waits for a drain or two.
const WORK: Duration = Duration::from_secs(60);
/// After a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes that are read at a time.
const CHUNK: usize = 4096;

/// Something that is asked of the pipeline.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub work: Work,
    /// Where the answer goes; none: to the log, because a signal asked.
    pub answer: Option<oneshot::Sender<Answer>>,
}

/// What is asked of the pipeline.
#[derive(Debug)]
pub enum Work {
    /// How it is.
    Status,
    /// What is banned.
    ListBans,
    /// Leave out more destinations.
    Ban(BanChange),
    /// Count them again.
    Unban(BanChange),
    /// Put in force what was read.
    Reload(Box<Result<Config, ConfigError>>),
}

/// Listens on the control socket until it is dropped.
#[derive(Debug)]
pub struct Server {
    /// Before the socket's file, so that nobody is accepted who finds it gone.
    task: JoinHandle<()>,
    _socket: Socket,
}

impl Server {
    /// Begins to listen; what is asked goes to `to`. `origin` is what a reload reads again. Needs the runtime.
    ///
    /// # Errors
    /// Another process listens there, or the socket cannot be made.
    pub async fn start(path: &Path, origin: Origin, to: mpsc::Sender<Asked>) -> Result<Self, SocketError> {
        let (socket, listener) = Socket::listen(path).await?;
        Ok(Self {
            task: tokio::spawn(accept(listener, Arc::new(origin), to)),
            _socket: socket,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, origin: Arc<Origin>, to: mpsc::Sender<Asked>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (origin, to) = (Arc::clone(&origin), to.clone());
                connections.spawn(async move {
                    if let Err(error) = converse(&stream, &origin, &to).await {
                        tracing::debug!("a client of the control socket was let go: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("cannot accept a client of the control socket: {error}");
                sleep(PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One request, one answer.
async fn converse(stream: &UnixStream, origin: &Origin, to: &mpsc::Sender<Asked>) -> io::Result<()> {
    let silent = |_elapsed| io::Error::from(io::ErrorKind::TimedOut);
    let answer = match timeout(PATIENCE, read(stream)).await.map_err(silent)?? {
        None => Answer::refused(format!(
            "a request has {MOST_REQUEST_BYTES} bytes at most: put long lists of prefixes into a ban file and `tcpwatch reload`"
        )),
        Some(bytes) => match protocol::request(&bytes) {
            Ok(request) => ask(request, origin, to).await,
            Err(refusal) => Answer::Error(refusal),
        },
    };
    // A hundred thousand bans take their time.
    let bytes = spawn_blocking(move || protocol::encode(&answer)).await??;
    timeout(PATIENCE, write(stream, &bytes)).await.map_err(silent)?
}

async fn ask(request: Request, origin: &Origin, to: &mpsc::Sender<Asked>) -> Answer {
    let work = match request {
        Request::Status => Work::Status,
        Request::BanList => Work::ListBans,
        Request::BanAdd(change) => Work::Ban(change),
        Request::BanRemove(change) => Work::Unban(change),
        Request::Reload => read_again(origin.clone()).await,
    };
    let (sender, receiver) = oneshot::channel();
    let asked = Asked {
        work,
        answer: Some(sender),
    };
    let answered = async {
        to.send(asked).await.ok()?;
        receiver.await.ok()
    };
    match timeout(WORK, answered).await {
        Ok(Some(answer)) => answer,
        Ok(None) => Answer::refused("tcpwatch is ending"),
        Err(_elapsed) => Answer::refused("tcpwatch is busy: look with `tcpwatch status` whether it was done"),
    }
}

/// Reads the configuration again, in another thread: its file system may be slow.
pub async fn read_again(origin: Origin) -> Work {
    match spawn_blocking(move || origin.read()).await {
        Ok(read) => Work::Reload(Box::new(read)),
        // It has panicked; what is asked instead changes nothing.
        Err(error) => {
            tracing::error!("reading the configuration broke off: {error}: please report this");
            Work::Status
        }
    }
}

/// Everything up to the end of a line, or of what is sent. None: it is too long.
async fn read(stream: &UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        stream.readable().await?;
        let count = match stream.try_read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let read = chunk.get(..count).unwrap_or_default();
        if let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            bytes.extend_from_slice(read.get(..end).unwrap_or_default());
            return Ok((bytes.len() <= MOST_REQUEST_BYTES).then_some(bytes));
        }
        bytes.extend_from_slice(read);
        if bytes.len() > MOST_REQUEST_BYTES {
            return Ok(None);
        }
        if count == 0 {
            return Ok(Some(bytes));
        }
    }
}

async fn write(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream as Client;
    use std::path::PathBuf;
    use std::thread;

    use super::*;

    /// A server whose pipeline refuses everything, with its name for the request.
    async fn with_server<T: Send + 'static>(clients: impl FnOnce(PathBuf) -> T + Send + 'static) -> T {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let (to, mut inbox) = mpsc::channel::<Asked>(1);
        let origin = Origin {
            typed: Arc::default(),
            file: None,
            given_bans: Arc::default(),
            ban_files: Vec::new(),
        };
        let _server = Server::start(&path, origin, to).await.unwrap();
        tokio::spawn(async move {
            while let Some(Asked { work, answer }) = inbox.recv().await {
                let name = format!("{work:?}");
                answer.unwrap().send(Answer::refused(name)).unwrap_or_default();
            }
        });
        spawn_blocking(move || clients(path)).await.unwrap()
    }

    fn say(path: &Path, what: &[u8]) -> String {
        let mut client = Client::connect(path).unwrap();
        // It may be let go in the middle.
        client.write_all(what).unwrap_or_default();
        client.shutdown(std::net::Shutdown::Write).unwrap_or_default();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap_or_default();
        answer
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_request_is_answered_with_and_without_the_end_of_its_line() {
        with_server(|path| {
            for end in ["", "\n", "\nmore"] {
                let answer = say(
                    &path,
                    format!("{{\"protocol\":1,\"request\":\"status\"}}{end}").as_bytes(),
                );
                assert_eq!(answer, "{\"protocol\":1,\"error\":{\"text\":\"Status\"}}\n");
            }
        })
        .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn garbage_and_a_megabyte_are_refused() {
        with_server(|path| {
            assert!(say(&path, b"\xff\x00garbage").contains("this is no request"));
            assert!(say(&path, b"").contains("this is no request"));
            let long = say(&path, &vec![b'x'; 1 << 20]);
            assert!(long.contains("has 65536 bytes at most"), "{long}");
        })
        .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn clients_that_say_nothing_are_let_go_and_the_next_is_heard() {
        with_server(|path| {
            let silent: Vec<Client> = (0..20).map(|_| Client::connect(&path).unwrap()).collect();
            let busy = thread::spawn({
                let path = path.clone();
                move || say(&path, b"{\"protocol\":1,\"request\":\"ban-list\"}\n")
            });
            // Three times eight.
            let answer = busy.join().unwrap();
            assert!(answer.contains("ListBans"), "{answer}");
            drop(silent);
        })
        .await;
    }
}
