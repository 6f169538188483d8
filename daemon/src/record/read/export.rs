// SPDX-License-Identifier: GPL-3.0-or-later
//! Exports: CSV with a header of the field words, or one JSON object per line. Rows come page by page.

use std::io::Write;

use picosnitch_api::{self as api, Format, Query, What, row};

use super::{Page, Reader};
use crate::model::Viewer;
use crate::record::textlog::{cell, inert};

pub(super) fn export(
    reader: &Reader,
    what: What,
    format: Format,
    q: &Query,
    v: &Viewer,
    out: &mut dyn Write,
) -> Result<u64, api::Error> {
    match what {
        What::Connections => pages(row::Connection::FIELDS, format, q, out, |q| reader.connections(q, v)),
        What::Executables => pages(row::Executable::FIELDS, format, q, out, |q| reader.executables(q, v)),
        What::Events => pages(row::Event::FIELDS, format, q, out, |q| reader.events(q, v)),
    }
}

fn pages<R: serde::Serialize>(
    fields: &[&str],
    format: Format,
    q: &Query,
    out: &mut dyn Write,
    next: impl Fn(&Query) -> Result<Page<R>, api::Error>,
) -> Result<u64, api::Error> {
    let failed = |error: &dyn std::fmt::Display| {
        api::Error::Unavailable(format!("the export cannot be written: {error}"))
    };
    let mut query = Query { limit: Some(api::query::MAX_PAGE), ..q.clone() };
    let mut left = q.limit.map(u64::from);
    let mut written = 0;
    let mut text = String::new();
    if format == Format::Csv {
        text = format!("{}\n", fields.join(","));
    }
    loop {
        let page = next(&query)?;
        for row in &page.rows {
            if left == Some(0) {
                break;
            }
            left = left.map(|left| left - 1);
            match format {
                Format::JsonLines => {
                    text.push_str(&serde_json::to_string(row).map_err(|error| failed(&error))?)
                }
                Format::Csv => text.push_str(&line(fields, row).map_err(|error| failed(&error))?),
            }
            text.push('\n');
            written += 1;
        }
        out.write_all(text.as_bytes()).map_err(|error| failed(&error))?;
        text.clear();
        if page.cursor.is_empty() || left == Some(0) {
            out.flush().map_err(|error| failed(&error))?;
            return Ok(written);
        }
        query.cursor = Some(page.cursor);
    }
}

fn line<R: serde::Serialize>(fields: &[&str], row: &R) -> serde_json::Result<String> {
    let row = serde_json::to_value(row)?;
    let cells: Vec<String> = fields
        .iter()
        .map(|field| row.get(field).map(|value| cell(&plain(value))).unwrap_or_default())
        .collect();
    Ok(cells.join(","))
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => inert(text.as_bytes()),
        serde_json::Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}
