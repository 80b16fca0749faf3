//! Names of hosts as they may leave the parsers: one spelling for each, and nothing in them that a terminal, a file or
//! a page would take for more than a name.

use std::sync::Arc;

use rustls::pki_types::DnsName;

/// `name` in lower case and without the final dot; none unless it is the name of a host.
///
/// Labels of letters, digits, hyphens (RFC 952, RFC 1123 section 2.1) and underscores, which names in use have; 1 to
/// 253 bytes, labels of 1 to 63. The last label is no number, thus no address passes for a name. Labels in Punycode
/// stay as they are; raw UTF-8 is refused.
pub fn host(name: &[u8]) -> Option<Arc<str>> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    // The check below would take away another one.
    if name.ends_with(b".") {
        return None;
    }
    let name = DnsName::try_from(name).ok()?;
    Some(name.as_ref().to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &[u8]) -> Option<String> {
        host(name).map(|name| name.as_ref().to_owned())
    }

    #[test]
    fn a_name_has_one_spelling() {
        for name in ["www.example.com", "WWW.eXample.COM", "www.example.com."] {
            assert_eq!(of(name.as_bytes()).unwrap(), "www.example.com");
        }
        for name in [
            "localhost",
            "_dmarc.example.org",
            "xn--bcher-kva.example",
            "1.2.3.4.example",
            "r3---sn-4g5.example",
            "a_b.example",
            "1.0.0.127.in-addr.arpa",
        ] {
            assert_eq!(of(name.as_bytes()).unwrap(), name);
        }
    }

    #[test]
    fn what_is_no_name_of_a_host_is_refused() {
        let refused: [&[u8]; 24] = [
            b"",
            b".",
            b"..",
            b"a..",
            b"a..b",
            b".a",
            b"a b.example",
            b"a\x1b[2J.example",
            b"a\n.example",
            b"a\0.example",
            b"\"a\".example",
            b"<b>.example",
            b"=1+1.example",
            b"a\\.example",
            b"-a.example",
            b"a-.example",
            b"192.0.2.1",
            b"192.0.2.1.",
            b"2130706433",
            b"127.0x1",
            b"2001:db8::1",
            b"[2001:db8::1]",
            "b\u{fc}cher.example".as_bytes(),
            b"b\xfccher.example",
        ];
        for name in refused {
            assert_eq!(of(name), None, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn a_name_is_bounded() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), 253);
        assert_eq!(of(longest.as_bytes()).unwrap(), longest);
        assert_eq!(of(format!("{longest}.").as_bytes()).unwrap(), longest);
        assert_eq!(of(format!("{longest}a").as_bytes()), None);
        assert_eq!(of(format!("a{label}.example").as_bytes()), None);
        assert_eq!(of(&vec![b'a'; 64 << 10]), None);
    }
}
