//! A web server, or a proxy, on the loopback interface or where it is told to be, which also does what good ones do not.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// 200 with this body.
    Whole(Vec<u8>),
    /// Another status, with a short page.
    Status(u16),
    /// A redirect.
    Redirect(String),
    /// So many bytes of the body that was promised, and the end of the connection.
    Cut(Vec<u8>, usize),
    /// A body of unknown length, which the end of the connection ends.
    Unsized(Vec<u8>),
    /// So many bytes of the body that was promised, and then nothing.
    Silence(Vec<u8>, usize),
    /// The promise of so many bytes.
    Promise(u64),
    /// For CONNECT: what is said goes to this address, and its answers come back.
    Tunnel(SocketAddr),
    /// Bytes that are no HTTP.
    Raw(Vec<u8>),
}

type Answer = dyn Fn(&str) -> Reply + Send + Sync;

/// The server. It ends with this value.
#[derive(Debug)]
pub struct Web {
    listener: TcpListener,
    address: SocketAddr,
    secure: bool,
    requests: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
}

impl Web {
    /// Serves HTTP. `answer` gets the request's target: a path, or name and port for CONNECT.
    ///
    /// # Panics
    ///
    /// When there is no port.
    pub fn serve(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve_on(loopback(), answer)
    }

    /// Serves HTTP on this listener, in the calling thread's namespace.
    ///
    /// # Panics
    ///
    /// When the listener cannot be shared between threads.
    pub fn serve_on(listener: TcpListener, answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(listener, None, Arc::new(answer))
    }

    /// Serves HTTPS.
    ///
    /// # Panics
    ///
    /// When there is no port.
    pub fn serve_tls(authority: &Authority, answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve_tls_on(loopback(), authority, &["127.0.0.1"], answer)
    }

    /// Serves HTTPS on this listener, in the calling thread's namespace, with a certificate for these names.
    ///
    /// # Panics
    ///
    /// When the listener cannot be shared between threads.
    pub fn serve_tls_on(
        listener: TcpListener,
        authority: &Authority,
        names: &[&str],
        answer: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(
            listener,
            Some(Arc::new(authority.server(names))),
            Arc::new(answer),
        )
    }

    fn start(listener: TcpListener, tls: Option<Arc<ServerConfig>>, answer: Arc<Answer>) -> Self {
        let web = Self {
            listener: listener.try_clone().expect("there are descriptors"),
            address: listener.local_addr().expect("it is bound"),
            secure: tls.is_some(),
            requests: Arc::default(),
            ended: Arc::default(),
        };
        let (requests, ended) = (Arc::clone(&web.requests), Arc::clone(&web.ended));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (requests, answer, tls) = (Arc::clone(&requests), Arc::clone(&answer), tls.clone());
                // A client that goes away in the middle is what many tests are about.
                thread::spawn(move || converse(stream, tls, &requests, &*answer).unwrap_or_default());
            }
        });
        web
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The heads of all requests until now.
    ///
    /// # Panics
    ///
    /// When a thread of the server has panicked.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }

    /// Method and target of all requests until now.
    ///
    /// # Panics
    ///
    /// When a thread of the server has panicked.
    pub fn targets(&self) -> Vec<String> {
        let line = |head: &String| head.lines().next().unwrap_or_default().to_owned();
        let requests = self.requests();
        let lines = requests.iter().map(line);
        lines
            .map(|line| line.trim_end_matches(" HTTP/1.1").to_owned())
            .collect()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, from whichever namespace.
        // SAFETY: the descriptor is open for as long as this value lives.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
    }
}

fn loopback() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).expect("loopback has ports")
}

fn converse(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    requests: &Mutex<Vec<String>>,
    answer: &Answer,
) -> io::Result<()> {
    match tls {
        None => {
            let tunnel = reply(&mut &stream, requests, answer)?;
            match tunnel {
                Some(to) => relay(&stream, &TcpStream::connect(to)?),
                None => stream.shutdown(Shutdown::Both),
            }
        }
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            let mut stream = StreamOwned::new(connection, stream);
            reply(&mut stream, requests, answer)?;
            stream.conn.send_close_notify();
            stream.flush()
        }
    }
}

/// Reads a request and answers it. Where it is to be tunnelled, to where.
fn reply(
    stream: &mut (impl Read + Write),
    requests: &Mutex<Vec<String>>,
    answer: &Answer,
) -> io::Result<Option<SocketAddr>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    requests
        .lock()
        .map_err(|_poisoned| io::Error::other("a test has failed"))?
        .push(head);
    let mut send = |status: &str, headers: &str, body: &[u8]| {
        stream.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n").as_bytes())?;
        stream.write_all(body)?;
        stream.flush()
    };
    let length = |bytes: usize| format!("Content-Length: {bytes}\r\n");
    match answer(&target) {
        Reply::Whole(body) => send("200 OK", &length(body.len()), &body)?,
        Reply::Status(status) => {
            let page = b"<html><title>error</title></html>";
            send(&format!("{status} Said So"), &length(page.len()), page)?;
        }
        Reply::Redirect(to) => send("302 Found", &format!("Location: {to}\r\n{}", length(0)), b"")?,
        Reply::Cut(body, at) => send("200 OK", &length(body.len()), &body[..at])?,
        Reply::Unsized(body) => send("200 OK", "", &body)?,
        Reply::Silence(body, at) => {
            send("200 OK", &length(body.len()), &body[..at])?;
            // Until the client has had enough.
            stream.read_to_end(&mut Vec::new())?;
        }
        Reply::Promise(bytes) => send("200 OK", &format!("Content-Length: {bytes}\r\n"), b"")?,
        Reply::Raw(bytes) => {
            stream.write_all(&bytes)?;
            stream.flush()?;
        }
        Reply::Tunnel(to) => {
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            return Ok(Some(to));
        }
    }
    Ok(None)
}

/// Carries what both say until one of them ends.
fn relay(one: &TcpStream, two: &TcpStream) -> io::Result<()> {
    thread::scope(|scope| {
        let back = scope.spawn(|| {
            let (mut from, mut to) = (two, one);
            io::copy(&mut from, &mut to).unwrap_or_default();
            one.shutdown(Shutdown::Both).unwrap_or_default();
        });
        let (mut from, mut to) = (one, two);
        io::copy(&mut from, &mut to).unwrap_or_default();
        two.shutdown(Shutdown::Both).unwrap_or_default();
        back.join()
            .map_err(|_panic| io::Error::other("the thread back has panicked"))
    })
}

/// A certificate authority that nobody knows, for servers on the loopback interface.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    ///
    /// When the library cannot make it.
    pub fn new() -> Self {
        let mut parameters = CertificateParams::new([]).expect("no names");
        // Another subject than that of its certificates, or OpenSSL takes those for self-signed ones.
        parameters
            .distinguished_name
            .push(DnType::CommonName, "authority of the tests");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("there is randomness");
        let issuer = CertifiedIssuer::self_signed(parameters, key).expect("it can sign");
        Self { issuer }
    }

    /// Its own certificate, as `SSL_CERT_FILE` takes it.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// What a TLS server needs, with a certificate for these names.
    ///
    /// # Panics
    ///
    /// When one of them is neither a name nor an address.
    pub fn server(&self, names: &[&str]) -> ServerConfig {
        let key = KeyPair::generate().expect("there is randomness");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let parameters = CertificateParams::new(names).expect("names or literal addresses");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("it can sign");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("it was just made");
        let provider = rustls::crypto::ring::default_provider();
        ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .expect("the usual ones")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("they belong together")
    }

    /// What a TLS client needs that knows this authority and no other.
    ///
    /// # Panics
    ///
    /// When the library cannot make it.
    pub fn client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.issuer.der().clone())
            .expect("it is a certificate authority");
        let provider = rustls::crypto::ring::default_provider();
        ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .expect("the usual ones")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
