//! What no text out of a file may have in it, wherever it is shown.

use unicode_width::UnicodeWidthChar as _;

/// Code points that steer the direction of writing.
const DIRECTIONS: [u32; 12] = [
    0x61c, 0x200e, 0x200f, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069,
];

/// Code points that cannot be seen, or that mean something by private agreement only: from, to.
const UNSEEN: [(u32, u32); 22] = [
    (0xad, 0xad),
    (0x34f, 0x34f),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    (0x2060, 0x206f),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xe000, 0xf8ff),
    (0xfdd0, 0xfdef),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffc),
    (0xfffe, 0xffff),
    (0x1_bca0, 0x1_bca3),
    (0x1_d173, 0x1_d17a),
    (0xe_0000, 0xe_0fff),
    (0xf_0000, 0xf_ffff),
    (0x10_0000, 0x10_ffff),
];

/// Marks in a row that a letter may carry.
const MOST_MARKS: usize = 3;

/// Fails when there is anything in `text` that could move a cursor, turn or break the line, hide, or pile up.
#[track_caller]
pub fn assert_harmless(text: &str) {
    let mut marks = 0;
    for c in text.chars() {
        let code = u32::from(c);
        assert!(!c.is_control(), "a control character in {text:?}");
        assert!(
            !DIRECTIONS.contains(&code),
            "{c:?} turns the direction in {text:?}"
        );
        assert!(
            !UNSEEN.iter().any(|(from, to)| (*from..=*to).contains(&code)),
            "{c:?} cannot be seen in {text:?}"
        );
        marks = if c.width() == Some(0) { marks + 1 } else { 0 };
        assert!(marks <= MOST_MARKS, "marks pile up in {text:?}");
    }
}

#[test]
fn what_does_harm_is_found() {
    for text in [
        "\u{1b}[2J",
        "a\nb",
        "\u{202e}",
        "\u{200b}",
        "\u{feff}",
        "\u{e0041}",
        "\u{e000}",
    ] {
        assert!(
            std::panic::catch_unwind(|| assert_harmless(text)).is_err(),
            "{text:?}"
        );
    }
    let piled = format!("Z{}", "\u{301}".repeat(4));
    assert!(std::panic::catch_unwind(|| assert_harmless(&piled)).is_err());
    assert_harmless("S\u{e3}o Tome\u{301} \u{65e5}\u{672c}");
}
