// SPDX-License-Identifier: GPL-3.0-or-later
//! JSON that a terminal survives: what [`picosnitch_api::inert`] would not show is `\uXXXX`, so that a
//! program reads the very same text and a person sees nothing move.

use std::io::{self, Write};

use picosnitch_api::inert::is_hidden;
use serde_json::ser::Formatter;

struct Inert;

impl Formatter for Inert {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, hidden)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut units = [0; 2];
            for unit in hidden.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + hidden.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Writes one value on one line.
///
/// # Errors
/// What writing gives.
pub fn write(mut out: impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Inert))?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(text: &str) -> String {
        let mut out = Vec::new();
        write(&mut out, &text).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn n05_hidden_characters_are_json_escapes() {
        assert_eq!(line("a\u{202e}b\u{9b}\x7f\x1b\n\"\\"), "\"a\\u202eb\\u009b\\u007f\\u001b\\n\\\"\\\\\"\n");
        assert_eq!(line("\u{e0041}"), "\"\\udb40\\udc41\"\n");
        assert_eq!(line("/usr/bin/Grüße"), "\"/usr/bin/Grüße\"\n");
    }

    proptest::proptest! {
        #[test]
        fn n05_json_says_the_same_text(text: String) {
            let written = line(&text);
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
            proptest::prop_assert!(!written.trim_end_matches('\n').chars().any(is_hidden));
        }
    }
}
