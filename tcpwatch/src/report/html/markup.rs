//! A page in the making. Markup comes from the program's text only, by its type; everything else is escaped.

use std::fmt::{Display, Write};

/// Characters of a name that are shown.
const LONGEST: usize = 200;

/// Characters of a longer text that are shown.
const LONGEST_PROSE: usize = 20_000;

/// A piece of a page.
#[derive(Debug, Default)]
pub(super) struct Markup {
    text: String,
}

impl Markup {
    /// Adds markup, which only the program's own text can be.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.text.push_str(markup);
        self
    }

    /// Adds text from outside, or a number: for the content of an element or an attribute in double quotes. In one line, cut off
    /// behind 200 characters.
    pub(super) fn text(&mut self, value: impl Display) -> &mut Self {
        self.escaped(value, LONGEST, false)
    }

    /// Adds text of several lines.
    pub(super) fn prose(&mut self, value: impl Display) -> &mut Self {
        self.escaped(value, LONGEST_PROSE, true)
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn escaped(&mut self, value: impl Display, room: usize, lines: bool) -> &mut Self {
        let mut escape = Escape {
            to: &mut self.text,
            room,
            lines,
        };
        // It fails when there is no room left, which is when the rest is not wanted.
        if write!(escape, "{value}").is_err() {
            self.text.push('\u{2026}');
        }
        self
    }
}

struct Escape<'a> {
    to: &'a mut String,
    room: usize,
    lines: bool,
}

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for character in text.chars() {
            if self.room == 0 {
                return Err(std::fmt::Error);
            }
            self.room -= 1;
            match character {
                '&' => self.to.push_str("&amp;"),
                '<' => self.to.push_str("&lt;"),
                '>' => self.to.push_str("&gt;"),
                '"' => self.to.push_str("&quot;"),
                '\'' => self.to.push_str("&#39;"),
                '\n' | '\t' if self.lines => self.to.push(character),
                _ if unfit(character) => self.to.push('\u{fffd}'),
                _ => self.to.push(character),
            }
        }
        Ok(())
    }
}

/// Whether a character would be invisible, change lines or turn the direction of what follows it.
pub(super) fn unfit(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

/// Adds to a piece: literals are markup, what is in parentheses is text.
macro_rules! put {
    ($out:expr;) => {};
    ($out:expr; $markup:literal $(, $($rest:tt)*)?) => {
        $out.raw($markup);
        $(put!($out; $($rest)*);)?
    };
    ($out:expr; ($value:expr) $(, $($rest:tt)*)?) => {
        $out.text($value);
        $(put!($out; $($rest)*);)?
    };
}
pub(super) use put;
