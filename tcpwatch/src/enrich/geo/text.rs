//! Texts that come out of a file somebody else made: cleaned before they reach a terminal, and each held once.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Characters that a name may have; what is behind them is cut off.
const LONGEST: usize = 100;

/// The same for a name in the files that we make: the longest real one has 203.
const LONGEST_WRITTEN_NAME: usize = 255;

/// The same for the description of a file.
const LONGEST_DESCRIPTION: usize = 1000;

/// How many texts are held; beyond it they are forgotten and collected anew. All countries and the cities of a busy
/// server's day fit.
const MOST: usize = 1 << 17;

/// The texts in use.
#[derive(Debug, Default)]
pub(super) struct Texts {
    held: HashSet<Arc<str>, RandomState>,
}

impl Texts {
    /// The one copy of `text`, cleaned; none when nothing is left of it.
    pub(super) fn get(&mut self, text: &str) -> Option<Arc<str>> {
        let text = clean(text);
        if text.is_empty() {
            return None;
        }
        if let Some(held) = self.held.get(text.as_str()) {
            return Some(Arc::clone(held));
        }
        if self.held.len() >= MOST {
            self.held.clear();
        }
        let text: Arc<str> = text.into();
        self.held.insert(Arc::clone(&text));
        Some(text)
    }
}

/// The same for the name of a network that is written to a file, and not yet shown.
pub(crate) fn clean_name(text: &str) -> String {
    cleaned(text, LONGEST_WRITTEN_NAME)
}

/// The same for a text of several sentences.
pub(super) fn clean_long(text: &str) -> String {
    cleaned(text, LONGEST_DESCRIPTION)
}

/// `text` without what could move a terminal's cursor, break a line or turn its direction, at most [`LONGEST`] long.
pub(crate) fn clean(text: &str) -> String {
    cleaned(text, LONGEST)
}

fn cleaned(text: &str, longest: usize) -> String {
    let harmless = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let cleaned: String = text.trim().chars().filter(harmless).take(longest).collect();
    cleaned.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_upset_a_terminal_is_removed() {
        assert_eq!(clean("  United\u{1b}[31m States\r\n"), "United[31m States");
        assert_eq!(clean("a\u{202e}b\u{2066}c\u{200f}d\u{9b}e"), "abcde");
        assert_eq!(clean("C\u{f4}te d\u{2019}Ivoire"), "C\u{f4}te d\u{2019}Ivoire");
        assert_eq!(clean("\u{0}\u{202e}"), "");
    }

    #[test]
    fn a_long_text_is_cut_to_a_hundred_characters() {
        assert_eq!(clean(&"\u{e9}".repeat(5000)), "\u{e9}".repeat(100));
    }

    #[test]
    fn equal_texts_are_one_allocation() {
        let mut texts = Texts::default();
        let (one, two) = (texts.get("Germany"), texts.get(" Germany"));
        assert!(one.zip(two).is_some_and(|(one, two)| Arc::ptr_eq(&one, &two)));
        assert_eq!(texts.get("\t"), None);
    }
}
