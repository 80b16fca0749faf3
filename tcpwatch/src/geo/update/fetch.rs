//! One gzip file from a web server, unpacked on the way. Everything is bounded: connecting, silence, the whole, redirects, and
//! both lengths. It knows nothing of what the file contains.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use ureq::http::{Response, StatusCode, Uri, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::failure::{FetchError, Peer};
use super::proxies::Proxies;

/// Redirects that are followed, one after the other.
const MOST_REDIRECTS: usize = 5;

/// How long the whole body may take: the largest file (cities) in half an hour would be 300 kbit/s.
const WHOLE: Duration = Duration::from_secs(60 * 60);

/// What is read to tell a gzip file from a web page.
const HEAD_BYTES: u64 = 512;

/// What gzip files begin with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The most bytes that are taken.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of the file as it is sent.
    pub packed: u64,
    /// Of the file unpacked. It is held in memory while it is checked.
    pub unpacked: u64,
}

impl Default for Limits {
    /// Several times DB-IP Lite's largest file.
    fn default() -> Self {
        Self {
            packed: 512 << 20,
            unpacked: 1 << 30,
        }
    }
}

/// What a server had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The file, which has been written whole.
    Whole,
    /// No such file.
    Absent,
}

/// How files are fetched.
#[derive(Debug)]
pub struct Fetcher {
    /// Which proxy is used.
    pub proxies: Proxies,
    /// How long a server may take to be connected to, to answer, and between two parts of its answer.
    pub silence: Duration,
    /// How much is taken.
    pub limits: Limits,
}

impl Fetcher {
    /// Writes the unpacked file to `to`. After each part, `progress` gets the bytes that have come, and all that will come where
    /// that is known.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, has something else than a gzip file, does not send all of it, or `to` cannot take it. Some of it may
    /// have been written.
    pub fn fetch(
        &self,
        url: &Uri,
        to: &mut dyn Write,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<Answer, FetchError> {
        let Some((response, peer)) = self.follow(url)? else {
            return Ok(Answer::Absent);
        };
        let length = response.body().content_length();
        if length.is_some_and(|length| length > self.limits.packed) {
            return Err(self.too_long(url));
        }
        let mut sent = Sent {
            body: response.into_body().into_reader(),
            got: 0,
            length,
            limit: self.limits.packed,
            end: None,
            progress,
        };
        let unpacked = self.unpack(url, &mut sent, to);
        // What went wrong with the connection is the cause of what went wrong after it.
        match sent.end {
            Some(End::Failed(error)) => Err(self.failed(error, peer)),
            Some(End::TooLong) => Err(self.too_long(url)),
            None => unpacked.map(|()| Answer::Whole),
        }
    }

    /// Unpacks what is sent.
    fn unpack(&self, url: &Uri, sent: &mut Sent<'_>, to: &mut dyn Write) -> Result<(), FetchError> {
        let cut = |got| FetchError::Cut {
            url: url.to_string(),
            got,
        };
        let mut head = Vec::new();
        if sent.take(HEAD_BYTES).read_to_end(&mut head).is_err() || head.is_empty() {
            return Err(cut(sent.got));
        }
        if !head.starts_with(&GZIP) {
            let text = head.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&head);
            let url = url.to_string();
            return Err(if text.trim_ascii_start().starts_with(b"<") {
                FetchError::Page { url }
            } else {
                FetchError::NotGzip { url }
            });
        }
        let mut unpacked = MultiGzDecoder::new(head.chain(&mut *sent));
        let mut buffer = vec![0; 64 << 10];
        let mut length = 0;
        loop {
            let part = match unpacked.read(&mut buffer) {
                Ok(0) => return to.flush().map_err(|source| FetchError::Write { source }),
                Ok(some) => &buffer[..some],
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    drop(unpacked);
                    return Err(cut(sent.got));
                }
                Err(source) => {
                    return Err(FetchError::Gzip {
                        url: url.to_string(),
                        source,
                    });
                }
            };
            length += part.len() as u64;
            if length > self.limits.unpacked {
                return Err(self.too_long(url));
            }
            to.write_all(part)
                .map_err(|source| FetchError::Write { source })?;
        }
    }

    /// The answer at the end of the redirects, and who gave it; none: there is no such file.
    fn follow(&self, first: &Uri) -> Result<Option<(Response<Body>, Peer)>, FetchError> {
        let mut url = first.clone();
        for _ in 0..=MOST_REDIRECTS {
            let (response, peer) = self.ask(&url)?;
            match response.status() {
                StatusCode::OK => return Ok(Some((response, peer))),
                StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    let location = response.headers().get(header::LOCATION);
                    let location = location.map_or_else(String::new, |value| {
                        String::from_utf8_lossy(value.as_bytes()).into_owned()
                    });
                    url = target(&url, &location).ok_or_else(|| FetchError::Elsewhere {
                        url: url.to_string(),
                        location: location.escape_debug().take(200).collect(),
                    })?;
                }
                status => {
                    return Err(FetchError::Status {
                        url: url.to_string(),
                        status,
                    });
                }
            }
        }
        Err(FetchError::Circle {
            url: first.to_string(),
            most: MOST_REDIRECTS,
        })
    }

    /// One request.
    fn ask(&self, url: &Uri) -> Result<(Response<Body>, Peer), FetchError> {
        let proxy = self.proxies.of(url);
        let peer = Peer::new(url, proxy);
        let agent: Agent = Agent::config_builder()
            // The system's certificates, or those of SSL_CERT_FILE and SSL_CERT_DIR: behind a proxy that inspects TLS the
            // operator has added its certificate there, and they are renewed without a new tcpwatch.
            .tls_config(
                TlsConfig::builder()
                    .root_certs(RootCerts::PlatformVerifier)
                    .build(),
            )
            .proxy(proxy.cloned())
            // Followed here, because the next host may need another proxy.
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("tcpwatch/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(self.silence))
            .timeout_connect(Some(self.silence))
            .timeout_send_request(Some(self.silence))
            .timeout_recv_response(Some(self.silence))
            .timeout_per_read(Some(self.silence))
            .timeout_recv_body(Some(WHOLE))
            .build()
            .into();
        match agent.get(url).call() {
            Ok(response) => Ok((response, peer)),
            Err(error) => Err(self.failed(error, peer)),
        }
    }

    fn failed(&self, error: ureq::Error, peer: Peer) -> FetchError {
        FetchError::new(error, peer, self.silence, WHOLE)
    }

    fn too_long(&self, url: &Uri) -> FetchError {
        FetchError::TooLong {
            url: url.to_string(),
            packed: self.limits.packed,
            unpacked: self.limits.unpacked,
        }
    }
}

/// The body as it comes.
struct Sent<'a> {
    body: ureq::BodyReader<'static>,
    got: u64,
    length: Option<u64>,
    limit: u64,
    /// Why it came to an end too early.
    end: Option<End>,
    progress: &'a mut dyn FnMut(u64, Option<u64>),
}

enum End {
    Failed(ureq::Error),
    TooLong,
}

impl Read for Sent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = match self.body.read(buffer) {
            Ok(some) => {
                self.got += some as u64;
                (self.progress)(self.got, self.length);
                if self.got <= self.limit {
                    return Ok(some);
                }
                End::TooLong
            }
            Err(error) => End::Failed(error.into()),
        };
        self.end = Some(end);
        Err(ErrorKind::ConnectionAborted.into())
    }
}

/// Where a redirect leads; none: not to a web server, or from a secure one to another.
fn target(from: &Uri, location: &str) -> Option<Uri> {
    let scheme = from.scheme_str()?;
    let authority = from.authority()?;
    let text = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.contains("://") {
        location.to_owned()
    } else if location.is_empty() {
        return None;
    } else {
        let (directory, _) = from.path().rsplit_once('/')?;
        format!("{scheme}://{authority}{directory}/{location}")
    };
    let to: Uri = text.parse().ok()?;
    to.host()?;
    match (scheme, to.scheme_str()?) {
        (_, "https") | ("http", "http") => Some(to),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn a_redirect_leads_to_a_web_server_and_never_from_a_secure_one_to_another() {
        let from = "https://a.example:8443/free/x?y".parse().unwrap();
        let to = |location| target(&from, location).map(|url| url.to_string());
        assert_eq!(to("https://b.example/z").as_deref(), Some("https://b.example/z"));
        assert_eq!(to("//b.example/z").as_deref(), Some("https://b.example/z"));
        assert_eq!(to("/z?w").as_deref(), Some("https://a.example:8443/z?w"));
        assert_eq!(to("z").as_deref(), Some("https://a.example:8443/free/z"));
        for location in [
            "http://a.example/",
            "ftp://a.example/",
            "",
            "file:///etc/passwd",
            "https://",
        ] {
            assert_eq!(to(location), None, "{location}");
        }
        let plain = "http://a.example/x".parse().unwrap();
        assert!(target(&plain, "http://b.example/").is_some());
        assert!(target(&plain, "https://b.example/").is_some());
    }

    const LIMITS: Limits = Limits {
        packed: 100_000,
        unpacked: 1_000_000,
    };

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// What comes of fetching this body, sent without its length, and how much was written.
    fn fetched(body: Vec<u8>) -> (Result<Answer, FetchError>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // All of it, or closing would reset the connection and cost the client the end of the answer.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                .unwrap();
            // The client may go before the end.
            stream.write_all(&body).unwrap_or_default();
        });
        let fetcher = Fetcher {
            proxies: Proxies::default(),
            silence: Duration::from_secs(20),
            limits: LIMITS,
        };
        let mut written = Vec::new();
        let answer = fetcher.fetch(&url.parse().unwrap(), &mut written, &mut |_, _| {});
        server.join().unwrap();
        (answer, written.len())
    }

    #[test]
    fn a_gzip_bomb_is_given_up_when_it_is_longer_than_what_is_taken() {
        let (answer, written) = fetched(packed(&vec![0; 1_000_000]));
        assert_eq!(
            (answer.unwrap(), written),
            (Answer::Whole, 1_000_000),
            "the control"
        );
        let bomb = packed(&vec![0; 50_000_000]);
        assert!(bomb.len() < 60_000, "{}", bomb.len());
        let (answer, written) = fetched(bomb);
        assert!(matches!(answer, Err(FetchError::TooLong { .. })), "{answer:?}");
        assert!(written <= 1_000_000, "{written}");
        // Many small files one behind the other are one file, too.
        let (answer, written) = fetched(packed(&[0; 1000]).repeat(2000));
        assert!(matches!(answer, Err(FetchError::TooLong { .. })), "{answer:?}");
        assert!(written <= 1_000_000, "{written}");
    }

    #[test]
    fn a_body_without_end_is_given_up() {
        let mut random = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        })
        .take(300_000)
        .collect();
        let (answer, written) = fetched(packed(&noise[..90_000]));
        assert_eq!((answer.unwrap(), written), (Answer::Whole, 90_000), "the control");
        let (answer, written) = fetched(packed(&noise));
        assert!(matches!(answer, Err(FetchError::TooLong { .. })), "{answer:?}");
        assert!(written <= 110_000, "{written}");
    }
}
