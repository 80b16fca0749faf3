//! QUIC by quinn: a server that answers one request a stream, and a client that makes them.

use std::future::Future;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::names_lab::PAGE;
use crate::names_lab::hello::unspoken_protocols;
use crate::namespace::Namespace;
use crate::wait::PATIENCE;
use crate::web::Authority;

/// The protocol that both speak: a request is a stream's content, an answer another.
pub const PROTOCOL: &[u8] = b"tcpwatch-test";
/// No request is longer.
const REQUEST_BYTES: usize = 1024;

/// The running server. It ends with this value.
#[derive(Debug)]
pub struct Server {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on every address of the namespace.
    ///
    /// # Panics
    ///
    /// When the port is taken.
    pub fn start(namespace: &Namespace, port: u16, mut tls: rustls::ServerConfig) -> Self {
        tls.alpn_protocols = vec![PROTOCOL.to_vec()];
        let tls = QuicServerConfig::try_from(tls).expect("it has the suite of Initials");
        let config = ServerConfig::with_crypto(Arc::new(tls));
        let socket = namespace.within(|| UdpSocket::bind(("::", port)).expect("the port is free"));
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn(move || {
            run(async {
                let endpoint = endpoint(socket, Some(config));
                tokio::select! {
                    () = answer(&endpoint) => {}
                    // An error is the owner's end, too.
                    _ = ended => {}
                }
            });
        });
        Self {
            end: Some(end),
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            crate::note(format_args!("the QUIC server has panicked"));
        }
    }
}

async fn answer(endpoint: &Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        // A client that goes away in the middle is its own affair.
        tokio::spawn(async move {
            let connection = incoming.await?;
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                receive
                    .read_to_end(REQUEST_BYTES)
                    .await
                    .expect("requests are short");
                send.write_all(PAGE).await.expect("the client reads");
                send.finish().expect("it was not finished before");
            }
            Ok::<(), quinn::ConnectionError>(())
        });
    }
}

/// How a client asks.
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
}

impl Client {
    /// Knows this authority and no other.
    ///
    /// # Panics
    ///
    /// When the library cannot make it.
    pub fn new(authority: &Authority) -> Self {
        Self::with_protocols(authority, vec![PROTOCOL.to_vec()])
    }

    /// The same with a hello that does not fit into one datagram.
    ///
    /// # Panics
    ///
    /// When the library cannot make it.
    pub fn with_long_hello(authority: &Authority) -> Self {
        let protocols = unspoken_protocols().chain([PROTOCOL.to_vec()]);
        Self::with_protocols(authority, protocols.collect())
    }

    fn with_protocols(authority: &Authority, protocols: Vec<Vec<u8>>) -> Self {
        let mut tls = authority.client();
        tls.alpn_protocols = protocols;
        let tls = QuicClientConfig::try_from(tls).expect("it has the suite of Initials");
        Self {
            config: ClientConfig::new(Arc::new(tls)),
        }
    }

    /// Makes one connection to `to` for each name, one after another, all from one socket of the namespace, and returns
    /// what each was answered.
    ///
    /// # Panics
    ///
    /// When a connection or a request fails.
    pub fn get(&self, namespace: &Namespace, to: &str, port: u16, names: &[&str]) -> Vec<Vec<u8>> {
        let to: IpAddr = to.parse().expect("a literal address");
        let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
        namespace.within(|| {
            let socket = UdpSocket::bind((any, 0)).expect("there are ports");
            run(async {
                let endpoint = endpoint(socket, None);
                let mut answers = Vec::new();
                for name in names {
                    let connecting = endpoint
                        .connect_with(self.config.clone(), SocketAddr::from((to, port)), name)
                        .expect("the name is one");
                    let connection = within(PATIENCE, connecting).await.expect("the server answers");
                    answers.push(within(PATIENCE, request(&connection)).await);
                    connection.close(0_u32.into(), b"");
                }
                within(PATIENCE, endpoint.wait_idle()).await;
                answers
            })
        })
    }
}

async fn request(connection: &Connection) -> Vec<u8> {
    let (mut send, mut receive) = connection.open_bi().await.expect("the server takes streams");
    send.write_all(b"what is it?").await.expect("the server reads");
    send.finish().expect("it was not finished before");
    receive.read_to_end(1 << 16).await.expect("the answer is short")
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => panic!("nothing came within {limit:?}"),
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("there are descriptors")
        .block_on(work)
}

/// Must be called within [`run`].
fn endpoint(socket: UdpSocket, server: Option<ServerConfig>) -> Endpoint {
    Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))
        .expect("the socket can be used")
}
