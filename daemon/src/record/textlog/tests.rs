// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

#[test]
fn times_are_utc() {
    assert_eq!(time_text(0), "1970-01-01T00:00:00.000000Z");
    assert_eq!(time_text(1_795_324_576_123_456), "2026-11-22T05:16:16.123456Z");
    assert_eq!(time_text(951_782_400_000_000), "2000-02-29T00:00:00.000000Z");
}

#[test]
fn s09_names_are_inert() {
    assert_eq!(inert(b"a\nb\x1b[31m\xff\\"), "a\\u{a}b\\u{1b}[31m\\xff\\\\");
    assert_eq!(inert("x\u{202e}y".as_bytes()), "x\\u{202e}y");
    assert_eq!(cell("=1+2"), "\"'=1+2\"");
    assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
    assert_eq!(cell("-5"), "-5");
}
