//! How a served port is written.

use std::fmt::{self, Display, Formatter};
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::net::listening::{PortOverride, Protocol};

impl FromStr for PortOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (served, rest) = match text.strip_prefix('-') {
            Some(rest) => (false, rest),
            None => (true, text.strip_prefix('+').unwrap_or(text)),
        };
        let (number, protocol) = match rest.split_once('/') {
            None => (rest, None),
            Some((number, "tcp")) => (number, Some(Protocol::Tcp)),
            Some((number, "udp")) => (number, Some(Protocol::Udp)),
            Some((_, other)) => return Err(format!("{other:?} is no protocol: write tcp or udp")),
        };
        // A second sign is no part of a number.
        let port = Some(number)
            .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|number| number.parse::<NonZeroU16>().ok())
            .ok_or_else(|| {
                "a port is a number from 1 to 65535: write it like 443, 51820/udp or -8080/tcp".to_owned()
            })?;
        Ok(Self {
            port: port.get(),
            protocol,
            served,
        })
    }
}

impl Display for PortOverride {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.served { "" } else { "-" };
        write!(to, "{sign}{}", self.port)?;
        self.protocol.map_or(Ok(()), |protocol| write!(to, "/{protocol}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_a_sign_and_a_protocol() {
        let of = |text: &str| text.parse::<PortOverride>().unwrap();
        let port = |port, protocol, served| PortOverride {
            port,
            protocol,
            served,
        };
        assert_eq!(of("443"), port(443, None, true));
        assert_eq!(of("+65535/tcp"), port(65_535, Some(Protocol::Tcp), true));
        assert_eq!(of("-1/udp"), port(1, Some(Protocol::Udp), false));
    }

    #[test]
    fn what_is_no_port_is_refused() {
        let error = |text: &str| text.parse::<PortOverride>().unwrap_err();
        for text in [
            "0", "99999", "x", "", "-", "+-443", "--443", "4 43", "/tcp", "٤٤٣",
        ] {
            assert!(
                error(text).starts_with("a port is a number from 1 to 65535: "),
                "{text}"
            );
        }
        for text in ["-443/sctp", "443/", "443/TCP", "443/tcp/udp"] {
            assert!(
                error(text).ends_with(" is no protocol: write tcp or udp"),
                "{text}"
            );
        }
    }
}
