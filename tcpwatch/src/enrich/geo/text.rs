//! Texts that come out of a file somebody else made: cleaned before they reach a terminal, and each held once.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use unicode_width::UnicodeWidthChar as _;

/// Characters that a name may have; what is behind them is cut off.
const LONGEST: usize = 100;

/// The same for a name in the files that we make: the longest real one has 203.
const LONGEST_WRITTEN_NAME: usize = 255;

/// The same for the description of a file.
const LONGEST_DESCRIPTION: usize = 1000;

/// Characters that are looked at for each that may be kept: a megabyte of nothing shall not take a megabyte's time.
const MOST_READ: usize = 16;

/// Marks that one letter may carry. Vietnamese and Thai need two, Hebrew with all its points three; a hundred would
/// reach into the lines above.
const MOST_MARKS: usize = 3;

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

/// `text` as it can be shown beside others on a terminal, in a spreadsheet or on a page: on one line, from left to
/// right, without anything that cannot be seen, and at most [`LONGEST`] characters long.
///
/// Blanks of every kind become spaces. Two names that look alike are then the same text, at a price: the invisible
/// joiners of Persian and some Indian scripts, and the variants of emoji, are lost.
pub(crate) fn clean(text: &str) -> String {
    cleaned(text, LONGEST)
}

/// The same for the name of a network that is written to a file, and not yet shown.
pub(crate) fn clean_name(text: &str) -> String {
    cleaned(text, LONGEST_WRITTEN_NAME)
}

/// The same for a text of several sentences.
pub(super) fn clean_long(text: &str) -> String {
    cleaned(text, LONGEST_DESCRIPTION)
}

fn cleaned(text: &str, longest: usize) -> String {
    let mut cleaned = String::new();
    let (mut length, mut marks, mut blanks) = (0, 0, 0);
    for c in text.chars().take(longest.saturating_mul(MOST_READ)) {
        if c.is_whitespace() {
            blanks += usize::from(length > 0);
        } else if !is_harmful(c) {
            if c.width() == Some(0) {
                // A mark needs a letter to sit on, or it would sit on what stands before the name.
                if length == 0 || blanks > 0 || marks == MOST_MARKS {
                    continue;
                }
                marks += 1;
            } else {
                marks = 0;
            }
            // Blanks are written with what follows them, so that none are left at either end.
            length += blanks + 1;
            if length > longest {
                break;
            }
            cleaned.extend(std::iter::repeat_n(' ', blanks));
            cleaned.push(c);
            blanks = 0;
        }
    }
    cleaned
}

/// Whether `c` steers the terminal or the direction of writing, cannot be seen, or means nothing to anybody else.
fn is_harmful(c: char) -> bool {
    let invisible = matches!(c,
        // Default_Ignorable_Code_Point of Unicode: soft hyphen, joiners, directions, fillers, variants, tags.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        // The empty Braille cell; annotations and objects, which plain text has not; how hieroglyphs are joined.
        | '\u{2800}' | '\u{fff0}'..='\u{fffc}' | '\u{13430}'..='\u{13440}');
    let private = matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..);
    let no_character = matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    c.is_control() || invisible || private || no_character
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
    fn what_cannot_be_seen_is_removed_and_every_blank_is_a_space() {
        assert_eq!(
            clean("G\u{200b}O\u{feff}O\u{ad}G\u{2060}L\u{34f}E\u{3164}"),
            "GOOGLE"
        );
        assert_eq!(clean("US\u{e0067}\u{e0062}\u{e007f}A\u{fe0f}"), "USA");
        assert_eq!(
            clean("a\u{e000}b\u{10fffd}c\u{fdd0}d\u{ffff}e\u{fffc}f"),
            "abcdef"
        );
        assert_eq!(
            clean("\u{3000}New\n\u{a0}York\u{2028}City\t\u{2003}"),
            "New  York City"
        );
        assert_eq!(clean("\u{200b}\u{2800}\u{115f}\u{a0}"), "");
    }

    #[test]
    fn a_letter_keeps_three_marks_and_a_mark_without_a_letter_goes() {
        // Decomposed, as some files have them: \u{1ec7} is e, dot below, circumflex.
        assert_eq!(clean("Vie\u{323}\u{302}t Nam"), "Vie\u{323}\u{302}t Nam");
        assert_eq!(clean("\u{e17}\u{e35}\u{e48}"), "\u{e17}\u{e35}\u{e48}");
        assert_eq!(
            clean(&format!("Z{}algo", "\u{301}".repeat(1000))),
            "Z\u{301}\u{301}\u{301}algo"
        );
        assert_eq!(clean("\u{301}a \u{301}b"), "a b");
    }

    #[test]
    fn names_in_every_script_stay_as_they_are() {
        for name in [
            "\u{418}\u{437}\u{440}\u{430}\u{438}\u{43b}\u{44c}",
            "\u{65e5}\u{672c}",
            "\u{5d9}\u{5e9}\u{5e8}\u{5d0}\u{5dc}",
            "\u{627}\u{644}\u{645}\u{63a}\u{631}\u{628}",
            "\u{92d}\u{93e}\u{930}\u{924}",
            "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}",
            "S\u{e3}o Tom\u{e9} & Pr\u{ed}ncipe",
        ] {
            assert_eq!(clean(name), name);
        }
    }

    #[test]
    fn a_long_text_is_cut_to_a_hundred_characters() {
        assert_eq!(clean(&"\u{e9}".repeat(5000)), "\u{e9}".repeat(100));
        assert_eq!(clean(&"a ".repeat(5000)), "a ".repeat(50).trim_end());
        assert_eq!(clean(&format!("a{}b", " ".repeat(5000))), "a");
        assert_eq!(clean(&format!("{}end", "\u{1b}".repeat(1_000_000))), "");
    }

    #[test]
    fn equal_texts_are_one_allocation() {
        let mut texts = Texts::default();
        let (one, two) = (texts.get("Germany"), texts.get(" Germany"));
        assert!(one.zip(two).is_some_and(|(one, two)| Arc::ptr_eq(&one, &two)));
        assert_eq!(texts.get("\t"), None);
    }
}
