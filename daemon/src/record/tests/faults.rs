// SPDX-License-Identifier: GPL-3.0-or-later
//! The disk and the clock misbehave.

use picosnitch_api::Query;
use rusqlite::Connection as Database;

use super::*;
use crate::model::Viewer;

fn count(lab: &Lab) -> usize {
    lab.recorder
        .reader()
        .connections(&Query { limit: Some(1000), ..Query::default() }, &Viewer::everything())
        .unwrap()
        .rows
        .len()
}

#[test]
fn s02_a_database_locked_by_another_process_is_written_later() {
    let lab = Lab::new();
    let other = Database::open(lab.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    lab.recorder.submit(vec![row(DAY0, who("/usr/bin/curl", 1000))]);
    lab.recorder.flush();
    assert!(matches!(lab.trouble(), Trouble::Writing(_)));
    assert_eq!(lab.recorder.counters().rows_waiting, 1);
    lab.recorder.flush();
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(lab.trouble(), Trouble::Recovered);
    assert_eq!(count(&lab), 1);
    assert!(!lab.dir.path().join("state/picosnitch.db.bad").exists());
}

#[test]
fn s03_a_damaged_database_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("state")).unwrap();
    std::fs::write(dir.path().join("state/picosnitch.db"), vec![b'x'; 10_000]).unwrap();
    let lab = Lab::with(dir, settings());
    assert!(matches!(lab.trouble(), Trouble::SetAside { .. }));
    assert!(lab.dir.path().join("state/picosnitch.db.bad").exists());
    lab.write(vec![row(DAY0, who("/usr/bin/curl", 1000))]);
    assert_eq!(count(&lab), 1);
}
