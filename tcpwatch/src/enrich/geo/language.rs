//! The language in which names are asked for, and what a file has of it.

use std::fmt;
use std::str::FromStr;

/// The language that every file has.
pub(super) const ENGLISH: &str = "en";

/// The longest tag that there can be; registered ones are shorter (RFC 5646 section 4.4.1).
pub(super) const LONGEST: usize = 35;

/// A language tag (RFC 5646), like `en`, `zh-CN` or `pt-BR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Language(String);

/// Not a language tag.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no language tag: write it like en, de, zh-CN or pt-BR")]
pub struct LanguageError(String);

impl Default for Language {
    fn default() -> Self {
        Self(ENGLISH.to_owned())
    }
}

impl fmt::Display for Language {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl FromStr for Language {
    type Err = LanguageError;

    fn from_str(text: &str) -> Result<Self, LanguageError> {
        // `zh_CN.UTF-8` is how the locale variables write it.
        let tag = text.split('.').next().unwrap_or_default().replace('_', "-");
        let subtag =
            |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
        let mut parts = tag.split('-');
        let primary = parts.next().unwrap_or_default();
        let is_tag = (2..=3).contains(&primary.len())
            && primary.bytes().all(|b| b.is_ascii_alphabetic())
            && parts.all(subtag)
            && tag.len() <= LONGEST;
        if is_tag {
            Ok(Self(tag))
        } else {
            Err(LanguageError(text.chars().take(LONGEST).collect()))
        }
    }
}

impl Language {
    /// Which of the languages `offered` comes nearest: the same tag, else one of the same language (`zh` and `zh-TW` are
    /// answered by `zh-CN` where there is no other Chinese), else none.
    pub(super) fn nearest<'a>(&self, offered: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
        let primary = |tag: &str| tag.find('-').unwrap_or(tag.len());
        let mut same = offered.clone().into_iter();
        same.find(|tag| tag.eq_ignore_ascii_case(&self.0)).or_else(|| {
            let mut family = offered.into_iter();
            family.find(|tag| tag[..primary(tag)].eq_ignore_ascii_case(&self.0[..primary(&self.0)]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_locale_names_are_languages() {
        for (text, tag) in [
            ("en", "en"),
            ("zh-CN", "zh-CN"),
            ("zh_CN.UTF-8", "zh-CN"),
            ("pt-BR", "pt-BR"),
            ("sr-Latn-RS", "sr-Latn-RS"),
        ] {
            assert_eq!(text.parse::<Language>().unwrap().to_string(), tag);
        }
        for text in [
            "",
            "e",
            "english",
            "zh-",
            "de--AT",
            "d3",
            "en-thisistoolong",
            "en\u{1b}",
        ] {
            let error = text.parse::<Language>().unwrap_err().to_string();
            assert!(error.ends_with("write it like en, de, zh-CN or pt-BR"), "{error}");
        }
    }

    #[test]
    fn the_nearest_language_is_the_same_or_of_the_same_family() {
        let offered = ["de", "en", "pt-BR", "zh-CN"];
        let nearest = |tag: &str| tag.parse::<Language>().unwrap().nearest(offered);
        assert_eq!(nearest("zh-cn"), Some("zh-CN"));
        assert_eq!(nearest("zh-TW"), Some("zh-CN"));
        assert_eq!(nearest("pt"), Some("pt-BR"));
        assert_eq!(nearest("de-AT"), Some("de"));
        assert_eq!(nearest("fi"), None);
    }
}
