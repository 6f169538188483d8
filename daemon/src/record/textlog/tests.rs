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

#[test]
fn s09_what_cannot_wait_is_counted_by_whole_lines() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("log");
    // No folder can be made there.
    std::fs::write(&folder, "").unwrap();
    let mut logs = TextLogs::new(&folder);
    let line = format!("{}\n", "x".repeat(999));
    let lines = WAITING / line.len();
    assert!(matches!(logs.errors.append(&folder, &line), Some(Trouble::TextLog { .. })));
    assert!(logs.errors.append(&folder, &line.repeat(lines + 9)).is_none(), "it is said once");
    assert_eq!((logs.errors.waiting.len(), logs.errors.dropped), (lines * line.len(), 10));
    std::fs::remove_file(&folder).unwrap();
    let told = logs.errors.append(&folder, "");
    assert!(matches!(told, Some(Trouble::TextLogLost { lines: 10, .. })), "{told:?}");
    assert_eq!(std::fs::read_to_string(folder.join("error.log")).unwrap(), line.repeat(lines));
    assert!(logs.errors.append(&folder, "").is_none());
}
