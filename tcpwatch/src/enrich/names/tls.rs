//! The beginning of a TLS connection: the ClientHello in its records (RFC 8446 section 5.1).

use super::hello::{self, Hello, server_name};
use super::reader::{Reader, Short};

/// Bytes of a connection that are looked at: the longest ClientHello in records of a hundred bytes. Clients use one or
/// two records; those that hide from middleboxes use some more.
pub const LONGEST: usize = hello::LONGEST + 1024;

const HANDSHAKE: u8 = 22;

/// Longest fragment of a record (RFC 8446 section 5.1).
const LONGEST_FRAGMENT: usize = 1 << 14;

/// Reads the beginning of what a client sent on a TCP connection.
pub fn first_sent(stream: &[u8]) -> Hello {
    let mut records = Reader::new(stream);
    let mut handshake = Vec::new();
    while !records.is_empty() {
        match fragment(&mut records) {
            Ok(Some(fragment)) => handshake.extend_from_slice(fragment),
            // What follows a hello that tells enough does not matter; one that does not is not continued by this.
            Ok(None) => {
                return match server_name(&handshake) {
                    Hello::Unfinished => Hello::Unreadable,
                    told => told,
                };
            }
            Err(Short) => break,
        }
    }
    server_name(&handshake)
}

/// What there is of the next record's content; none if it is not a piece of a handshake.
fn fragment<'a>(records: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Short> {
    if records.u8()? != HANDSHAKE {
        return Ok(None);
    }
    let [major, _minor] = records.u16()?.to_be_bytes();
    let length = records.length()?;
    // A record without content is not allowed here.
    let allowed = major == 3 && (1..=LONGEST_FRAGMENT).contains(&length);
    Ok(allowed.then(|| records.up_to(length)))
}

#[cfg(test)]
mod tests {
    use super::super::forge::{client_hello, host_name, of_rustls, records};
    use super::*;

    fn named(name: &str) -> Hello {
        Hello::Name(name.into())
    }

    #[test]
    fn reads_the_name_that_rustls_sends() {
        assert_eq!(
            first_sent(&of_rustls("www.example.com")),
            named("www.example.com")
        );
    }

    #[test]
    fn records_of_any_size_give_the_same() {
        let hello = client_hello(&[(21, vec![0; 150]), host_name(b"a.example")]);
        for fragment in [1, 2, 3, 5, 100, hello.len() - 1, hello.len()] {
            let stream = records(&hello, fragment);
            assert_eq!(first_sent(&stream), named("a.example"), "{fragment}");
            for cut in 0..stream.len() - 5 {
                assert_eq!(first_sent(&stream[..cut]), Hello::Unfinished, "{fragment} {cut}");
            }
        }
        let long = client_hello(&[(21, vec![0; hello::LONGEST - 200]), host_name(b"a.example")]);
        assert_eq!(first_sent(&records(&long, LONGEST_FRAGMENT)), named("a.example"));
    }

    #[test]
    fn what_is_no_handshake_is_unreadable() {
        let hello = client_hello(&[(21, vec![0; 150]), host_name(b"a.example")]);
        let whole = records(&hello, hello.len());
        for (at, byte) in [(0, 23), (1, 2), (3, 0x40), (5, 2)] {
            let mut bad = whole.clone();
            bad[at] = byte;
            assert_eq!(first_sent(&bad), Hello::Unreadable, "{at}");
        }
        assert_eq!(
            first_sent(&[22, 3, 1, 0, 0]),
            Hello::Unreadable,
            "an empty record"
        );
        assert_eq!(first_sent(b"SSH-2.0-OpenSSH_10.0\r\n"), Hello::Unreadable);
        assert_eq!(first_sent(b"G"), Hello::Unreadable);
        // Something else amid the hello, and behind it.
        let mut stream = records(&hello[..20], 20);
        stream.extend([21, 3, 1, 0, 2, 1, 0]);
        assert_eq!(first_sent(&stream), Hello::Unreadable);
        assert_eq!(
            first_sent(&[&whole[..], &[20, 3, 3, 0, 1, 1]].concat()),
            named("a.example")
        );
    }
}
