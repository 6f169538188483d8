// SPDX-License-Identifier: GPL-3.0-or-later
//! Rows as they may go out: no byte that the bus refuses, no message that it would cut us off for.

use std::collections::HashMap;

use picosnitch_api::row::Page;
use picosnitch_api::{Error, Query};
use zbus::zvariant::{Array, Value};

/// A row on its way out.
pub type Row = HashMap<&'static str, Value<'static>>;

/// Largest page, bytes. A bus disconnects whoever sends a message above its limit, 32 MiB where that is
/// not configured; ours is far from it, and a page of usual rows is far from ours.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// Text without NUL, which the bus refuses.
#[must_use]
pub fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Bytes as text: what is not UTF-8 is replaced.
#[must_use]
pub fn bytes(bytes: &[u8]) -> String {
    text(&String::from_utf8_lossy(bytes))
}

/// A row without NUL in any text.
#[must_use]
pub fn row(row: Row) -> Row {
    row.into_iter().map(|(key, value)| (key, clean(value))).collect()
}

fn clean(value: Value<'static>) -> Value<'static> {
    match value {
        Value::Str(dirty) if dirty.contains('\0') => text(&dirty).into(),
        Value::Array(list) if list.element_signature() == "s" => {
            let texts = list.iter().map(|item| match item {
                Value::Str(item) => text(item),
                _ => String::new(),
            });
            Value::Array(Array::from(texts.collect::<Vec<_>>()))
        }
        value => value,
    }
}

/// About as many bytes as the row has in a message.
#[must_use]
pub fn size(row: &Row) -> usize {
    let value = |value: &Value<'_>| match value {
        Value::Str(text) => text.len(),
        Value::Array(list) => list.iter().fold(0, |sum, item| {
            sum + match item {
                Value::Str(text) => text.len() + 8,
                _ => 8,
            }
        }),
        _ => 8,
    };
    row.iter().map(|(key, item)| key.len() + 16 + value(item)).sum()
}

/// A page on its way out: rows, cursor, hidden.
pub type Reply = (Vec<Row>, String, u64);

/// Asks for a page; if it is too large for one message, for a shorter one.
///
/// # Errors
/// Those of `ask`; [`Error::LimitExceeded`] if a single row is too large.
pub fn page<T>(
    mut query: Query,
    ask: impl Fn(&Query) -> Result<Page<T>, Error>,
    to_row: impl Fn(&T) -> Row,
) -> Result<Reply, Error> {
    loop {
        let Page { rows, cursor, hidden } = ask(&query)?;
        let mut bytes = 0;
        let mut out = Vec::with_capacity(rows.len());
        for item in &rows {
            let item = row(to_row(item));
            bytes += size(&item);
            out.push(item);
            if bytes > MAX_PAGE_BYTES {
                break;
            }
        }
        if bytes <= MAX_PAGE_BYTES {
            return Ok((out, cursor, hidden));
        }
        if query.page() <= 1 {
            return Err(Error::LimitExceeded("This row is too large to be sent.".to_owned()));
        }
        query.limit = Some(query.page() / 2);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use picosnitch_api::row;

    #[test]
    fn i17_no_nul_reaches_the_bus() {
        let given = row::Executable {
            path: Some("/bin/a\0b".into()),
            names: Some(vec!["x\0".into(), "y".into()]),
            ..Default::default()
        };
        let out = super::row(given.to_dict());
        assert_eq!(out["path"], Value::from("/bin/a\u{fffd}b"));
        assert_eq!(out["names"], Value::from(vec!["x\u{fffd}", "y"]));
        assert_eq!(bytes(b"\xff\0"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn b05_a_page_of_huge_rows_is_cut_so_that_the_bus_takes_it() {
        let huge = row::Connection { cmdline: Some("x".repeat(100_000)), ..Default::default() };
        let ask = |query: &Query| {
            let rows = vec![huge.clone(); query.page() as usize];
            Ok(Page { rows, cursor: query.page().to_string(), hidden: 0 })
        };
        let query = Query { limit: Some(1000), ..Default::default() };
        let (rows, cursor, _) = page(query, ask, row::Connection::to_dict).unwrap();
        assert_eq!(cursor, rows.len().to_string());
        assert!(rows.len() > 1 && rows.iter().map(size).sum::<usize>() <= MAX_PAGE_BYTES);
    }
}
