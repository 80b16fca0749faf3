//! The server name of a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3), also of one that is not whole yet.
//!
//! The parsers that exist want the whole message, and one extension that they do not understand hides all others; here
//! what precedes the name is stepped over by its lengths, and the rest is not looked at.
//!
//! **Encrypted ClientHello (RFC 9849).** The name on the outside is then the public name of the provider
//! (`public_name` in section 4), and the one that matters is sealed. But the extension is no sign of it: clients send it
//! filled with random bytes where they have no key (section 6.2, "GREASE ECH"; browsers do so on nearly every
//! connection), made so that nobody on the way can tell the two apart, and then the name on the outside is the true one.
//! So the extension decides nothing here, and the public names that are known to be nothing else are no names.

use std::sync::Arc;

use super::host::host;
use super::reader::{Reader, Short};

/// Longest ClientHello that is read, in bytes, without its header of four; those of clients have some hundred bytes, with
/// post-quantum keys 2,000.
pub const LONGEST: usize = 16 << 10;

/// Public names for Encrypted ClientHello, under which no site is. Cloudflare's, whose are nearly all such connections,
/// as published in the HTTPS records of its customers' names (and the one of its trial in 2021); those of the two public
/// test sites, tls-ech.dev and defo.ie.
const PUBLIC_NAMES: [&str; 4] = [
    "cloudflare-ech.com",
    "cloudflare-esni.com",
    "public.tls-ech.dev",
    "cover.defo.ie",
];

const CLIENT_HELLO: u8 = 1;
const LONGEST_SESSION_ID: usize = 32;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// What the beginning of a handshake tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// The server's name, as [`host`] accepts it.
    Name(Arc<str>),
    /// A ClientHello that names no host: none at all, one that is refused, or only the public one of a provider.
    Nameless,
    /// It may be one; more is needed.
    Unfinished,
    /// It is no ClientHello, or a damaged one.
    Unreadable,
}

/// Reads the beginning of a handshake's messages.
pub fn server_name(handshake: &[u8]) -> Hello {
    let mut reader = Reader::new(handshake);
    let (Ok(kind), Ok(length)) = (reader.u8(), reader.u24()) else {
        return match handshake.first() {
            Some(kind) if *kind != CLIENT_HELLO => Hello::Unreadable,
            _ => Hello::Unfinished,
        };
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if kind != CLIENT_HELLO || length > LONGEST {
        return Hello::Unreadable;
    }
    let whole = reader.rest().len() >= length;
    let mut body = Reader::new(reader.up_to(length));
    match extensions(&mut body, whole) {
        Ok(hello) => hello,
        // Its own lengths lead out of it.
        Err(Short) if whole => Hello::Unreadable,
        Err(Short) => Hello::Unfinished,
    }
}

/// Steps over what precedes the extensions and looks for the name among them.
fn extensions(body: &mut Reader<'_>, whole: bool) -> Result<Hello, Short> {
    let [major, _minor] = body.u16()?.to_be_bytes();
    if major != 3 {
        return Ok(Hello::Unreadable);
    }
    body.take(32)?;
    let session_id = usize::from(body.u8()?);
    if session_id > LONGEST_SESSION_ID {
        return Ok(Hello::Unreadable);
    }
    body.take(session_id)?;
    let suites = body.length()?;
    if suites == 0 || suites % 2 == 1 {
        return Ok(Hello::Unreadable);
    }
    body.take(suites)?;
    let methods = usize::from(body.u8()?);
    if methods == 0 {
        return Ok(Hello::Unreadable);
    }
    body.take(methods)?;
    if whole && body.is_empty() {
        // Before TLS 1.3 there may be none.
        return Ok(Hello::Nameless);
    }
    let mut left = body.length()?;
    if whole && left != body.rest().len() {
        return Ok(Hello::Unreadable);
    }
    while left > 0 {
        let (kind, length) = (body.u16()?, body.length()?);
        let Some(after) = left.checked_sub(4 + length) else {
            return Ok(Hello::Unreadable);
        };
        left = after;
        let data = body.take(length)?;
        if kind == SERVER_NAME {
            // A piece that is missing in here does not come.
            return Ok(names(data).unwrap_or(Hello::Unreadable));
        }
    }
    Ok(Hello::Nameless)
}

/// What the extension `server_name` says.
fn names(data: &[u8]) -> Result<Hello, Short> {
    let mut data = Reader::new(data);
    if data.length()? != data.rest().len() {
        return Ok(Hello::Unreadable);
    }
    let mut found = None;
    while !data.is_empty() {
        let kind = data.u8()?;
        let length = data.length()?;
        let name = data.take(length)?;
        if kind == HOST_NAME && found.replace(name).is_some() {
            // Not allowed, and which of them is meant nobody knows.
            return Ok(Hello::Unreadable);
        }
    }
    let name = found
        .and_then(host)
        .filter(|name| !PUBLIC_NAMES.contains(&&**name));
    Ok(name.map_or(Hello::Nameless, Hello::Name))
}

#[cfg(test)]
mod tests {
    use super::super::forge::{
        ENCRYPTED_CLIENT_HELLO, client_hello, host_name, message, of_rustls_in_quic, server_names, vector16,
    };
    use super::*;

    fn named(name: &str) -> Hello {
        Hello::Name(name.into())
    }

    #[test]
    fn reads_the_name_that_rustls_sends() {
        let hello = of_rustls_in_quic("Www.Example.com");
        assert_eq!(server_name(&hello), named("www.example.com"));
    }

    #[test]
    fn a_beginning_is_unfinished_until_the_name_is_in_it() {
        let hello = client_hello(&[
            (0x2a2a, vec![0]),
            host_name(b"www.example.com"),
            (43, vec![2, 3, 4]),
        ]);
        let at = hello.windows(3).position(|bytes| bytes == b"www").unwrap();
        let enough = at + "www.example.com".len();
        for length in 0..=hello.len() {
            let expected = if length < enough {
                Hello::Unfinished
            } else {
                named("www.example.com")
            };
            assert_eq!(server_name(&hello[..length]), expected, "{length}");
        }
        // What follows is another message.
        assert_eq!(
            server_name(&[&hello[..], b"more"].concat()),
            named("www.example.com")
        );
    }

    #[test]
    fn grease_is_stepped_over() {
        for kind in [0x0a0a, 0x5a5a, 0xfafa] {
            let hello = client_hello(&[(kind, vec![]), (kind, vec![7; 300]), host_name(b"a.example")]);
            assert_eq!(server_name(&hello), named("a.example"));
        }
    }

    #[test]
    fn the_longest_one_is_read_and_a_longer_one_is_not() {
        let rest = client_hello(&[host_name(b"a.example"), (21, vec![])]).len() - 4;
        let padded = |body: usize| client_hello(&[(21, vec![0; body - rest]), host_name(b"a.example")]);
        assert_eq!(server_name(&padded(LONGEST)), named("a.example"));
        assert_eq!(server_name(&padded(LONGEST + 1)), Hello::Unreadable);
        assert_eq!(server_name(&padded(LONGEST)[..LONGEST - 20]), Hello::Unfinished);
    }

    #[test]
    fn the_public_name_of_a_provider_is_none_and_the_extension_alone_hides_nothing() {
        let sealed = (
            ENCRYPTED_CLIENT_HELLO,
            [&[0, 0, 1, 0, 1, 7][..], &vector16(&[3; 32]), &vector16(&[9; 144])].concat(),
        );
        let public = client_hello(&[host_name(b"cloudflare-ech.com"), sealed.clone()]);
        assert_eq!(server_name(&public), Hello::Nameless);
        let grease = client_hello(&[sealed, host_name(b"www.example.com")]);
        assert_eq!(server_name(&grease), named("www.example.com"));
    }

    #[test]
    fn without_a_name_of_a_host_it_is_nameless() {
        let nameless: [&[(u16, Vec<u8>)]; 9] = [
            &[],
            &[(43, vec![2, 3, 4])],
            &[server_names(&[(1, b"a.example")])],
            &[host_name(b"192.0.2.1")],
            &[host_name(b"2001:db8::1")],
            &[host_name(b"a\x1b[2J.example")],
            &[host_name("b\u{fc}cher.example".as_bytes())],
            &[host_name(b"")],
            &[host_name(&[b'a'; 8000])],
        ];
        for extensions in nameless {
            assert_eq!(
                server_name(&client_hello(extensions)),
                Hello::Nameless,
                "{extensions:?}"
            );
        }
        // TLS 1.0 without extensions.
        let body = [&[3, 1][..], &[0; 32], &[0], &[0, 2, 0, 5], &[1, 0]].concat();
        assert_eq!(server_name(&message(1, &body)), Hello::Nameless);
        assert_eq!(
            server_name(&client_hello(&[server_names(&[(7, b"x"), (0, b"a.example")])])),
            named("a.example")
        );
    }

    #[test]
    fn what_contradicts_itself_is_unreadable() {
        let good = client_hello(&[host_name(b"a.example")]);
        let session_id = 4 + 2 + 32;
        let suites = session_id + 33;
        let extensions = good.len() - 18 - 2;
        assert_eq!(good[extensions..extensions + 2], [0, 18]);
        // The kind, a length of 16 MB, the version, lengths of the session, the suites, the methods, the extensions,
        // one extension, the list, the name.
        for (at, byte) in [
            (0, 2),
            (1, 1),
            (4, 2),
            (session_id, 33),
            (suites + 1, 7),
            (suites + 1, 0),
            (suites + 10, 0),
            (suites + 10, 99),
            (extensions + 1, 17),
            (extensions + 1, 19),
            (extensions + 5, 15),
            (extensions + 7, 11),
            (extensions + 7, 13),
            (extensions + 10, 8),
            (extensions + 10, 10),
        ] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(server_name(&bad), Hello::Unreadable, "{at}");
        }
        let twice = client_hello(&[server_names(&[(0, b"a.example"), (0, b"b.example")])]);
        assert_eq!(server_name(&twice), Hello::Unreadable);
        assert_eq!(server_name(&message(1, &[])), Hello::Unreadable);
        assert_eq!(server_name(b"GET / HTTP/1.1"), Hello::Unreadable);
        assert_eq!(server_name(b"\x02"), Hello::Unreadable);
    }
}
