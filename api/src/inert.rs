// SPDX-License-Identifier: GPL-3.0-or-later
//! Text that others chose, made safe to show. A path, a command line or a domain is picked by whoever
//! runs the program; shown as it is, it can move the cursor, start a new line, turn the reading order
//! round or hide parts of itself. Everything that a person reads goes through [`inert`] first: in the
//! terminal, in a notification, in the tray's menu and in the window. Markup is another matter: whoever
//! hands text to something that reads markup escapes it for that, after this.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters that are shown as an escape, besides Unicode's control characters (C0, DEL, C1), as
/// inclusive ranges in order. Source: Unicode 16, general categories Cf, Zl, Zp, Zs (but U+0020), the
/// property Default_Ignorable_Code_Point, noncharacters, and the blank Braille pattern.
const HIDDEN: &[(u32, u32)] = &[
    (0x00a0, 0x00a0),   // no-break space
    (0x00ad, 0x00ad),   // soft hyphen
    (0x034f, 0x034f),   // combining grapheme joiner
    (0x0600, 0x0605),   // Arabic number signs
    (0x061c, 0x061c),   // Arabic letter mark
    (0x06dd, 0x06dd),   // Arabic end of ayah
    (0x070f, 0x070f),   // Syriac abbreviation mark
    (0x0890, 0x0891),   // Arabic currency marks
    (0x08e2, 0x08e2),   // Arabic disputed end of ayah
    (0x115f, 0x1160),   // Hangul fillers
    (0x1680, 0x1680),   // Ogham space
    (0x17b4, 0x17b5),   // Khmer inherent vowels
    (0x180b, 0x180f),   // Mongolian variation selectors, vowel separator
    (0x2000, 0x200f),   // spaces of other widths, zero width ones, direction marks
    (0x2028, 0x202f),   // line and paragraph separator, bidi embeddings and overrides, narrow space
    (0x205f, 0x206f),   // invisible operators, bidi isolates, deprecated format characters
    (0x2800, 0x2800),   // blank Braille pattern
    (0x3000, 0x3000),   // ideographic space
    (0x3164, 0x3164),   // Hangul filler
    (0xfdd0, 0xfdef),   // noncharacters
    (0xfe00, 0xfe0f),   // variation selectors
    (0xfeff, 0xfeff),   // byte order mark
    (0xffa0, 0xffa0),   // halfwidth Hangul filler
    (0xfff0, 0xfffb),   // unassigned and ignorable, interlinear annotation
    (0xfffe, 0xffff),   // noncharacters
    (0x110bd, 0x110bd), // Kaithi number signs
    (0x110cd, 0x110cd),
    (0x13430, 0x1343f), // Egyptian hieroglyph format controls
    (0x1bca0, 0x1bca3), // shorthand format controls
    (0x1d173, 0x1d17a), // musical format controls
    (0xe0000, 0xe0fff), // tags, variation selectors supplement
];

/// Whether a character is never shown as itself: it would act on the terminal or the reading order, or
/// could not be seen. The ordinary space is fine; every other kind of space is not.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let code = u32::from(c);
    c.is_control()
        || code & 0xfffe == 0xfffe
        || HIDDEN
            .binary_search_by(|(first, last)| {
                if *last < code {
                    std::cmp::Ordering::Less
                } else if *first > code {
                    std::cmp::Ordering::Greater
                } else {
                    std::cmp::Ordering::Equal
                }
            })
            .is_ok()
}

/// The text on one line, each hidden character as a visible escape: `\n`, `\r`, `\t`, `\x1b`, `\u{202e}`.
///
/// The result holds no hidden character. What is harmless stays as it is, a backslash too (unit names
/// are full of them), so that a text may look like an escape without having been one; nothing can look
/// like less than it is. Applying it twice changes nothing more.
#[must_use]
pub fn inert(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(is_hidden) else { return Cow::Borrowed(text) };
    let (clean, rest) = text.split_at(first);
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(clean);
    for c in rest.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a String cannot fail.
            c if c.is_ascii_control() => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c if is_hidden(c) => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// [`inert`], and at most `columns` characters long: the middle of a longer text gives way to `…`, so
/// that the end of a path, which tells most, stays. For labels that must stay short.
#[must_use]
pub fn inert_short(text: &str, columns: usize) -> String {
    let text = inert(text);
    let count = text.chars().count();
    if count <= columns {
        return text.into_owned();
    }
    let keep = columns.saturating_sub(1);
    let head = keep / 3;
    let tail = keep - head;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - tail).collect();
    if columns == 0 { String::new() } else { format!("{start}…{end}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(HIDDEN.iter().all(|(first, last)| first <= last));
        assert!(HIDDEN.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }

    #[test]
    fn n05_terminal_and_bidi_escapes_are_shown_inert() {
        for (hostile, shown) in [
            ("/usr/bin/curl", "/usr/bin/curl"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
            ("\u{9b}31mred", "\\u{9b}31mred"),
            ("invoice\u{202e}fdp.exe", "invoice\\u{202e}fdp.exe"),
            ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
            ("cu\u{200b}rl\u{feff}", "cu\\u{200b}rl\\u{feff}"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
            ("a\u{a0}b\u{3000}c\u{2028}d", "a\\u{a0}b\\u{3000}c\\u{2028}d"),
            ("del\u{7f}", "del\\x7f"),
            ("Grüße 日本 café 🦊", "Grüße 日本 café 🦊"),
            ("dev-disk\\x2dby.device", "dev-disk\\x2dby.device"),
            ("replaced \u{fffd} byte", "replaced \u{fffd} byte"),
        ] {
            assert_eq!(inert(hostile), shown, "{hostile:?}");
        }
    }

    #[test]
    fn n05_a_long_path_keeps_its_end() {
        let long = format!("/tmp/{}/payload", "x".repeat(4000));
        let short = inert_short(&long, 40);
        assert_eq!(short.chars().count(), 40);
        assert!(short.starts_with("/tmp/") && short.ends_with("/payload"), "{short}");
        assert_eq!(inert_short("/usr/bin/curl", 40), "/usr/bin/curl");
        assert_eq!(inert_short("abcdef", 0), "");
        assert_eq!(inert_short("abcdef", 1), "…");
    }

    proptest! {
        #[test]
        fn n05_nothing_hidden_is_left(text in any::<String>()) {
            let shown = inert(&text);
            prop_assert!(!shown.chars().any(is_hidden));
            prop_assert!(shown.lines().count() <= 1);
            let again = inert(&shown).into_owned();
            prop_assert_eq!(again, shown.into_owned());
        }

        #[test]
        fn n05_hidden_characters_anywhere(
            before in "[a-z/]{0,20}",
            code in prop::sample::select(HIDDEN.iter().flat_map(|(a, b)| [*a, *b]).chain(0..32).chain(127..160).collect::<Vec<_>>()),
            after in "[a-z/]{0,20}",
        ) {
            let hidden = char::from_u32(code).unwrap();
            let shown = inert(&format!("{before}{hidden}{after}")).into_owned();
            prop_assert!(shown.starts_with(&before) && shown.ends_with(&after));
            prop_assert!(shown.len() > before.len() + after.len() + 1 && !shown.contains(hidden));
        }

        #[test]
        fn n05_what_is_harmless_stays(text in "[ -~äöüß日本語é]{0,60}") {
            prop_assert_eq!(inert(&text), text.as_str());
        }

        #[test]
        fn n05_short_is_short_and_inert(text in any::<String>(), columns in 0_usize..50) {
            let shown = inert_short(&text, columns);
            prop_assert!(shown.chars().count() <= columns);
            prop_assert!(!shown.chars().any(is_hidden));
        }
    }
}
