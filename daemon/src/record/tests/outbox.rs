// SPDX-License-Identifier: GPL-3.0-or-later
//! What waits to leave the machine.

use picosnitch_relay_wire::Row;

use super::*;
use crate::model::{Gap, Scan, Scanned, Verdict, Viewer};
use crate::record::Batch;
use crate::record::writer::now;

fn sending() -> Settings {
    Settings { outbox: 1 << 20, verdicts: true, ..settings() }
}

fn lab() -> Lab {
    Lab::with(tempfile::tempdir().unwrap(), sending())
}

fn rows(batch: &Batch) -> Vec<Row> {
    let lines = batch.payload.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn s11_rows_wait_until_they_have_arrived_and_never_have_a_number_twice() {
    let lab = lab();
    let reader = lab.recorder.reader();
    lab.write(vec![row(DAY0, who("/bin/a", 1000)), row(DAY0 + 1, who("/bin/b", 1000))]);
    let first = reader.outbox(0, usize::MAX).unwrap().unwrap();
    assert_eq!((first.rows, first.chunks.len()), (2, 1));
    let sent = rows(&first);
    assert_eq!(sent[0].executable.as_deref(), Some("/bin/a"));
    assert_eq!((sent[0].time, sent[0].sent, sent[0].received), (DAY0, Some(100), Some(2000)));
    assert!(sent[0].id < sent[1].id);
    // Not arrived: still there after a restart.
    lab.recorder.clone().stop().unwrap();
    let Lab { dir, .. } = lab;
    let lab = Lab::with(dir, sending());
    let reader = lab.recorder.reader();
    assert_eq!(reader.outbox(0, usize::MAX).unwrap().unwrap(), first);
    lab.recorder.sent(&[first.chunks[0].0]);
    lab.recorder.flush();
    assert_eq!(reader.outbox(0, usize::MAX).unwrap(), None);
    assert_eq!(lab.recorder.counters().outbox_rows, 0);
    lab.write(vec![row(DAY0 + 2, who("/bin/c", 1000))]);
    let next = reader.outbox(0, usize::MAX).unwrap().unwrap();
    assert_eq!(next.origin, first.origin);
    assert!(rows(&next)[0].id > sent[1].id, "a number was used again");
    assert!(other_origin() != first.origin, "two machines have one origin");
}

fn other_origin() -> i64 {
    let lab = lab();
    lab.write(vec![row(DAY0, who("/bin/a", 1000))]);
    lab.recorder.reader().outbox(0, usize::MAX).unwrap().unwrap().origin
}

#[test]
fn s11_what_does_not_fit_is_counted() {
    let lab = Lab::with(tempfile::tempdir().unwrap(), Settings { outbox: 100_000, ..sending() });
    let some = |from: i64| -> Vec<Connection> {
        (0..100).map(|index| row(DAY0 + from + index, who("/usr/bin/program", 1000))).collect()
    };
    for round in 0..10 {
        lab.write(some(round * 1000));
    }
    let counters = lab.recorder.counters();
    assert!(counters.outbox_lost > 0 && counters.outbox_rows > 0);
    assert_eq!(counters.outbox_lost + counters.outbox_rows, 1000);
    // The history here has them all.
    assert_eq!(counters.rows_written, 1000);
}

#[test]
fn s11_nobody_is_sent_what_settings_leave_out() {
    let settings = Settings { addresses: false, commands: false, ports: false, ..sending() };
    let lab = Lab::with(tempfile::tempdir().unwrap(), settings);
    let mut hostile = who("/bin/\u{1b}[2J\n", 1000);
    hostile.container = Some(bytes(&"x".repeat(100_000)));
    lab.write(vec![row(DAY0, hostile)]);
    let sent = rows(&lab.recorder.reader().outbox(0, usize::MAX).unwrap().unwrap()).remove(0);
    for nothing in [
        &sent.cmdline,
        &sent.parent_cmdline,
        &sent.grandparent_cmdline,
        &sent.ip,
        &sent.local_ip,
        &sent.domain,
    ] {
        assert_eq!(*nothing, None);
    }
    assert_eq!((sent.port, sent.local_port), (None, None));
    assert!(!sent.executable.unwrap().contains(char::is_control));
    assert_eq!(sent.container.unwrap().len(), 4096);
}

#[test]
fn s11_switched_off_nothing_waits() {
    let lab = lab();
    lab.write(vec![row(DAY0, who("/bin/a", 1000))]);
    lab.recorder.reconfigure(settings());
    lab.write(vec![row(DAY0 + 1, who("/bin/b", 1000))]);
    assert_eq!(lab.recorder.reader().outbox(0, usize::MAX).unwrap(), None);
    assert_eq!(lab.recorder.counters().outbox_rows, 0);
}

#[test]
fn i23_contents_that_are_news_wait_for_a_verdict_unknown_ones_never() {
    let lab = lab();
    let reader = lab.recorder.reader();
    let mut unread = who("/bin/unreadable", 1000);
    let program = Program { hash: Hash::Unknown(Gap::Unreadable), ..(*unread.program).clone() };
    unread.program = Arc::new(program);
    lab.recorder.notice(new_executable(1, DAY0, unread));
    lab.recorder.flush();
    assert_eq!(reader.scan_due(now()).unwrap(), (None, 0));
    // Known later: asked for then.
    let sha256 = [9; 32];
    lab.recorder.hash_known(1, Hash::Known(sha256), None);
    lab.recorder.flush();
    assert_eq!(reader.scan_due(now()).unwrap().0.unwrap().sha256, sha256);
    let verdict = Verdict { malicious: 2, suspicious: 1, total: 70, analysed: DAY0 };
    lab.recorder.scanned(answer(sha256, Scan::Verdict(verdict)));
    lab.recorder.flush();
    assert_eq!(reader.scan_due(now()).unwrap(), (None, 0));
    // News again: it has its verdict.
    lab.recorder.hash_known(1, Hash::Known(sha256), None);
    lab.recorder.flush();
    assert_eq!(reader.scan_due(now()).unwrap(), (None, 0));
    let executable = reader.executable(1, &Viewer::everything()).unwrap();
    assert_eq!(executable.verdicts.unwrap(), ["3 of 70 engines (2026-11-22)"]);
}

#[test]
fn b04_a_verdict_is_told_to_each_account_that_runs_the_program() {
    let lab = lab();
    let reader = lab.recorder.reader();
    lab.write(vec![row(DAY0, who("/bin/shared", 1000)), row(DAY0 + 1, who("/bin/shared", 1001))]);
    let sha256 = ["/bin/shared".len() as u8; 32];
    let mut suspects = reader.suspects(&sha256).unwrap();
    suspects.sort_by_key(|suspect| suspect.uid);
    assert_eq!(suspects.iter().map(|suspect| suspect.uid).collect::<Vec<_>>(), [1000, 1001]);
    let verdict = Verdict { malicious: 1, suspicious: 0, total: 70, analysed: 0 };
    let suspect = Box::new(suspects.remove(0));
    let kind = NoticeKind::Verdict { suspect, verdict };
    lab.recorder.notice(Notice { id: 1, time: DAY0, kind, before: crate::model::Before::Nobody });
    lab.recorder.flush();
    let alice = Viewer { rows: vec![1000..=1000], cmdlines: vec![1000..=1000] };
    let bob = Viewer { rows: vec![1001..=1001], cmdlines: vec![1001..=1001] };
    let event = reader.event(1, &alice).unwrap();
    assert_eq!(event.kind.as_deref(), Some("verdict"));
    assert_eq!(event.path.as_deref(), Some("/bin/shared"));
    assert_eq!(event.message.as_deref(), Some("1 of 70 engines"));
    assert!(reader.event(1, &bob).is_err(), "bob sees a verdict on alice's program");
}

fn answer(sha256: [u8; 32], scan: Scan) -> Scanned {
    Scanned { sha256, scan, not_before: 0 }
}

fn later(sent: bool, due: i64, tries: u32) -> Scan {
    Scan::Later { sent, due, tries }
}

/// State, due and tries of a content, and engines that found something in it.
fn kept(lab: &Lab, sha256: [u8; 32]) -> (i64, i64, u32, u32) {
    let history = rusqlite::Connection::open(lab.database()).unwrap();
    let sql = "SELECT state, due, tries, malicious FROM verdict WHERE sha256 = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    history.query_row(sql, [sha256], read).unwrap()
}

#[test]
fn i23_a_question_that_fails_takes_nothing_back() {
    let lab = lab();
    let verdict = Verdict { malicious: 2, suspicious: 1, total: 70, analysed: DAY0 };
    for (sha256, known, then, expected) in [
        // A verdict stays, also if the scanner says that it looks at the content once more.
        ([1; 32], Scan::Verdict(verdict), later(false, 5, 0), (1, 2)),
        ([2; 32], Scan::Verdict(verdict), later(true, 5, 1), (1, 2)),
        ([3; 32], Scan::Unknown, later(false, 5, 0), (2, 0)),
        // Sent after all.
        ([4; 32], Scan::Unknown, later(true, 5, 1), (3, 0)),
        ([5; 32], later(true, 4, 3), later(false, 5, 0), (3, 0)),
        ([6; 32], later(true, 4, 3), Scan::Verdict(verdict), (1, 2)),
        ([7; 32], Scan::Verdict(verdict), Scan::Unknown, (2, 0)),
    ] {
        lab.recorder.scanned(answer(sha256, known));
        lab.recorder.scanned(answer(sha256, then));
        lab.recorder.flush();
        let (state, _, _, malicious) = kept(&lab, sha256);
        assert_eq!((state, malicious), expected, "{known:?}, then {then:?}");
    }
    assert_eq!(kept(&lab, [5; 32]), (3, 5, 3, 0), "asked again later, and it counts on");
    assert!(lab.recorder.scans_written());
}

#[test]
fn i23_who_calls_for_a_content_knows_that_it_was_sent() {
    let lab = lab();
    let (reader, content) = (lab.recorder.reader(), [1; 32]);
    lab.recorder.scanned(answer(content, later(true, now() + 100 * SECOND, 3)));
    // Another one is due earlier.
    lab.recorder.scanned(answer([2; 32], later(false, 4, 0)));
    lab.recorder.flush();
    let due = reader.scan_called(content).unwrap();
    assert_eq!((due.sha256, due.due, due.sent, due.tries), (content, 0, true, 3));
    assert!(!reader.scan_called([9; 32]).unwrap().sent);
}

#[test]
fn i23_a_clock_that_was_set_back_strands_no_content() {
    const HOUR: i64 = 3600 * SECOND;
    let lab = lab();
    let (reader, stranded, other) = (lab.recorder.reader(), [1; 32], [2; 32]);
    lab.recorder.scanned(answer(other, later(false, DAY0 + SECOND, 0)));
    lab.recorder.scanned(answer(stranded, later(false, DAY0 + 30 * HOUR, 0)));
    lab.recorder.flush();
    // As long as it may be meant.
    assert_eq!(reader.scan_due(DAY0 + 10 * HOUR).unwrap().0.unwrap().sha256, other);
    let due = reader.scan_due(DAY0).unwrap().0.unwrap();
    assert!(due.sha256 == stranded && due.due <= DAY0, "{due:?}");
}

#[test]
fn i23_when_the_scanner_was_asked_outlives_the_daemon() {
    let lab = Lab::with(tempfile::tempdir().unwrap(), sending());
    assert_eq!(lab.recorder.reader().scan_pace().unwrap(), (0, 0));
    let before = now();
    let failed = Scanned { sha256: [1; 32], scan: later(false, 4, 0), not_before: 77 };
    lab.recorder.scanned(failed);
    lab.recorder.flush();
    let lab = lab.reopen();
    let (asked, not_before) = lab.recorder.reader().scan_pace().unwrap();
    assert!((before..=now()).contains(&asked) && not_before == 77, "{asked}, {not_before}");
    lab.recorder.scanned(answer([1; 32], Scan::Unknown));
    lab.recorder.flush();
    assert_eq!(lab.recorder.reader().scan_pace().unwrap().1, 0);
}

#[test]
fn s11_a_copy_of_a_machine_has_an_origin_of_its_own() {
    use crate::record::outbox::{machine as this_machine, settle_origin};
    let lab = lab();
    lab.write(vec![row(DAY0, who("/bin/a", 1000))]);
    let before = lab.recorder.reader().outbox(0, usize::MAX).unwrap().unwrap();
    lab.recorder.clone().stop().unwrap();
    // As if it had been made on another machine.
    let history = rusqlite::Connection::open(lab.database()).unwrap();
    let machine = |value: i64| settle_origin(&history, Some(value)).unwrap();
    let origin = || -> i64 {
        history.query_row("SELECT value FROM meta WHERE key = 'origin'", (), |r| r.get(0)).unwrap()
    };
    machine(7);
    let other = origin();
    assert_ne!(other, before.origin);
    machine(7);
    assert_eq!(origin(), other, "the same machine");
    settle_origin(&history, None).unwrap();
    assert_eq!(origin(), other, "nobody knows which machine");
    drop(history);
    let Lab { dir, .. } = lab;
    let lab = Lab::with(dir, sending());
    let reader = lab.recorder.reader();
    lab.write(vec![row(DAY0 + 1, who("/bin/b", 1000))]);
    // What may have been sent already keeps its origin, and is a batch of its own.
    let first = reader.outbox(0, usize::MAX).unwrap().unwrap();
    assert_eq!(first, before);
    let second = reader.outbox(first.chunks[0].0, usize::MAX).unwrap().unwrap();
    assert_eq!(rows(&second)[0].executable.as_deref(), Some("/bin/b"));
    // The file of the other machine came here with this start, if this one can be told from others.
    assert_ne!(second.origin, before.origin);
    assert_eq!(second.origin != other, this_machine().is_some());
    lab.recorder.clone().stop().unwrap();
    let Lab { dir, .. } = lab;
    let lab = Lab::with(dir, sending());
    assert_eq!(lab.recorder.reader().outbox(first.chunks[0].0, usize::MAX).unwrap().unwrap(), second);
}
