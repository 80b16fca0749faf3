//! Which proxy a request goes through, by the usual environment variables. It reads no environment itself.

use std::net::IpAddr;

use ipnet::IpNet;
use ureq::Proxy;
use ureq::http::Uri;

/// Why a variable cannot be used. The text does not repeat the value, which may have a password in it.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Not the address of a proxy.
    #[error("{variable} is not the address of a proxy: write it like http://proxy.example:3128")]
    Address {
        /// The variable.
        variable: &'static str,
        /// What the parser said.
        #[source]
        source: ureq::Error,
    },
}

/// The proxies of the environment.
///
/// The rules are curl's, which operators know: the variable of the URL's scheme goes before `all_proxy`, lower case before
/// upper case, an empty value means no proxy, and a name in `no_proxy` covers the names below it. The HTTP library's own rules
/// differ in all of these, and it goes without a proxy when it does not understand the value.
#[derive(Debug, Default)]
pub struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    exceptions: Vec<Exception>,
}

impl Proxies {
    /// Those that the variables say.
    ///
    /// # Errors
    ///
    /// One of the variables that decide has no proxy's address in it.
    pub fn new(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        let proxy = |names: [&'static str; 4]| {
            let first = names
                .into_iter()
                .find_map(|name| Some((name, variable(name)?)))
                .filter(|(_, value)| !value.trim().is_empty());
            first
                .map(|(name, value)| {
                    let proxy = Proxy::new(value.trim());
                    let proxy = proxy.and_then(|proxy| match has_a_proper_port(proxy.uri()) {
                        true => Ok(proxy),
                        false => Err(ureq::Error::InvalidProxyUrl),
                    });
                    proxy.map_err(|source| ProxyError::Address {
                        variable: name,
                        source,
                    })
                })
                .transpose()
        };
        let exceptions = variable("no_proxy")
            .or_else(|| variable("NO_PROXY"))
            .unwrap_or_default();
        Ok(Self {
            https: proxy(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            http: proxy(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])?,
            exceptions: exceptions
                .split([',', ' ', '\t'])
                .filter(|word| !word.is_empty())
                .map(Exception::new)
                .collect(),
        })
    }

    /// The one for this URL; none: directly.
    pub fn of(&self, url: &Uri) -> Option<&Proxy> {
        let host = url.host()?.trim_end_matches('.').to_ascii_lowercase();
        let secure = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        if self.exceptions.iter().any(|one| one.covers(&host, port)) {
            return None;
        }
        if secure { &self.https } else { &self.http }.as_ref()
    }
}

/// Whether what follows the host, if anything does, is a port's number. The parser takes anything there, and the library then
/// takes the usual port.
pub fn has_a_proper_port(url: &Uri) -> bool {
    url.authority().is_some_and(|authority| {
        let text = authority.as_str();
        let place = text.rsplit_once('@').map_or(text, |(_, place)| place);
        place == authority.host() || authority.port_u16().is_some()
    })
}

/// A word of `no_proxy`.
#[derive(Debug, PartialEq, Eq)]
enum Exception {
    /// Every host.
    All,
    /// A network, or one address.
    Net(IpNet),
    /// A name and all names below it; at one port or any.
    Name { name: String, port: Option<u16> },
}

impl Exception {
    fn new(word: &str) -> Self {
        if word == "*" {
            return Self::All;
        }
        let bare = word.trim_start_matches('[').trim_end_matches(']');
        if let Ok(net) = bare.parse::<IpNet>() {
            return Self::Net(net);
        }
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Self::Net(address.into());
        }
        let (name, port) = match word.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => (name, port.parse().ok()),
            _ => (word, None),
        };
        Self::Name {
            name: name
                .trim_start_matches('*')
                .trim_matches('.')
                .to_ascii_lowercase(),
            port,
        }
    }

    /// Whether it covers a host, given in lower case.
    fn covers(&self, host: &str, at: u16) -> bool {
        match self {
            Self::All => true,
            Self::Net(net) => host
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|address| net.contains(&address)),
            Self::Name { name, port } => {
                port.is_none_or(|port| port == at)
                    && host
                        .strip_suffix(name.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::new(|name| {
            variables
                .iter()
                .find(|(variable, _)| *variable == name)
                .map(|(_, value)| (*value).to_owned())
        })
        .unwrap()
    }

    fn used(variables: &[(&str, &str)], url: &str) -> Option<String> {
        proxies(variables)
            .of(&url.parse().unwrap())
            .map(|proxy| format!("{} {}:{}", proxy.protocol(), proxy.host(), proxy.port()))
    }

    const HTTPS: &str = "https://db.example/x";
    const HTTP: &str = "http://db.example/x";

    #[test]
    fn the_variable_of_the_scheme_decides_then_the_one_for_all() {
        let both = [("https_proxy", "http://s:1"), ("http_proxy", "http://p:2")];
        assert_eq!(used(&both, HTTPS).as_deref(), Some("HTTP s:1"));
        assert_eq!(used(&both, HTTP).as_deref(), Some("HTTP p:2"));
        assert_eq!(used(&both[1..], HTTPS), None);
        let all = [("https_proxy", "s:1"), ("all_proxy", "socks5h://a")];
        assert_eq!(used(&all, HTTPS).as_deref(), Some("HTTP s:1"));
        assert_eq!(used(&all, HTTP).as_deref(), Some("SOCKS5h a:1080"));
        assert_eq!(used(&[], HTTPS), None);
    }

    #[test]
    fn lower_case_goes_before_upper_case_and_empty_means_none() {
        for name in ["HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
            assert_eq!(
                used(&[(name, " http://u:9 ")], HTTPS).as_deref(),
                Some("HTTP u:9"),
                "{name}"
            );
        }
        let both = [("HTTPS_PROXY", "http://u:1"), ("https_proxy", "http://l:2")];
        assert_eq!(used(&both, HTTPS).as_deref(), Some("HTTP l:2"));
        assert_eq!(
            used(&[("https_proxy", ""), ("all_proxy", "http://a:1")], HTTPS),
            None
        );
    }

    #[test]
    fn no_proxy_covers_names_below_addresses_and_networks() {
        let direct = |exceptions: &str, url: &str| {
            used(&[("all_proxy", "http://p:1"), ("no_proxy", exceptions)], url).is_none()
        };
        for exceptions in [
            "*",
            "db.example",
            "example",
            ".example",
            "*.example",
            "other, DB.Example",
            "other db.example.",
            "db.example:443",
        ] {
            assert!(direct(exceptions, HTTPS), "{exceptions}");
        }
        for exceptions in [
            "",
            ",",
            "b.example",
            "sub.db.example",
            "db.example:80",
            "db",
            "192.0.2.0/24",
        ] {
            assert!(!direct(exceptions, HTTPS), "{exceptions}");
        }
        assert!(direct("localhost,192.0.2.0/24", "http://192.0.2.7:8080/"));
        assert!(!direct("192.0.2.0/24", "http://192.0.3.7/"));
        assert!(direct("192.0.2.7", "https://192.0.2.7/"));
        assert!(direct("2001:db8::/32", "http://[2001:db8::1]:8080/"));
        assert!(direct("[2001:db8::1]", "http://[2001:db8::1]/"));
        assert!(!direct("2001:db8::2", "http://[2001:db8::1]/"));
        let upper = [("all_proxy", "http://p:1"), ("NO_PROXY", "db.example")];
        assert_eq!(used(&upper, HTTPS), None);
    }

    #[test]
    fn a_value_that_is_no_proxy_is_an_error_that_keeps_its_secret() {
        for value in ["http://", "gopher://user:secret@p:1", "http://user:secret@p:x"] {
            let error = Proxies::new(|name| (name == "https_proxy").then(|| value.to_owned())).unwrap_err();
            let text = format!("{:#}", anyhow::Error::from(error));
            assert!(
                text.starts_with("https_proxy is not the address of a proxy: write it like "),
                "{text}"
            );
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
