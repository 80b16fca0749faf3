//! The domain that somebody registered, of a name below it. Pure; the public suffix list (<https://publicsuffix.org>) is part of the program.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// What rows of destinations without a name are called.
pub(crate) const NO_NAME: &str = "no name known";

/// How many domains are named where several stand together.
const NAMED: usize = 3;

/// Between domains. A host's name has no blank.
const BETWEEN: &str = ", ";

/// The registrable domain of a name in lower case: `www.example.co.uk` is `example.co.uk`'s. Both sections of the list count: what is below
/// `github.io` is each somebody's own. A public suffix itself, and a name that ends with none, is its own.
pub fn registrable(name: &str) -> &str {
    let known = psl::domain(name.as_bytes()).filter(|domain| domain.suffix().is_known());
    known
        .and_then(|domain| std::str::from_utf8(domain.as_bytes()).ok())
        .unwrap_or(name)
}

/// The domains of names that packets cannot be divided among, in order: `a.example, b.example`. None: there is no name.
pub fn together<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Cow<'a, str>> {
    let mut names = names.into_iter().map(registrable);
    let first = names.next()?;
    let mut others = names.filter(|domain| *domain != first).peekable();
    if others.peek().is_none() {
        return Some(Cow::Borrowed(first));
    }
    let domains: BTreeSet<&str> = others.chain([first]).collect();
    let domains: Vec<&str> = domains.into_iter().collect();
    Some(Cow::Owned(domains.join(BETWEEN)))
}

/// What [`together`] gives, for people: the fourth and further domains are a number, `a.example, b.example, c.example +2`. Others that
/// begin with the same may look alike.
pub fn shortened(domains: &str) -> Cow<'_, str> {
    match domains.match_indices(BETWEEN).nth(NAMED - 1) {
        Some((end, _)) => {
            let more = domains[end..].matches(BETWEEN).count();
            Cow::Owned(format!("{} +{more}", &domains[..end]))
        }
        None => Cow::Borrowed(domains),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_belongs_to_what_somebody_registered() {
        for (name, domain) in [
            ("www.example.com", "example.com"),
            ("a.b.c.example.com", "example.com"),
            ("example.com", "example.com"),
            ("www.example.co.uk", "example.co.uk"),
            ("r1---sn-4g5e6nsz.googlevideo.com", "googlevideo.com"),
            ("xn--bcher-kva.xn--p1ai", "xn--bcher-kva.xn--p1ai"),
            ("www.xn--bcher-kva.xn--p1ai", "xn--bcher-kva.xn--p1ai"),
            ("_443._tcp.example.org", "example.org"),
            // Exceptions and wildcards of the list.
            ("www.city.kawasaki.jp", "city.kawasaki.jp"),
            ("a.b.something.kawasaki.jp", "b.something.kawasaki.jp"),
        ] {
            assert_eq!(registrable(name), domain, "{name}");
        }
    }

    #[test]
    fn what_hosters_give_to_others_is_each_ones_own() {
        assert_eq!(registrable("www.someone.github.io"), "someone.github.io");
        assert_eq!(
            registrable("cdn.bucket.s3.amazonaws.com"),
            "bucket.s3.amazonaws.com"
        );
    }

    #[test]
    fn a_suffix_itself_and_a_name_without_one_are_their_own() {
        for name in [
            "com",
            "co.uk",
            "github.io",
            "localhost",
            "printer.local",
            "db.internal",
            "a.b.corp",
            "",
            ".",
            "..",
            "192.0.2.1",
        ] {
            assert_eq!(registrable(name), name, "{name}");
        }
    }

    #[test]
    fn names_of_one_domain_are_its_and_others_stand_together() {
        let of = |names: &[&'static str]| together(names.iter().copied()).map(Cow::into_owned);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["www.a.com", "a.com", "cdn.a.com"]).as_deref(), Some("a.com"));
        assert_eq!(
            of(&["www.b.com", "x.a.com", "b.com"]).as_deref(),
            Some("a.com, b.com")
        );
        assert_eq!(
            of(&["c.com", "b.com", "a.com"]).as_deref(),
            Some("a.com, b.com, c.com")
        );
        let of = of(&["e.com", "d.com", "c.com", "b.com", "a.com", "www.a.com"]).unwrap();
        assert_eq!(of, "a.com, b.com, c.com, d.com, e.com");
        assert_eq!(shortened(&of), "a.com, b.com, c.com +2");
        for short in ["", "a.com", "a.com, b.com, c.com"] {
            assert_eq!(shortened(short), short);
        }
    }

    proptest! {
        #[test]
        fn every_text_has_a_domain_at_its_end(name in "\\PC{0,40}|([a-z0-9.-]{0,20}\\.)?(com|co\\.uk|kawasaki\\.jp)|.{0,30}") {
            let domain = registrable(&name);
            prop_assert!(name.ends_with(domain) && domain.is_empty() == name.is_empty());
            prop_assert_eq!(registrable(domain), domain);
        }
    }
}
