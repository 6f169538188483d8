// SPDX-License-Identifier: GPL-3.0-or-later
//! `contains(value, part)`, a function for SQL: whether a text has a part anywhere, whatever the case of its ASCII
//! letters. `LIKE` says the same of texts, but these are stored as bytes: it has to make a text of each first, and
//! reads it by characters. Half of what a search took was that.

use rusqlite::Connection as Database;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};

/// Makes the function known to this connection.
pub(in crate::record) fn define(db: &Database) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    db.create_scalar_function("contains", 2, flags, |context| Ok(has(bytes(context, 0), bytes(context, 1))))
}

/// The second argument: a part to look for.
pub(super) fn part(text: &str) -> Value {
    Value::Blob(text.as_bytes().to_vec())
}

fn bytes<'a>(context: &'a Context<'_>, index: usize) -> &'a [u8] {
    match context.get_raw(index) {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        _ => &[],
    }
}

fn has(text: &[u8], part: &[u8]) -> bool {
    let Some((first, rest)) = part.split_first() else { return true };
    let cases = [first.to_ascii_lowercase(), first.to_ascii_uppercase()];
    let Some(last) = text.len().checked_sub(part.len()) else { return false };
    text.iter()
        .enumerate()
        .take(last + 1)
        .any(|(at, byte)| cases.contains(byte) && text[at + 1..at + part.len()].eq_ignore_ascii_case(rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_part_is_found_anywhere_in_any_case() {
        for part in ["", "a", "A", "a%", "_c", "/D", "é", "caf\u{e9} a%b_c/d\\", "\\"] {
            assert!(has("Café A%b_c/d\\".as_bytes(), part.as_bytes()), "{part}");
        }
        for part in ["b%", "É", "ab", "d\\ ", "Café A%b_c/d\\\\"] {
            assert!(!has("Café A%b_c/d\\".as_bytes(), part.as_bytes()), "{part}");
        }
        // What hostile names have in them ends nothing.
        assert!(has(b"a\0\xff\xfeEnd", b"end"));
        assert!(!has(b"", b"a") && has(b"", b""));
    }

    #[test]
    fn the_database_knows_it() {
        let db = Database::open_in_memory().unwrap();
        define(&db).unwrap();
        let ask = |sql: &str| db.query_row(sql, [part("B")], |row| row.get::<_, bool>(0)).unwrap();
        assert!(ask("SELECT contains(x'616263', ?)") && ask("SELECT contains('abc', ?)"));
        assert!(!ask("SELECT contains(NULL, ?)") && !ask("SELECT contains(7, ?)"));
    }
}
