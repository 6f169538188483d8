// SPDX-License-Identifier: GPL-3.0-or-later
//! Columns become fields: bytes become text, numbers that stand for "none" become absent.

use std::net::IpAddr;

use rusqlite::{Result, Row};

use crate::record::dimension;

/// Reads the columns of a row one after the other.
pub(super) struct Columns<'a, 'b> {
    row: &'a Row<'b>,
    next: usize,
}

impl<'a, 'b> Columns<'a, 'b> {
    pub(super) fn new(row: &'a Row<'b>) -> Self {
        Columns { row, next: 0 }
    }

    pub(super) fn next<T: rusqlite::types::FromSql>(&mut self) -> Result<T> {
        let value = self.row.get(self.next);
        self.next += 1;
        value
    }

    /// A number that is never below zero.
    pub(super) fn count(&mut self) -> Result<u64> {
        Ok(u64::try_from(self.next::<i64>()?).unwrap_or(0))
    }

    /// A small number, absent if below zero.
    pub(super) fn small<T: TryFrom<i64>>(&mut self) -> Result<Option<T>> {
        Ok(self.next::<Option<i64>>()?.and_then(|number| T::try_from(number).ok()))
    }

    /// Bytes as text.
    pub(super) fn text(&mut self) -> Result<Option<String>> {
        Ok(self.next::<Option<Vec<u8>>>()?.map(|bytes| text(&bytes)))
    }

    /// A path as text, and as bytes if it is not UTF-8.
    pub(super) fn path(&mut self) -> Result<(Option<String>, Option<Vec<u8>>)> {
        let Some(bytes) = self.next::<Option<Vec<u8>>>()? else { return Ok((None, None)) };
        match String::from_utf8(bytes) {
            Ok(text) => Ok((Some(text), None)),
            Err(error) => Ok((Some(text(error.as_bytes())), Some(error.into_bytes()))),
        }
    }

    pub(super) fn address(&mut self) -> Result<Option<String>> {
        Ok(self
            .next::<Option<Vec<u8>>>()?
            .and_then(|bytes| address(&bytes))
            .map(|address| address.to_string()))
    }

    /// Hexadecimal.
    pub(super) fn sha256(&mut self) -> Result<Option<String>> {
        Ok(self.next::<Option<Vec<u8>>>()?.map(|bytes| hex(&bytes)))
    }

    /// Why a content is unknown, from its number.
    pub(super) fn gap(&mut self) -> Result<Option<String>> {
        Ok(self.next::<Option<i64>>()?.and_then(dimension::gap_word).map(str::to_owned))
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
